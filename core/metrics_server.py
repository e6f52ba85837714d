"""Serves the worker's `/metrics` from a thread."""

from contextlib import suppress
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, start_http_server


class _Handler(WSGIRequestHandler):
    """One connection, in a thread of its own, which a silent client would otherwise keep for good."""

    timeout = 10

    def handle(self) -> None:
        with suppress(TimeoutError, ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log no requests."""


def serve_metrics(port: int, host: str, registry: CollectorRegistry) -> WSGIServer:
    """Serve the registry on the address until the process ends. Raises OSError if the port is taken."""
    server, _ = start_http_server(port, host, registry)
    server.RequestHandlerClass = _Handler
    return server
