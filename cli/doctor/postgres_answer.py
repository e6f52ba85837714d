"""Finds out why Postgres refused a connection, which libpq tells as text only: by a connection request of its own."""

import asyncio
import re
import struct

from psycopg import conninfo

from core.certificates import REQUEST_TLS, unverified_context

_SECONDS = 3.0
_PROTOCOL = 3 << 16
_SPEAKS_TLS = b"S"
_ASKS_FOR_PASSWORD = b"R"
_REFUSES = b"E"
_SQLSTATE = re.compile(rb"(?:^|\0)C([0-9A-Z]{5})\0")
_CONNECTIONS = (
    "end idle sessions (SELECT * FROM pg_stat_activity), raise max_connections or the CONNECTION LIMIT of role or "
    "database, or lower INVENTORY_DATABASE_POOL_SIZE or the number of processes"
)
START = "start Postgres, or correct host and port in DATABASE_URL"
HANGS = "it accepts connections and does not answer: see its processes, its log and its disk; restart it if it hangs"
SLOW = "it answers, but takes too long to let anybody in: see the load of its machine and of this one"
NOT_POSTGRES = "no Postgres answers there: correct host and port in DATABASE_URL"
FULL = f"it runs, but has no connection left: {_CONNECTIONS}"
REFUSED = "it runs, and its message says why it refuses: correct user, password, database or sslmode in DATABASE_URL"
PASSWORD = f"{REFUSED}; of too many connections: {_CONNECTIONS}"
NOT_YET = "it is starting or stopping: wait; if that lasts, see its log"
_FIXES = {"53": FULL, "57": NOT_YET}
"""By the class of the SQLSTATE."""


async def fix_connection(url: str) -> str:
    """Return how to fix a connection that libpq could not make with this URL."""
    given = conninfo.conninfo_to_dict(url)
    host, port = str(given.get("hostaddr") or given.get("host") or ""), str(given.get("port") or 5432)
    if not port.isdecimal() or not host or host.startswith("/") or "," in host:
        return START  # by a socket file, or to several servers
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError):
        return START
    try:
        async with asyncio.timeout(_SECONDS):
            writer.write(REQUEST_TLS)
            if await reader.readexactly(1) == _SPEAKS_TLS:
                await writer.start_tls(unverified_context())
            writer.write(_start_up(str(given.get("user") or "postgres"), str(given.get("dbname") or "postgres")))
            return await _understood(reader)
    except TimeoutError:
        return HANGS
    except (OSError, asyncio.IncompleteReadError):
        return NOT_POSTGRES
    finally:
        writer.transport.abort()


def _start_up(user: str, database: str) -> bytes:
    named = b"".join(part.encode() + b"\0" for part in ("user", user, "database", database))
    return struct.pack("!ii", len(named) + 9, _PROTOCOL) + named + b"\0"


async def _understood(reader: asyncio.StreamReader) -> str:
    kind, length = struct.unpack("!ci", await reader.readexactly(5))
    if kind == _ASKS_FOR_PASSWORD:
        answer = struct.unpack("!i", await reader.readexactly(4))[0]
        if answer != 0:
            return PASSWORD
        await reader.readexactly(length - 8)
        kind, length = struct.unpack("!ci", await reader.readexactly(5))
    if kind != _REFUSES:
        return REFUSED
    fields = await reader.readexactly(length - 4)
    state = _SQLSTATE.search(fields)
    return _FIXES.get(state[1].decode()[:2], REFUSED) if state else REFUSED
