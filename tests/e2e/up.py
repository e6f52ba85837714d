"""`holdfast up` as a process, for a test."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from dev.ports import free_port
from dev.processes import runs
from tests.commands import Ran, run_holdfast
from tests.stack import NO_TLS, PATIENT

PORTS = ("HOLDFAST_API_PORT", "HOLDFAST_TEMPORAL_PORT", "HOLDFAST_TEMPORAL_UI_PORT", "HOLDFAST_SIMULATOR_PORT")
_Answer = TypeVar("_Answer")
_READY_SECONDS = 200.0
_FOREIGN = (
    "HOLDFAST_",
    "INVENTORY_",
    "TEMPORAL_",
    "DATABASE_",
    "SKIP_INVENTORY",
    "STRIPE_",
    "PAYMENT_",
    "LATE_PAYMENT",
    "SMTP_",
    "STOCK_ALERT_",
    "HOLD_EVENTS_",
)


class Up:
    """One `holdfast up` on a state folder, with ports of its own."""

    def __init__(self, home: Path, python: str = sys.executable, **environment: str) -> None:
        self.home = home
        self.python = python
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)},
            **{name: str(free_port()) for name in PORTS},
            "HOLDFAST_HOME": str(home),
            **PATIENT,
            **environment,
        }
        self.process: subprocess.Popen[str] | None = None
        self._output: Path | None = None

    def start(self, *arguments: str) -> "Up":
        self.launch(*arguments)
        until(lambda: self.published or self.ended, _READY_SECONDS, self.output)
        assert self.published, self.output()
        return self

    def launch(self, *arguments: str) -> None:
        self._output = self.home.parent / f"{self.home.name}.printed"
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [self.python, "-m", "cli.main", "up", *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def refused(self, *arguments: str) -> str:
        """Run it where it cannot, and return the one line that it says."""
        if self.python == sys.executable:
            ran = run_holdfast(("up", *arguments), self.environment)
        else:
            command = [self.python, "-m", "cli.main", "up", *arguments]
            done = subprocess.run(
                command, env=self.environment, capture_output=True, text=True, timeout=_READY_SECONDS, check=False
            )
            ran = Ran(done.returncode, done.stdout, done.stderr)
        assert ran.code == 1, ran.out + ran.err
        assert "Traceback" not in ran.out + ran.err
        first, *trail = ran.err.splitlines()
        assert all(line.startswith("  | ") for line in trail), ran.err
        return first

    def output(self) -> str:
        return self._output.read_text() if self._output else ""

    @property
    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    @property
    def published(self) -> bool:
        return (self.home / "stack.json").exists()

    @property
    def stack(self) -> dict[str, Any]:
        stack: dict[str, Any] = json.loads((self.home / "stack.json").read_text())
        return stack

    @property
    def members(self) -> list[psutil.Process]:
        """All processes that it has started, and theirs."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def each(self, ask: Callable[[psutil.Process], _Answer]) -> list[_Answer]:
        """Ask each of its processes, and leave out those that end meanwhile."""
        answers = []
        for member in self.members:
            with suppress(psutil.NoSuchProcess):
                answers.append(ask(member))
        return answers

    @property
    def commands(self) -> str:
        """The command lines of all its processes."""
        return " ".join(word for command in self.each(psutil.Process.cmdline) for word in command)

    def signal(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(120)

    def end(self) -> None:
        if self.process is not None and not self.ended:
            self.signal(signal.SIGINT)

    def printed(self, name: str) -> str:
        """Return the address that stands beside the name in what it has printed."""
        (address,) = re.findall(rf"^ *{name} +(http\S+)$", self.output(), re.MULTILINE)
        return str(address)

    def simulated(self, path: str, **body: object) -> Any:
        """Ask the simulator's control API: to do something where there is a body."""
        url = f"{self.stack['simulatorUrl']}/_simulator{path}"
        answer = httpx.request(
            "POST" if body else "GET", url, json=body or None, timeout=120, trust_env=False, verify=NO_TLS
        )
        assert answer.is_success, answer.text
        return answer.json()

    def ask(self, method: str, path: str, body: object = None, *, role: str = "authority") -> Any:
        answer = self.asked(method, path, body, role=role)
        assert answer.is_success, answer.text
        return answer.json()

    def asked(self, method: str, path: str, body: object = None, *, role: str = "authority") -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.stack[f'{role}Token']}"}
        url = f"{self.stack['apiUrl']}/api{path}"
        return httpx.request(method, url, json=body, headers=headers, timeout=120, trust_env=False, verify=NO_TLS)

    def hold(self) -> str:
        body = {"shopId": "demo", "items": [{"sku": "MUG", "quantity": 1}], "ttlSeconds": 1800}
        return str(self.ask("POST", "/inventory/holds", body)["holdId"])

    def checkout(self, ttl_seconds: int = 1800) -> dict[str, Any]:
        """Hold a mug and open a page to pay for it, with the simulator's pages for a shop's."""
        pages = self.stack["simulatorUrl"]
        mug = {"sku": "MUG", "quantity": 1, "name": "Mug", "unitAmount": 1250, "currency": "eur"}
        addresses = {"successUrl": f"{pages}/shop/thanks/{{CHECKOUT_SESSION_ID}}", "cancelUrl": f"{pages}/shop/basket"}
        body = {"shopId": "demo", "items": [mug], "ttlSeconds": ttl_seconds, **addresses}
        opened: dict[str, Any] = self.ask("POST", "/checkout/sessions", body)
        return opened

    def status(self, hold_id: str) -> str:
        return str(self.ask("GET", f"/inventory/holds/demo/{hold_id}")["status"])

    def pay(self, hold_id: str) -> None:
        # Temporal goes on asking a killed worker for some seconds: 504, "may still happen".
        until(
            lambda: self.asked("POST", f"/inventory/holds/demo/{hold_id}/commit", {}).status_code == httpx.codes.OK, 120
        )
        assert self.status(hold_id) == "committed"


@contextmanager
def started_up() -> Iterator[Up]:
    """Run one that has started, in a folder that other users may not enter, until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        one = Up(Path(folder) / "home").start()
        yield one
        one.end()


def with_default_interrupt() -> None:
    """Take Ctrl-C: a process that a shell started in the background ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def until(condition: Callable[[], object], seconds: float, told: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s. {told()}"
        time.sleep(0.05)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(runs(process) for process in processes)
