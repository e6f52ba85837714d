"""The ports of `holdfast up`: a named one is taken or refused, an unnamed one gives way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from dev.processes import EmbeddedError, free_port, port_is_free

_HIGHEST = 65_535


@dataclass(frozen=True)
class Ports:
    """Where each of the processes listens on 127.0.0.1."""

    api: int
    temporal: int
    temporal_ui: int
    temporal_metrics: int
    postgres: int
    worker_metrics: int
    mail: int
    simulator: int | None
    """None where it is not run."""

    @classmethod
    def choose(cls, environment: Mapping[str, str], earlier_postgres: int | None, *, simulator: bool) -> Self:
        """Take the ports that the environment names, else the usual ones, else free ones.

        Raises EmbeddedError, naming port and variable, when a named one is taken or is no port.
        """
        chosen: set[int] = set()

        def take(port: int) -> int:
            chosen.add(port)
            return port

        def named(variable: str) -> int | None:
            text = environment.get(variable, "").strip()
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
