"""A way to Postgres on which the answer to a statement can be lost, while the statement itself arrives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from psycopg.conninfo import conninfo_to_dict

_CHUNK = 65_536


class Wire:
    """Carries bytes both ways until told to withhold the answers to the statements that name a hold."""

    def __init__(self, database: str) -> None:
        target = conninfo_to_dict(database)
        self._host, self._port, self._name = str(target["host"]), int(target["port"] or 0), target["dbname"]
        self._withheld: set[bytes] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._listening_on = 0

    @property
    def url(self) -> str:
        """The database's URL for who is to go this way."""
        return f"postgresql://postgres@127.0.0.1:{self._listening_on}/{self._name}"

    def withhold(self, hold_id: str) -> None:
        """From now on, a connection that has carried a statement about this hold brings nothing back."""
        self._withheld.add(hold_id.encode())

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen on a free port of this machine."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._listening_on = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        to_server: asyncio.StreamWriter | None = None
        pumps: list[asyncio.Task[None]] = []
        try:
            from_server, to_server = await asyncio.open_connection(self._host, self._port)
            silent = asyncio.Event()
            pumps = [
                asyncio.create_task(self._carry_statements(reader, to_server, silent)),
                asyncio.create_task(_carry_answers(from_server, writer, silent)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, asyncio.CancelledError):
            pass  # one of the two ends is gone, or the test is over
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for end in (writer, to_server):
                if end is not None:
                    end.transport.abort()
            self._connections.discard(task)

    async def _carry_statements(
        self, reader: asyncio.StreamReader, to_server: asyncio.StreamWriter, silent: asyncio.Event
    ) -> None:
        while chunk := await reader.read(_CHUNK):
            if any(hold_id in chunk for hold_id in self._withheld):
                silent.set()
            to_server.write(chunk)
            await to_server.drain()


async def _carry_answers(
    from_server: asyncio.StreamReader, writer: asyncio.StreamWriter, silent: asyncio.Event
) -> None:
    with suppress(ConnectionError):
        while chunk := await from_server.read(_CHUNK):
            if not silent.is_set():
                writer.write(chunk)
                await writer.drain()


@asynccontextmanager
async def wire_to(database: str) -> AsyncIterator[Wire]:
    """Yield a wire to the database."""
    wire = Wire(database)
    async with wire.listening():
        yield wire
