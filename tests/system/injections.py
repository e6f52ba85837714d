"""Puts one fault into a town; each takes it away again at the end of its block.

What a block yields are the variables that the operator's commands have then too.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import psycopg
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, RemoveSearchAttributesRequest
from temporalio.client import ScheduleHandle

from activities.audit_schedule import AUDIT_SCHEDULE
from activities.payments_schedule import PAYMENTS_SCHEDULE
from dev.ports import free_port
from inventory.moments import Moment
from tests.e2e.deployment import freeze
from tests.paying import named
from tests.simulated import SECRET
from tests.stack import SHOP
from tests.system.town import Town
from tests.waiting import until
from workflows.late_payment import LatePaymentWorkflow
from workflows.payment_messages import CloseCase, late_payment_workflow_id

Changes = dict[str, str]
Injection = Callable[[Town], AbstractAsyncContextManager[Changes]]

_ASKED = 14
"""Requests of a shopper who insists: more than an alert forgives."""


async def ask(town: Town, sku: str, times: int = _ASKED) -> set[int]:
    """Ask for so many holds of one unit at once, and return the statuses."""
    body = {"shopId": SHOP, "items": [{"sku": sku, "quantity": 1}]}
    asked = (town.deployment.http.post("/api/inventory/holds", json=body) for _ in range(times))
    return {answer.status_code for answer in await asyncio.gather(*asked)}


def execute(town: Town, *statements: str) -> None:
    """Run SQL as the owner of the database does."""
    with psycopg.connect(town.deployment.database, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@asynccontextmanager
async def nothing(_town: Town) -> AsyncIterator[Changes]:
    """All is well."""
    yield {}


@asynccontextmanager
async def frozen_worker(town: Town) -> AsyncIterator[Changes]:
    """The worker hangs in the middle of a reserve."""
    await town.deployment.put("FROZEN", 10)
    thaw = freeze(town.house.worker.pid)
    try:
        assert await ask(town, "FROZEN", 1) == {504}
        yield {}
    finally:
        thaw()


@asynccontextmanager
async def read_only(town: Town) -> AsyncIterator[Changes]:
    """Postgres takes no writes."""
    await town.deployment.put("READ", 10)
    execute(town, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    try:
        assert await ask(town, "READ") <= {503, 504}
        yield {}
    finally:
        execute(town, "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")


@asynccontextmanager
async def frozen_temporal(town: Town) -> AsyncIterator[Changes]:
    """Temporal hangs; nobody asks for anything."""
    thaw = freeze(town.house.temporal.pid)
    try:
        yield {}
    finally:
        thaw()


@asynccontextmanager
async def wrong_namespace(town: Town) -> AsyncIterator[Changes]:
    """The namespace of API and operator does not exist."""
    changes = {"TEMPORAL_NAMESPACE": "elsewhere"}
    await town.deployment.start_api(**changes)
    try:
        yield changes
    finally:
        await town.deployment.start_api()


@asynccontextmanager
async def missing_attribute(town: Town) -> AsyncIterator[Changes]:
    """Somebody removed a search attribute."""
    service, name = town.deployment.temporal.operator_service, "HoldReference"
    await service.remove_search_attributes(RemoveSearchAttributesRequest(namespace="default", search_attributes=[name]))
    await town.deployment.start_api()  # it looks again
    try:
        yield {}
    finally:
        keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
        await service.add_search_attributes(
            AddSearchAttributesRequest(namespace="default", search_attributes={name: keyword})
        )


@asynccontextmanager
async def refused_key(town: Town) -> AsyncIterator[Changes]:
    """Stripe refuses the key."""
    await town.stripe.control("/faults", on="api", effect="error", status=401, times=None)
    try:
        yield {}
    finally:
        await town.stripe.control("/faults", "DELETE")


@asynccontextmanager
async def wrong_webhook_secret(town: Town) -> AsyncIterator[Changes]:
    """The secret of the webhook is another endpoint's, since a restart."""
    await town.deployment.put("SECRET", 10)
    await town.deployment.start_api(STRIPE_WEBHOOK_SECRET=f"whsec_{'9' * 32}")
    try:
        made = await town.checkout("SECRET")
        await town.stripe.control(f"/sessions/{made['checkoutSessionId']}/pay", how="card")
        await until(lambda: _answered(town, 400), "an event is refused")
        yield {}
    finally:
        await town.deployment.start_api()
        await until(lambda: _answered(town, 200), "the event is sent again and taken")


async def _answered(town: Town, status: int) -> bool:
    sent = await town.stripe.control("/webhooks", "GET")
    return any(status in delivery["answers"][-1:] for delivery in sent)


