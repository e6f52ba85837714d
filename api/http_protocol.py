"""uvicorn's HTTP protocol, with limits for clients that send too much, send too slowly, or do not read."""

import asyncio
import resource
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from api.access_log import REQUEST_ID_FIELD
from api.errors import ApiError
from api.hold_streams import HoldStreams
from api.problems import Problem
from core.request_context import RequestContext
from core.settings import Settings

MAX_HEADER_BYTES = 16 * 1024
"""Of the URL and all header fields; also of what surrounds a body's chunks, between two bytes of the body."""
MAX_PIPELINED = 16
"""Requests that wait on one connection for the answer to an earlier one. No common client sends any."""
_TIMED_BYTES = 1024 * 1024
"""The deadline of a body is for so many bytes of it, so that a large file may take longer."""
_OTHER_FILES = 100
"""Open files of a process that are not clients' connections: those to Postgres, Temporal and Stripe, and uploads."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of a process's connections, and what counts the connections that they close."""

    connections: int
    header_seconds: int
    body_seconds: int
    count: Callable[[str], None]

    @classmethod
    def choose(cls, settings: Settings, count: Callable[[str], None]) -> "ConnectionLimits":
        """Return the limits of the settings, with as many connections as the limit of open files allows."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        connections = settings.api_connections
        if files != resource.RLIM_INFINITY:
            connections = min(connections, max(1, files - _OTHER_FILES - settings.pool_size))
        return cls(connections, settings.api_header_seconds, settings.api_body_seconds, count)


class _Part(Enum):
    """The part of a request that is incomplete."""

    HEADER = auto()
    BODY = auto()


class _RefusedError(Exception):
    """Ends the parsing of a request."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection. The lifespan's state has its ConnectionLimits as `connection_limits`."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits: ConnectionLimits = app_state["connection_limits"]
        self._streams: HoldStreams = app_state["streams"]
        self._incomplete: _Part | None = None
        self._progress = False
        self._bytes_without_progress = 0
        self._bytes_in_time = 0
        self._refusal = Problem.invalid_http
        self._receive_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self.waits_since = self.loop.time()

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def waits_for_client(self) -> bool:
        """Whether nothing can happen on the connection until its client sends or reads."""
        sends = self._is_idle or (self._incomplete is _Part.BODY and not self.pipeline)
        return sends or self.flow.write_paused or self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline of the first header. At the limit of connections, close the one that waits longest."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > self._limits.connections:
            # This one is among them, and is closed itself if all others are being served.
            ours = [one for one in self.connections if isinstance(one, LimitedProtocol)]
            for one in ours:
                if one.transport.is_closing():
                    one.transport.abort()  # its client may not read
            waiting = [one for one in ours if one.waits_for_client and not one.transport.is_closing()]
            min(waiting, key=lambda one: one.waits_since).give_up(Problem.too_many_connections)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        self._stop_watching()
        self._stop_send_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data in blocks: what the parser collects before it calls back would otherwise have no limit."""
        for start in range(0, len(data), MAX_HEADER_BYTES):
            block = data[start : start + MAX_HEADER_BYTES]
            self._progress = False
            super().data_received(block)
            if self.transport.is_closing():
                return
            self._bytes_without_progress = 0 if self._progress else self._bytes_without_progress + len(block)
            if self._bytes_without_progress > MAX_HEADER_BYTES:
                self.give_up(Problem.headers_too_large)
                return
        self._watch()

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        super().on_message_begin()
        self._progress = True
        self._incomplete = _Part.HEADER
        self._bytes_in_time = 0

    def on_headers_complete(self) -> None:
        """Refuse a header that is too large, and requests sent without waiting for answers."""
        self._progress = True
        self._stop_watching()
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEADER_BYTES:
            self._refusal = Problem.headers_too_large
        if self._refusal is Problem.headers_too_large or len(self.pipeline) >= MAX_PIPELINED:
            raise _RefusedError
        super().on_headers_complete()
        self._incomplete = _Part.BODY  # only now is `cycle` this request's

    def on_body(self, body: bytes) -> None:
        """Note that the body grows."""
        self._progress = True
        self.waits_since = self.loop.time()
        self._bytes_in_time += len(body)
        if self._bytes_in_time >= _TIMED_BYTES:  # `data_received` starts the deadline again
            self._bytes_in_time = 0
            self._stop_watching()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is complete."""
        self._incomplete = None
        self._stop_watching()
        super().on_message_complete()
        if self._is_idle and self.timeout_keep_alive_task is None:  # answered before the body was complete
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """Note since when the connection waits for the next request."""
        self.waits_since = self.loop.time()
        super().on_response_complete()

    def shutdown(self) -> None:
        """End the streams, which would last until the process is killed; finish everything else."""
        self._streams.close()
        super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, even if the client has not read the last answer."""
        self._close()

    def pause_writing(self) -> None:
        """Start the deadline for the client to read."""
        super().pause_writing()
        self.waits_since = self.loop.time()
        self._send_timer = self.loop.call_later(self._limits.body_seconds, self.give_up, Problem.request_timed_out)

    def resume_writing(self) -> None:
        """End that deadline."""
        self._stop_send_timer()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text
        """Answer what cannot be parsed, in the shape of every error."""
        self.give_up(self._refusal)

    def give_up(self, problem: Problem) -> None:
        """Close the connection, after an answer to the request that is being received if its turn has come."""
        self._limits.count(problem.name)
        if self._incomplete is _Part.BODY:
            in_turn = not self.pipeline and not self.cycle.response_started
        else:
            in_turn = self._incomplete is _Part.HEADER and self._is_idle
        if in_turn and not self.transport.is_closing():
            self._write_answer(problem)
        if not self._is_idle:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._close()

    def _write_answer(self, problem: Problem) -> None:
        response = ApiError(problem).response()
        headers = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
        given = next((value for name, value in self.headers if name == REQUEST_ID_FIELD), None)
        headers.append((REQUEST_ID_FIELD, RequestContext(self.scope, given).request_id.encode()))
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([STATUS_LINE[response.status_code], *lines, b"\r\n", bytes(response.body)]))

    def _close(self) -> None:
        if self.transport.is_closing() or self.flow.write_paused:
            self.transport.abort()  # what the client has not read would keep the connection open
        else:
            self.transport.close()

    def _watch(self) -> None:
        """Start the deadline of what the client has to send next, unless it or that for keep-alive is running."""
        idle = self._is_idle and self.timeout_keep_alive_task is None
        if self._receive_timer is None and (self._incomplete is not None or idle):
            limits = self._limits
            seconds = limits.body_seconds if self._incomplete is _Part.BODY else limits.header_seconds
            self._receive_timer = self.loop.call_later(seconds, self.give_up, Problem.request_timed_out)

    def _stop_watching(self) -> None:
        if self._receive_timer is not None:
            self._receive_timer.cancel()
            self._receive_timer = None

    def _stop_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
