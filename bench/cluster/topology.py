"""Holdfast as in production but without containers, on a real Temporal cluster."""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from bench.cluster.temporal import TemporalCluster
from bench.stack import stock_shop
from cli.migrate import migrate
from core.settings import Settings
from dev.ports import free_port
from dev.postgres import EmbeddedPostgres
from dev.processes import START_SECONDS, Child
from dev.service_process import Program
from dev.stripe_account import StripeAccount
from dev.temporal import EmbeddedTemporal

_OURS = ("HOLDFAST_", "INVENTORY_", "TEMPORAL_", "STRIPE_", "DATABASE_", "PROMETHEUS_", "SKIP_INVENTORY")


class Cluster:
    """Postgres, Temporal's four services, the Stripe simulator, and a variable number of API and worker processes."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self.postgres = EmbeddedPostgres(folder / "postgres")
        self.temporal = TemporalCluster(binaries, self.postgres, folder)
        self.dev_server = EmbeddedTemporal(folder / "dev-server", ui=False)
        """For comparison."""
        self.database_url = self.postgres.database_url("holdfast")
        self.api_port = free_port()
        self.api_url = f"http://127.0.0.1:{self.api_port}"
        self.authority_token, self.admin_token = secrets.token_hex(32), secrets.token_hex(32)
        simulator_port = free_port()
        payments = StripeAccount.choose({}, simulator_port, lambda: f"whsec_{secrets.token_hex(32)}")
        self.webhook_secret = payments.environment["STRIPE_WEBHOOK_SECRET"]
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(_OURS)},
            **payments.environment,
            "DATABASE_URL": self.database_url,
            "INVENTORY_MODE": "reserve_ttl",
            "INVENTORY_AUTHORITY_URL": self.api_url,
            "INVENTORY_AUTHORITY_TOKEN": self.authority_token,
            "INVENTORY_ADMIN_TOKEN": self.admin_token,
            "HOLDFAST_LOG_FORMAT": "json",
            "TEMPORAL_ADDRESS": self.temporal.address,
            "TEMPORAL_CONFIG_FILE": os.devnull,
        }
        """For API, worker, and the operator's commands."""
        self.settings = Settings.read(self.environment)
        self._folder = folder
        webhook = f"{self.api_url}/api/webhooks/stripe"
        simulator = self._child("simulator", "dev.simulator", "--port", str(simulator_port), "--webhook", webhook)
        self.simulator = Program(simulator, f"{payments.simulator_url}/_simulator/health")
        self.api_processes = self.worker_processes = 0
        self.on_dev_server = False
        self.api: Program
        self.worker: Child

    def start(self) -> None:
        """Start all but API and worker. Raises EmbeddedError."""
        self.postgres.start()
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE holdfast")
        migrate(self.database_url)
        self.temporal.start()
        self.dev_server.start()
        self.simulator.launch()
        self.simulator.wait_until_ready()
        stock_shop(self.settings)

    def serve(self, *, apis: int, workers: int, on_dev_server: bool = False) -> None:
        """Start that many API processes behind one port and worker processes, after stopping the previous ones."""
        self.stop_serving()
        self.api_processes, self.worker_processes, self.on_dev_server = apis, workers, on_dev_server
        address = (self.dev_server if on_dev_server else self.temporal).address
        api = self._child("api", "cli.main", "api", "--port", str(self.api_port), "--workers", str(apis), on=address)
        self.api = Program(api, f"{self.api_url}/readyz")
        metrics = ("--metrics-host", "127.0.0.1", "--metrics-port", str(free_port()))
        self.worker = self._child("worker", "worker", "--processes", str(workers), *metrics, on=address)
        self.start_api()
        self.start_worker()

    def start_api(self) -> None:
        """Start the API, after stopping an earlier one, and return when it is ready."""
        self.api.launch()
        self.api.wait_until_ready()

    def start_worker(self) -> None:
        """Start the worker, after stopping an earlier one, and return when all its processes poll."""
        self.worker.stop()
        self.worker.start()
        self.worker.wait_until(
            lambda: self.worker.output().count("worker polls") == self.worker_processes, START_SECONDS
        )

    def stop_serving(self) -> None:
        """Stop API and worker where they run."""
        if self.api_processes:
            self.api.stop(10)
            self.worker.stop(10)

    def stop(self) -> None:
        """Stop all processes."""
        self.stop_serving()
        self.simulator.stop(2)
        self.temporal.stop()
        self.dev_server.stop()
        self.postgres.stop()

    def pids(self) -> dict[str, int]:
        """Return process ids by name; for API and worker, that of the supervisor."""
        temporal = {f"temporal {name}": service.child.pid for name, service in self.temporal.services.items()}
        if self.on_dev_server:
            temporal = {"temporal": self.dev_server.pid}
        return {"postgres": self.postgres.pid, **temporal, "api": self.api.child.pid, "worker": self.worker.pid}

    def _child(self, name: str, *module_and_arguments: str, on: str | None = None) -> Child:
        command = [sys.executable, "-m", *module_and_arguments]
        environment = self.environment | ({"TEMPORAL_ADDRESS": on} if on else {})
        return Child(name, command, log=self._folder / f"{name}.log", env=environment)


@contextmanager
def running(folder: Path, binaries: Path) -> Iterator[Cluster]:
    """Run a cluster with two processes of the API and two of the worker until the block ends."""
    with ExitStack() as stack:
        cluster = Cluster(folder, binaries)
        stack.callback(cluster.stop)
        cluster.start()
        cluster.serve(apis=2, workers=2)
        yield cluster
