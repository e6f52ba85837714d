"""Serves the worker's `/metrics` and `/readyz` from a thread."""

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, start_http_server

from core.worker_readiness import WorkerReadiness

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


class _Handler(WSGIRequestHandler):
    """One connection, in a thread of its own, which a silent client would otherwise keep for good."""

    timeout = 10

    def handle(self) -> None:
        with suppress(TimeoutError, ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log no requests."""


def serve_metrics(
    port: int, host: str, registry: CollectorRegistry, readiness: WorkerReadiness | None = None
) -> WSGIServer:
    """Serve the registry, and the readiness, on the address until the process ends. Raises OSError if it is taken."""
    server, _ = start_http_server(port, host, registry)
    server.RequestHandlerClass = _Handler
    if readiness is not None:
        registry.register(readiness)
        metrics = server.get_app()
        server.set_app(partial(_answer, metrics, readiness))  # type: ignore[arg-type]
    return server


def _answer(
    metrics: "WSGIApplication",
    readiness: WorkerReadiness,
    environ: "WSGIEnvironment",
    start_response: "StartResponse",
) -> Iterable[bytes]:
    if environ["PATH_INFO"] != "/readyz":
        return metrics(environ, start_response)
    status = "200 OK" if readiness.ready else "503 Service Unavailable"
    start_response(status, [("Content-Type", "application/json")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [readiness.body()]
