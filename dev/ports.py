"""Free loopback ports, and the choice of ports for `holdfast up`."""

import fcntl
import os
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Self

from core.environment_settings import set_variables
from dev.processes import EmbeddedError

_HIGHEST = 65_535
_FIRST_PORT = 10_000
_EPHEMERAL_PORTS = 32_768
_given: set[int] = set()


@dataclass(frozen=True)
class Ports:
    """The port of each process on 127.0.0.1."""

    api: int
    temporal: int
    temporal_ui: int
    temporal_metrics: int
    postgres: int
    worker_metrics: int
    mail: int
    simulator: int | None
    """None if the simulator does not run."""

    @classmethod
    def choose(cls, environment: Mapping[str, str], earlier_postgres: int | None, *, simulator: bool) -> Self:
        """Choose the ports that the environment names, else the defaults, else free ones.

        Raises EmbeddedError, naming port and variable, if a named port is taken or invalid.
        """
        chosen: set[int] = set()
        variables = set_variables(environment)

        def take(port: int) -> int:
            chosen.add(port)
            return port

        def named(variable: str) -> int | None:
            text = variables.get(variable, "").strip()
            if not text:
                return None
            if not text.isdecimal() or not 1 <= int(text) <= _HIGHEST:
                raise EmbeddedError(f"{variable}: {text!r} is not a port (1 to {_HIGHEST})")
            port = int(text)
            if port in chosen or not port_is_free(port):
                raise EmbeddedError(f"port {port} ({variable}) is taken; stop what listens there or name another")
            return take(port)

        def usual(port: int | None) -> int:
            while port is None or port in chosen or not port_is_free(port):
                port = free_port()
            return take(port)

        defaults = {"HOLDFAST_API_PORT": 8000, "HOLDFAST_TEMPORAL_PORT": 7233, "HOLDFAST_TEMPORAL_UI_PORT": 8233}
        if simulator:
            defaults["HOLDFAST_SIMULATOR_PORT"] = 8010
        given = {variable: named(variable) for variable in defaults}
        ports = {variable: given[variable] or usual(port) for variable, port in defaults.items()}
        return cls(
            api=ports["HOLDFAST_API_PORT"],
            temporal=ports["HOLDFAST_TEMPORAL_PORT"],
            temporal_ui=ports["HOLDFAST_TEMPORAL_UI_PORT"],
            temporal_metrics=usual(None),
            postgres=usual(earlier_postgres),
            worker_metrics=usual(None),
            simulator=ports.get("HOLDFAST_SIMULATOR_PORT"),
            mail=usual(None),
        )


def port_is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1 at the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Return a port on 127.0.0.1 that is free and that no other call, in any process of this user, returns meanwhile.

    It is below the ephemeral ports (Linux: from 32768): an outgoing connection cannot take it before the server listens
    or while it restarts.
    """
    while True:
        port = random.randrange(_FIRST_PORT, _EPHEMERAL_PORTS)  # noqa: S311, not a secret
        if port not in _given and _claimed(port) and port_is_free(port):
            _given.add(port)
            return port


def _claimed(port: int) -> bool:
    """Lock the port for this process until it ends, by a byte of a shared file; False if another process has it."""
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@cache
def _claims() -> int:
    # Not in TMPDIR: every process of this machine must find the same file.
    return os.open(f"/tmp/holdfast-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT, 0o600)  # noqa: S108
