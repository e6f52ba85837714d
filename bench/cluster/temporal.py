"""A Temporal cluster as in production: four services on Postgres, configured by deploy/temporal."""

import os
import subprocess
from pathlib import Path

from bench.cluster.binaries import SERVER
from dev.ports import free_port
from dev.postgres import EmbeddedPostgres
from dev.processes import Child, EmbeddedError
from dev.service_process import Program
from dev.temporal import temporal_binary

SERVICES = ("frontend", "history", "matching", "worker")
_FILES = Path(__file__).parents[2] / "deploy" / "temporal"
_LOOPBACK = "127.0.0.1"


class TemporalCluster:
    """The four service processes, on a running Postgres."""

    def __init__(self, binaries: Path, postgres: EmbeddedPostgres, logs: Path) -> None:
        ports = {
            f"{service.upper()}_{kind}_PORT": free_port() for service in SERVICES for kind in ("GRPC", "MEMBERSHIP")
        }
        self.address = f"{_LOOPBACK}:{ports['FRONTEND_GRPC_PORT']}"
        self._logs = logs
        self._environment = {
            "PATH": os.pathsep.join((str(binaries), str(temporal_binary().parent), os.environ.get("PATH", os.defpath))),
            "POSTGRES_SEEDS": _LOOPBACK,
            "DB_PORT": str(postgres.port),
            "POSTGRES_USER": "postgres",
            "TEMPORAL_SERVER_CONFIG_FILE_PATH": str(_FILES / "config.yaml"),
            "DYNAMIC_CONFIG_FILE_PATH": str(_FILES / "dynamic.yaml"),
            **{name: str(port) for name, port in ports.items()},
        }
        self.metrics = {service: f"{_LOOPBACK}:{free_port()}" for service in SERVICES}
        """Address of each service's Prometheus metrics."""
        self.services = {service: self._service(binaries, service) for service in SERVICES}

    def start(self) -> None:
        """Start, and create namespace and search attributes. Raises EmbeddedError."""
        self._run("schema.sh")
        for (
            service
        ) in self.services.values():  # one by one: on an empty database, the first writes rows that the others need
            service.launch()
            service.wait_until_ready()
        self._run("namespace.sh", TEMPORAL_ADDRESS=self.address)

    def stop(self) -> None:
        """Stop the running services."""
        for service in self.services.values():
            service.child.ask_to_stop()
        for service in self.services.values():
            service.stop(10)

    def _service(self, binaries: Path, service: str) -> Program:
        port = self._environment[f"{service.upper()}_GRPC_PORT"]
        child = Child(
            f"Temporal's {service}",
            [str(binaries / SERVER), "start"],
            log=self._logs / f"temporal-{service}.log",
            env={**self._environment, "TEMPORAL_SERVICES": service, "PROMETHEUS_ENDPOINT": self.metrics[service]},
        )
        return Program(child, f"tcp://{_LOOPBACK}:{port}")

    def _run(self, script: str, **variables: str) -> None:
        ran = subprocess.run(
            ["sh", str(_FILES / script)],
            env={**self._environment, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode != 0:
            lines = (ran.stdout + ran.stderr).strip().splitlines() or ["it printed nothing"]
            raise EmbeddedError(f"{script} failed: {lines[-1]}", lines[-5:])