@asynccontextmanager
async def dropped_webhooks(town: Town) -> AsyncIterator[Changes]:
    """A page was closed ten minutes ago, and the event of it never came."""
    await town.deployment.put("DROPPED", 10)
    await town.stripe.control("/faults", on="webhook", effect="drop", times=None)
    try:
        made = await town.checkout("DROPPED")
        _date_back(town, Moment.STRIPE_EVENT, minutes=20)
        await town.deployment.answered(made["holdId"], "release")
        _date_back(town, Moment.STRIPE_EVENT_DUE, minutes=10)
        yield {}
    finally:
        await town.stripe.control("/faults", "DELETE")
        made = await town.checkout("DROPPED")
        await town.stripe.control(f"/sessions/{made['checkoutSessionId']}/pay", how="card")


def _date_back(town: Town, moment: Moment, *, minutes: int) -> None:
    execute(town, f"UPDATE \"InventoryMoment\" SET at = now() - interval '{minutes} minutes' WHERE name = '{moment}'")


@asynccontextmanager
async def drift(town: Town) -> AsyncIterator[Changes]:
    """Somebody changed the counts of an item."""
    await town.deployment.put("DRIFT", 10)
    change = "UPDATE \"InventoryItem\" SET held = held {}, quantity = quantity {} WHERE sku = 'DRIFT'"
    execute(town, change.format("+ 1", "- 1"))
    try:
        await town.deployment.temporal.get_schedule_handle(AUDIT_SCHEDULE).trigger()
        yield {}
    finally:
        execute(town, change.format("- 1", "+ 1"))


@asynccontextmanager
async def terminated_workflow(town: Town) -> AsyncIterator[Changes]:
    """Somebody terminated the workflow of a hold."""
    await town.deployment.put("LOST", 10)
    await town.deployment.made("lost", "LOST")
    await town.deployment.run_of("lost").terminate()
    yield {}
    await town.deployment.answered("lost", "release")


@asynccontextmanager
async def row_lock(town: Town) -> AsyncIterator[Changes]:
    """A session keeps an item locked, in the middle of a sale."""
    await town.deployment.put("LOCKED", 100)
    lock = "SELECT FROM \"InventoryItem\" WHERE sku = 'LOCKED' FOR UPDATE"
    async with await psycopg.AsyncConnection.connect(town.deployment.database) as connection:
        await connection.execute(lock.encode())
        assert 429 in await ask(town, "LOCKED")
        yield {}
        await connection.rollback()


@asynccontextmanager
async def no_connection_left(town: Town) -> AsyncIterator[Changes]:
    """The role has no connection left."""
    execute(town, "CREATE ROLE limited LOGIN CONNECTION LIMIT 0")
    changes = {"DATABASE_URL": town.deployment.database.replace("postgres@", "limited@")}
    await town.deployment.start_api(**changes)
    try:
        yield changes
    finally:
        await town.deployment.start_api()
        execute(town, "DROP ROLE limited")


def paused(schedule_id: str) -> Injection:
    """Somebody paused the schedule."""

    @asynccontextmanager
    async def pause(town: Town) -> AsyncIterator[Changes]:
        handle: ScheduleHandle = town.deployment.temporal.get_schedule_handle(schedule_id)
        await handle.pause()
        try:
            yield {}
        finally:
            await handle.unpause()

    return pause


paused_audit, paused_reconciliation = paused(AUDIT_SCHEDULE), paused(PAYMENTS_SCHEDULE)


@asynccontextmanager
async def no_mail_server(_town: Town) -> AsyncIterator[Changes]:
    """The mail server does not run."""
    yield {"SMTP_URL": f"smtp://127.0.0.1:{free_port()}"}


@asynccontextmanager
async def late_payment(town: Town) -> AsyncIterator[Changes]:
    """A shopper paid for a hold that had been released, by a payment that only names it."""
    await town.deployment.put("LATE", 10)
    await town.deployment.made("late", "LATE")
    await town.deployment.answered("late", "release")
    wanted: Any = {"amount": 500, "currency": "eur", "metadata": named("late")}
    intent = (await town.stripe.stripe.v1.payment_intents.create_async(wanted)).id
    await town.stripe.control(f"/payment_intents/{intent}/pay")
    await until(lambda: _shown(town, intent), "holds show leads to the case")
    yield {}
    case = town.deployment.temporal.get_workflow_handle_for(LatePaymentWorkflow.run, late_payment_workflow_id(intent))
    await case.signal(LatePaymentWorkflow.close, CloseCase(actor="mara", note="refunded"))


async def _shown(town: Town, intent: str) -> bool:
    shown = await town.command("holds", "show", "late", "--shop", SHOP)
    return f"late-payment:{intent}" in shown.out and "Waiting for a person" in shown.out


@asynccontextmanager
async def smoke(town: Town) -> AsyncIterator[Changes]:
    """A smoke test runs, and no shopper comes."""
    ran = await town.command("smoke", STRIPE_WEBHOOK_SECRET=SECRET)
    assert ran.code == 0, ran.out + ran.err
    yield {}


@asynccontextmanager
async def restart(town: Town) -> AsyncIterator[Changes]:
    """API and worker are started anew."""
    await town.deployment.start_api()
    yield {}
