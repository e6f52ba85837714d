"""Reads and writes of the database without which the caller goes on."""

from collections.abc import Awaitable
from typing import TypeVar

import psycopg

from core.database import DatabaseBusyError, DatabaseUnavailableError
from core.outage_log import OutageLog

Answer = TypeVar("Answer")


async def best_effort(work: Awaitable[Answer], outage: OutageLog) -> Answer | None:
    """Return the result of `work`, or None where the database fails, refuses it, or takes too long. It logs outages."""
    try:
        answer = await work
    except (DatabaseBusyError, DatabaseUnavailableError, psycopg.Error, TimeoutError) as error:
        outage.failed(error)
        return None
    outage.worked()
    return answer
