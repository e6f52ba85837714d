"""The processes of `holdfast up`: started in the order of their dependencies, restarted, stopped in reverse."""

import itertools
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping

import psycopg

from core.settings import Settings
from dev.interrupt import Interrupt
from dev.ports import Ports
from dev.postgres import EmbeddedPostgres, postgres_binaries
from dev.processes import START_SECONDS, Child, EmbeddedError, stop_recorded
from dev.service_process import Program, ServiceProcess
from dev.state_dir import StateDir
from dev.stripe_account import StripeAccount
from dev.temporal import EmbeddedTemporal, temporal_binary

STOP_SECONDS = 25.0
"""More than the worker and the API allow themselves to finish what they have begun."""
_RESTARTS = 5
_RESTART_WINDOW_SECONDS = 60.0
DATABASE = "holdfast"
_OPTIONAL = {"mailbox"}
"""The processes without which the others serve: one that ends too often waits for a minute, and ends nothing."""
_SECRETS = {*Settings.secrets(), "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"}
_API_ONLY = {
    "HOLDFAST_BROWSER_TOKEN_SECRET",
    "INVENTORY_AUTHORITY_TOKEN",
    "INVENTORY_ADMIN_TOKEN",
    "STRIPE_APPROVAL_SECRET",
    "STRIPE_WEBHOOK_SECRET",
}
_SECRETS_OF = {
    "api": _SECRETS,
    "worker": _SECRETS - _API_ONLY,
    "migrate": {"DATABASE_URL"},
    "simulator": {"STRIPE_WEBHOOK_SECRET"},
    "mailbox": set[str](),
}
"""The secrets that each process uses; it gets no other."""


class _AnotherEndedError(Exception):
    pass


