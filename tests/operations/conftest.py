"""A shop with its Stripe, which the commands of the operator look at."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.client import Client, Schedule, ScheduleActionStartWorkflow, ScheduleIntervalSpec, ScheduleSpec

from activities.audit_schedule import AUDIT_SCHEDULE
from activities.payments_schedule import PAYMENTS_SCHEDULE
from dev.postgres import EmbeddedPostgres
from tests.paying import Shop, running_shop
from tests.servers import database_on
from tests.waiting import until


@pytest.fixture(scope="module")
async def shop(postgres: EmbeddedPostgres, migrated_template: str, temporal: Client) -> AsyncIterator[Shop]:
    """One for all tests of a module, which leave it as it was. Its worker is a test's own and makes no schedule."""
    with database_on(postgres, migrated_template) as url:
        async with running_shop(url, temporal) as running:
            handles = [
                await temporal.create_schedule(name, scheduled()) for name in (AUDIT_SCHEDULE, PAYMENTS_SCHEDULE)
            ]
            await until(lambda: _is_healthy(running), "the API knows of the worker")
            yield running
            for handle in handles:
                await handle.delete()


async def _is_healthy(shop: Shop) -> bool:
    return bool((await shop.stack.http.get("/api/inventory/health")).json()["status"] == "ok")


def scheduled() -> Schedule:
    """Return a schedule that does nothing before the test has ended."""
    action = ScheduleActionStartWorkflow("Nothing", id="nothing", task_queue="nobody")
    return Schedule(action=action, spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=1))]))
