"""ASGI middleware: limits the size of a body; names, measures and logs each request."""

import time

from opentelemetry import trace
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access_log import REQUEST_ID_FIELD, AccessLog
from api.errors import ApiError
from api.problems import Problem
from core.metrics import Telemetry
from core.request_context import RequestContext, current_request

MAX_BODY_BYTES = 256 * 1024
IMPORT_PATH = "/api/inventory/import"
MAX_IMPORT_BYTES = 64 * 1024 * 1024
"""Enough for 100,000 rows of 670 bytes; the file is kept on disk, not in memory."""


def is_stream(scope: Scope) -> bool:
    """Whether the request follows a hold: its answer lasts for minutes."""
    path: str = scope.get("path", "")
    return path.startswith("/api/browser/") and path.endswith("/events")


class BodyLimit:
    """Refuses a body over 256 KiB, that of an import over 64 MiB, with 413, whether it announces its length or not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = MAX_IMPORT_BYTES if scope["path"] == IMPORT_PATH else MAX_BODY_BYTES
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > most:
            await ApiError(Problem.body_too_large).response()(scope, receive, send)
            return
        seen = 0

        async def receive_counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise HTTPException(413)
            return message

        await self._app(scope, receive_counted, send)


class Timing:
    """Gives each request its id, measures it into the histogram by its route's template, and logs it."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry
        self._log = AccessLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and measure and log it once it is answered. Each answer names the request's id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = RequestContext(
            scope, next((value for name, value in scope["headers"] if name == REQUEST_ID_FIELD), None)
        )
        # Not reset: what handles an error outside of this middleware, and the server, log in the same task.
        current_request.set(request)
        trace.get_current_span().set_attribute("holdfast.request_id", request.request_id)
        started = time.perf_counter()
        ended: float | None = None
        status = 500

        async def observe_status(message: Message) -> None:
            nonlocal status, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID_FIELD, request.request_id.encode())]
                if is_stream(scope):  # which lasts as long as the browser stays
                    ended = time.perf_counter()
            await send(message)

        try:
            await self._app(scope, receive, observe_status)
        finally:
            seconds = (ended or time.perf_counter()) - started
            self._telemetry.requests.labels(request.route, request.method, str(status)).observe(seconds)
            self._log.write(request, status, seconds)
