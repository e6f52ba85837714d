"""The worker's /metrics."""

import socket
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter

from core import metrics_server


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
