"""Deletes the parameters of checkouts whose holds have ended."""

import asyncio

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import DatabaseBusyError, DatabaseUnavailableError
from core.error_messages import first_line
from inventory.checkout_parameters import delete_parameters_of_ended_holds

INTERVAL_SECONDS = 30.0
"""The parameters outlive their hold by at most this."""


async def sweep_parameters(engine: AsyncEngine) -> None:
    """Delete them until cancelled; failures are logged and retried. Runs in every worker: a second one finds none."""
    log = structlog.get_logger("worker")
    while True:
        try:
            await delete_parameters_of_ended_holds(engine)
        except (DatabaseBusyError, DatabaseUnavailableError) as error:
            log.warning("cannot delete the parameters of ended checkouts; retrying", problem=first_line(error))
        except Exception:
            log.exception("deleting the parameters of ended checkouts failed; retrying")
        await asyncio.sleep(INTERVAL_SECONDS)
