"""Follows holds for the browsers that watch them: one read a second tells every stream of the process what changed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from contextvars import Context
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import DatabaseBusyError, DatabaseUnavailableError
from domain.holds import Hold, HoldKey, HoldStatus
from inventory.followed_holds import read_changed

_POLL_SECONDS = 1.0
_HEARTBEAT_SECONDS = 15.0
"""Shorter than the idle time-out of proxies (usually 60 s)."""


class TooManyStreamsError(Exception):
    """The process follows as many holds as it may."""


class HoldStream:
    """One browser's stream of one hold."""

    def __init__(self, hold: Hold) -> None:
        self.hold = hold
        self._changed = asyncio.Event()
        self._closed = False
        self.replaced = False
        """Whether another stream of the same hold took its place."""

    def update(self, hold: Hold) -> None:
        """Tell the stream that the hold changed."""
        self.hold = hold
        self._changed.set()

    def close(self, *, replaced: bool = False) -> None:
        """End the stream."""
        self._closed, self.replaced = True, replaced
        self._changed.set()

    async def states(self, known: datetime | None) -> AsyncIterator[Hold | None]:
        """Yield the hold unless `known` is its `updated_at`, then each change; None where nothing changed for 15 s.

        Ends with the hold, and when the stream is closed. Changes within a second may arrive as one.
        """
        while not self._closed:
            self._changed.clear()
            hold = self.hold
            if hold.updated_at != known:
                known = hold.updated_at
                yield hold
            elif hold.status is not HoldStatus.ACTIVE:
                return
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), _HEARTBEAT_SECONDS)
                if not self._changed.is_set() and self.hold is hold:
                    yield None


class HoldStreams:
    """All streams of a process: at most one of each hold, so that a token holds one connection."""

    def __init__(self, engine: AsyncEngine, most: int, count: Callable[[float], None]) -> None:
        self._engine = engine
        self._most = most
        self._count = count
        self._streams: dict[HoldKey, HoldStream] = {}
        self._reading: asyncio.Task[None] | None = None
        self._closing = False

    def __len__(self) -> int:
        """Return the number of streams."""
        return len(self._streams)

    def open(self, hold: Hold) -> HoldStream:
        """Begin to follow the hold, and end its earlier stream. Raises TooManyStreamsError."""
        earlier = self._streams.get(hold.key)
        if earlier is None and len(self._streams) >= self._most:
            raise TooManyStreamsError
        if earlier is not None:
            earlier.close(replaced=True)
        stream = self._streams[hold.key] = HoldStream(hold)
        self._count(len(self))
        if self._closing:
            stream.close()
        elif self._reading is None:
            self._reading = asyncio.create_task(self._read(), context=Context())  # the work of no one request
        return stream

    def forget(self, stream: HoldStream) -> None:
        """Stop following for a stream that has ended."""
        if self._streams.get(stream.hold.key) is stream:
            del self._streams[stream.hold.key]
            self._count(len(self))

    def close(self) -> None:
        """End every stream: the process stops. Browsers connect again, to another process."""
        if self._closing:
            return  # each of the process's connections calls this
        self._closing = True
        for stream in self._streams.values():
            stream.close()

    async def aclose(self) -> None:
        """End every stream and the reading."""
        self.close()
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading

    async def _read(self) -> None:
        log = structlog.get_logger("api")
        reads = True
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                await self._tell_changes()
            except Exception as error:  # whatever is wrong: every stream would stand still without a word
                if reads:
                    defect = not isinstance(error, (DatabaseBusyError, DatabaseUnavailableError))
                    message = "the holds that browsers follow cannot be read; trying again"
                    log.warning(message, problem=str(error), exc_info=defect)
                reads = False
            else:
                if not reads:
                    log.info("the holds that browsers follow are read again")
                reads = True

    async def _tell_changes(self) -> None:
        known = {key: stream.hold.updated_at for key, stream in self._streams.items()}
        if not known:
            return
        for hold in await read_changed(self._engine, known):
            stream = self._streams.get(hold.key)
            if stream is not None and stream.hold.updated_at == known[hold.key]:  # else opened since, with a newer hold
                stream.update(hold)
