"""A way to Postgres that can be cut, or lose the answer to a statement while the statement itself arrives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from psycopg.conninfo import conninfo_to_dict

_CHUNK = 65_536


class Wire:
    """Carries bytes both ways until told otherwise."""

    def __init__(self, database: str) -> None:
        self.lead_to(database)
        self._withheld: set[bytes] = set()
        self._severed: set[bytes] = set()
        self._is_cut = False
        self._connections: set[asyncio.Task[None]] = set()
        self._listening_on = 0

    @property
    def url(self) -> str:
        """The database's URL for who is to go this way."""
        return f"postgresql://postgres@127.0.0.1:{self._listening_on}/{self._name}"

    def withhold(self, hold_id: str) -> None:
        """From now on, a connection that has carried a statement about this hold brings nothing back.

        The id must be no word of our SQL: psycopg has a statement that it uses often prepared before it runs it.
        """
        self._withheld.add(hold_id.encode())

    def sever(self, hold_id: str) -> None:
        """From now on, a connection that has carried a statement about this hold breaks in place of the answer."""
        self._severed.add(hold_id.encode())

    def lead_to(self, database: str) -> None:
        """Lead new connections to another server. Those that there are stay as they are."""
        target = conninfo_to_dict(database)
        self._host, self._port, self._name = str(target["host"]), int(target["port"] or 0), target["dbname"]

    def cut(self) -> None:
        """Break every connection, and let none be made."""
        self._is_cut = True
        for connection in self._connections:
            connection.cancel()

    def mend(self) -> None:
        """Carry everything again, on new connections."""
        self._withheld.clear()
        self._severed.clear()
        self._is_cut = False

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
            if not self._is_cut:
                from_server, to_server = await asyncio.open_connection(self._host, self._port)
                fate = _Fate()
                pumps = [
                    asyncio.create_task(self._carry_statements(reader, to_server, fate)),
                    asyncio.create_task(_carry_answers(from_server, writer, fate)),
                ]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, asyncio.CancelledError):
            pass  # one of the two ends is gone, the wire was cut, or the test is over
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for end in (writer, to_server):
                if end is not None:
                    end.transport.abort()
            self._connections.discard(task)

    async def _carry_statements(
        self, reader: asyncio.StreamReader, to_server: asyncio.StreamWriter, fate: "_Fate"
    ) -> None:
        while chunk := await reader.read(_CHUNK):
            fate.withheld |= any(hold_id in chunk for hold_id in self._withheld)
            fate.severed |= any(hold_id in chunk for hold_id in self._severed)
            to_server.write(chunk)
            await to_server.drain()


@dataclass
class _Fate:
    """What becomes of a connection's answers."""

    withheld: bool = False
    severed: bool = False


async def _carry_answers(from_server: asyncio.StreamReader, writer: asyncio.StreamWriter, fate: _Fate) -> None:
    # Postgres answers once it has committed.
    with suppress(ConnectionError):
        while (chunk := await from_server.read(_CHUNK)) and not fate.severed:
            if not fate.withheld:
                writer.write(chunk)
                await writer.drain()


@asynccontextmanager
async def wire_to(database: str) -> AsyncIterator[Wire]:
    """Yield a wire to the database."""
    wire = Wire(database)
    async with wire.listening():
        yield wire
