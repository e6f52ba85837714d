"""Deletes the parameters of checkouts whose holds have ended."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import DatabaseBusyError, DatabaseUnavailableError
from core.outage_log import OutageLog
from inventory.checkout_parameters import delete_parameters_of_ended_holds

INTERVAL_SECONDS = 30.0
"""The parameters outlive their hold by at most this."""


async def sweep_parameters(engine: AsyncEngine) -> None:
    """Delete them until cancelled; failures are logged and retried. Runs in every worker: a second one finds none."""
    outage = OutageLog(
        "worker",
        fails="cannot delete the parameters of ended checkouts; retrying",
        works="the parameters of ended checkouts are deleted again",
    )
    while True:
        try:
            await delete_parameters_of_ended_holds(engine)
        except Exception as error:  # noqa: BLE001 - whatever is wrong, it is tried again
            outage.failed(error, defect=not isinstance(error, (DatabaseBusyError, DatabaseUnavailableError)))
        else:
            outage.worked()
        await asyncio.sleep(INTERVAL_SECONDS)