class Stack:
    """Postgres, Temporal, API, worker, a mailbox and, without a Stripe account, the simulator on one state folder."""

    def __init__(
        self,
        state_dir: StateDir,
        ports: Ports,
        tokens: Mapping[str, str],
        payments: StripeAccount,
        *,
        environment: Mapping[str, str],
        interrupt: Interrupt,
        report: Callable[[str], None],
    ) -> None:
        self._state_dir = state_dir
        self.ports = ports
        self._tokens = tokens
        self.payments = payments
        self._interrupt = interrupt
        self._report = report
        self.postgres = EmbeddedPostgres(
            state_dir.folder / "postgres",
            port=ports.postgres,
            password=True,
            settings={"autovacuum_naptime": "10s"},  # tables that are new grow quickly
            log=state_dir.logs / "postgres.log",
        )
        self.temporal = EmbeddedTemporal(
            state_dir.folder / "temporal",
            port=ports.temporal,
            ui_port=ports.temporal_ui,
            metrics_port=ports.temporal_metrics,
            log=state_dir.logs / "temporal.log",
        )
        self.api_url = f"http://127.0.0.1:{ports.api}"
        self._environment = {
            **{name: value for name, value in environment.items() if not name.startswith("TEMPORAL_")},
            **payments.environment,
            "INVENTORY_MODE": environment.get("INVENTORY_MODE") or "reserve_ttl",
            "HOLDFAST_LOG_FORMAT": environment.get("HOLDFAST_LOG_FORMAT") or "json",
            "DATABASE_URL": self.database_url,
            "INVENTORY_DATABASE_POOLER": "0",
            "TEMPORAL_ADDRESS": self.temporal.address,
            "TEMPORAL_CONFIG_FILE": os.devnull,  # a profile for another Temporal does not apply
            "INVENTORY_AUTHORITY_TOKEN": tokens["authority"],
            "INVENTORY_ADMIN_TOKEN": tokens["admin"],
            "HOLDFAST_BROWSER_TOKEN_SECRET": environment.get("HOLDFAST_BROWSER_TOKEN_SECRET")
            or state_dir.token("browser"),
            "HOLDFAST_CHECKOUT_SECRET": environment.get("HOLDFAST_CHECKOUT_SECRET") or state_dir.token("checkout"),
            "HOLDFAST_WORKER_METRICS_PORT": str(ports.worker_metrics),
            "HOLDFAST_WORKER_METRICS_HOST": "127.0.0.1",
            "SMTP_URL": environment.get("SMTP_URL") or f"smtp://127.0.0.1:{ports.mail}",
            "STOCK_ALERT_RECIPIENT": environment.get("STOCK_ALERT_RECIPIENT") or "stock@localhost",
            "STOCK_ALERT_WINDOW_SECONDS": environment.get("STOCK_ALERT_WINDOW_SECONDS") or "1",
            "STOCK_ALERT_LINK": environment.get("STOCK_ALERT_LINK") or f"{self.api_url}/docs#/stock/get_items",
        }
        api = self._child("api", "cli.main", "api", "--host", "127.0.0.1", "--port", str(ports.api))
        worker = self._child("worker", "worker")
        mailbox = self._child("mailbox", "dev.mailbox", "--port", str(ports.mail), "--folder", str(state_dir.mail))
        self._services: dict[str, ServiceProcess] = {
            "postgres": self.postgres,
            "temporal": self.temporal,
            "api": Program(api, f"{self.api_url}/readyz"),
            "worker": Program(worker, f"http://127.0.0.1:{ports.worker_metrics}/metrics"),
            "mailbox": Program(mailbox, f"tcp://127.0.0.1:{ports.mail}"),
        }
        if payments.simulator_url is not None:
            self._services["simulator"] = self._simulator(payments.simulator_url)
        self._migrate = self._child("migrate", "cli.main", "migrate")
        self._launched: list[ServiceProcess] = []

    @property
    def launched(self) -> bool:
        """Whether anything has been started."""
        return bool(self._launched)

    @property
    def mode(self) -> str:
        """The INVENTORY_MODE of API and worker."""
        return self._environment["INVENTORY_MODE"]

    @property
    def webhook_url(self) -> str:
        """URL of the webhook endpoint."""
        return f"{self.api_url}/api/webhooks/stripe"

    @property
    def request_tokens(self) -> dict[str, str]:
        """One token for each role; of two during a rotation, the first."""
        return {role: tokens.partition(",")[0].strip() for role, tokens in self._tokens.items()}

    @property
    def database_url(self) -> str:
        """The URL of Holdfast's database."""
        return self.postgres.database_url(DATABASE)

    def start(self) -> None:
        """Start all and return when all are ready. Raises EmbeddedError that names the failed process."""
        self._launch("temporal")
        self._launch("mailbox")
        self._launch("postgres")
        if "simulator" in self._services:
            self._launch("simulator")
        self._await("postgres")
        self._create_database()
        self._migrate.start()
        self._migrate.wait_until(lambda: self._migrate.exit_code == 0, START_SECONDS, self._watch)
        self._await("temporal")
        self._launch("api")
        self._launch("worker")
        for name in self._services:
            self._await(name)

    def description(self) -> dict[str, object]:
        """Return the contents of `stack.json`."""
        pids: dict[str, int | None] = {name: service.child.pid for name, service in self._services.items()}
        return {
            "apiUrl": self.api_url,
            "databaseUrl": self.database_url,
            "temporalAddress": self.temporal.address,
            "temporalUiUrl": self.temporal.ui_url,
            "simulatorUrl": self.payments.simulator_url,
            "authorityToken": self.request_tokens["authority"],
            "adminToken": self.request_tokens["admin"],
            "stripeWebhookSecret": self.payments.webhook_secret,
            "pids": {**pids, "simulator": pids.get("simulator")},
            "programFolders": [str(temporal_binary().parent), str(postgres_binaries())],
        }

    def serve(self) -> None:
        """Publish `stack.json` and restart what ends, until the interrupt raises.

        Raises EmbeddedError when a process that the others need ends more than five times in a minute.
        """
        self._state_dir.write_stack(self.description())
        restarts: dict[str, deque[float]] = {name: deque(maxlen=_RESTARTS) for name in self._services}
        while True:
            self._interrupt.wait(0.25)
            for name, service in self._services.items():
                if service.child.exit_code is None:
                    continue
                earlier = restarts[name]
                if len(earlier) == _RESTARTS and time.monotonic() - earlier[0] < _RESTART_WINDOW_SECONDS:
                    if name in _OPTIONAL:
                        continue
                    service.child.require_alive()
                earlier.append(time.monotonic())
                self._report(f"{service.child.name} ended ({service.child.ending}); starting it again")
                self._restart(service)

    def stop(self) -> None:
        """Stop all that was started: API and worker, then the servers. By force after a second signal."""
        self._state_dir.remove_stack()
        self._migrate.stop()
        for names in (("api", "worker"), ("simulator", "mailbox", "temporal", "postgres")):
            services = [
                service for name, service in self._services.items() if name in names and service in self._launched
            ]
            for service in services:
                service.child.ask_to_stop()
            deadline = time.monotonic() + STOP_SECONDS
            while alive := [service.child.name for service in services if service.child.alive]:
                if self._interrupt.insisted:
                    self._report(f"Interrupted again: killing {', '.join(alive)}")
                if self._interrupt.insisted or time.monotonic() > deadline:
                    break
                time.sleep(0.02)
            for service in services:
                service.stop(0)

    def _restart(self, service: ServiceProcess) -> None:
        try:
            service.launch()
            service.wait_until_ready(lambda: self._check_others(service))
        except _AnotherEndedError:
            self._state_dir.write_stack(self.description())  # readiness may depend on the other process
        except EmbeddedError as error:
            self._report(str(error))
            service.stop(0)
        else:
            self._state_dir.write_stack(self.description())
            self._report(f"{service.child.name} runs again (process {service.child.pid})")

    def _check_others(self, service: ServiceProcess) -> None:
        self._interrupt.check_interrupt()
        others = [other for name, other in self._services.items() if name not in _OPTIONAL and other is not service]
        if any(other.child.exit_code is not None for other in others):
            raise _AnotherEndedError

    def _simulator(self, url: str) -> Program:
        arguments = {
            "--port": str(self.ports.simulator),
            "--public-url": url,
            "--webhook": self.webhook_url,
            "--state": str(self._state_dir.simulator_state),
        }
        child = self._child("simulator", "dev.simulator", *itertools.chain(*arguments.items()))
        return Program(child, f"{url}/_simulator/health")

    def _child(self, name: str, *module_and_arguments: str) -> Child:
        return Child(
            name,
            [sys.executable, "-m", *module_and_arguments],
            log=self._state_dir.logs / f"{name}.log",
            env={
                variable: value
                for variable, value in self._environment.items()
                if variable not in _SECRETS or variable in _SECRETS_OF[name]
            },
            pid_file=self._state_dir.pids / name,
        )

    def _launch(self, name: str) -> None:
        self._interrupt.check_interrupt()
        service = self._services[name]
        service.launch()
        self._launched.append(service)

    def _await(self, name: str) -> None:
        self._services[name].wait_until_ready(self._watch)

    def _watch(self) -> None:
        self._interrupt.check_interrupt()
        for service in self._launched:
            service.child.require_alive()

    def _create_database(self) -> None:
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).rowcount
            if not found:
                connection.execute(f"CREATE DATABASE {DATABASE}".encode())


def stop_leftovers(state_dir: StateDir) -> None:
    """Stop the processes that a killed `holdfast up` left running on the folder."""
    for pid_file in state_dir.pids.glob("*"):
        stop_recorded(pid_file)
    EmbeddedTemporal(state_dir.folder / "temporal").stop_leftovers()
    EmbeddedPostgres(state_dir.folder / "postgres").stop_leftovers()
