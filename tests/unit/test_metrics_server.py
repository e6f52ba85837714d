"""The worker's /metrics."""

import socket
import urllib.request

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from core import metrics_server
from core.worker_readiness import OwnPolling, Polling, ProcessStates, WorkerReadiness


def test_silent_connections_to_the_workers_metrics_are_closed_and_the_others_served(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metrics_server._Handler, "timeout", 0.2)
    registry = CollectorRegistry()
    Counter("held", "Holds", registry=registry).inc()
    server = metrics_server.serve_metrics(0, "127.0.0.1", registry)
    try:
        with socket.create_connection(("127.0.0.1", server.server_port)) as silent:
            silent.settimeout(60)
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as answer:
                assert b"held_total 1.0" in answer.read()
            assert silent.recv(1) == b""
    finally:
        server.shutdown()
        server.server_close()
    assert capfd.readouterr().err == ""


def test_a_worker_is_ready_once_each_of_its_processes_polls() -> None:
    polling = ProcessStates([Polling.STARTING, Polling.STARTING], [0.0, 0.0])
    registry = CollectorRegistry()
    server = metrics_server.serve_metrics(0, "127.0.0.1", registry, WorkerReadiness(polling))
    url = f"http://127.0.0.1:{server.server_port}"

    def said() -> tuple[int, str | None, bool]:
        readiness = httpx.get(f"{url}/readyz", trust_env=False)
        metrics = httpx.get(f"{url}/metrics", trust_env=False).text
        return readiness.status_code, readiness.json()["reason"], 'inventory_ready{part="polling"} 1.0' in metrics

    try:
        assert said() == (503, "starting", False)
        OwnPolling(polling, 0).is_now(Polling.POLLS)
        assert said() == (503, "starting", False)
        OwnPolling(polling, 1).is_now(Polling.POLLS)
        assert said() == (200, None, True)
        polling.told_at[0] -= 61
        assert said() == (503, "hangs", False)
        OwnPolling(polling, 0).is_now(Polling.POLLS)
        OwnPolling(polling, 1).is_now(Polling.NAMESPACE_MISSING)
        assert said() == (503, "namespace_missing", False)
    finally:
        server.shutdown()
        server.server_close()
