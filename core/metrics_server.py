"""Serves the worker's `/metrics` and `/readyz` from a thread."""

import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from core.worker_readiness import WorkerReadiness

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


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
    if readiness is not None:
        registry.register(readiness)
    app = partial(_answer, make_wsgi_app(registry), readiness)
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]

    class Server(_Server):
        address_family = family

    server = make_server(str(address[0]), port, app, Server, handler_class=_Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _answer(
    metrics: "WSGIApplication",
    readiness: WorkerReadiness | None,
    environ: "WSGIEnvironment",
    start_response: "StartResponse",
) -> Iterable[bytes]:
    if readiness is None or environ["PATH_INFO"] != "/readyz":
        return metrics(environ, start_response)
    status = "200 OK" if readiness.ready else "503 Service Unavailable"
    start_response(status, [("Content-Type", "application/json")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [readiness.body()]
