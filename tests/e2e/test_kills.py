"""A worker killed between what Postgres committed and what Temporal recorded: the next one tells the same story.

One kill ends one worker in the midst of thirteen holds, each at another point; a test for each looks at what became
of it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest
from temporalio.api.enums.v1 import EventType

from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import stock_of, until_waiting
from tests.e2e.deployment import Deployment, kill
from tests.e2e.wire import wire_to
from tests.stack import SHOP
from tests.waiting import until

SETTLED = {"bought": "committed", "in-part": "committed", "returned": "released", "lapsed": "expired"}
"""Holds whose settle was committed, and how."""
CHANGED = ("changed-1", "changed-late", "changed-later")
"""Holds that are changed to 5 units: written and not recorded, by a statement that outlives the worker, after it."""
PART = {"items": [{"sku": "in-part", "quantity": 1}]}
HOLDS = (
    "reserved-1",
    "brief",
    *SETTLED,
    "extended",
    *CHANGED,
    "exchanged-1",
    "late",
    "refused",
    "sold-late",
    "part-late",
)
"""Each has an item of its own by the same name: 10 on hand, of which it takes 3."""
BRIEF = timedelta(seconds=14)
"""A life that ends soon after the next worker finds the hold (10 s), and long before such a time begins anew."""


@dataclass
class Aftermath:
    """What was asked of the worker that was killed, and how the holds were at that moment."""

    deployment: Deployment
    asked: dict[str, asyncio.Task[httpx.Response]]
    rows: dict[str, dict[str, Any] | None]

    async def stock_of(self, hold_id: str) -> tuple[int, int]:
        return await stock_of(self.deployment.engine, hold_id)


@asynccontextmanager
async def locked(database: str, *skus: str) -> AsyncIterator[Callable[[], Coroutine[Any, Any, None]]]:
    """Hold the items' row locks; yields what gives them back."""
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute('SELECT FROM "InventoryItem" WHERE sku = ANY(%s) FOR UPDATE', [list(skus)])
        yield connection.rollback


@pytest.fixture(scope="module")
async def aftermath(deployment: Deployment) -> AsyncIterator[Aftermath]:
    """Kill the worker when every hold is at its point, and start the next."""
    for hold_id in HOLDS:
        await deployment.put(hold_id, 10)
    asked: dict[str, asyncio.Task[httpx.Response]] = {}

    def ask(hold_id: str, request: Coroutine[Any, Any, httpx.Response]) -> None:
        asked[hold_id] = asyncio.create_task(request)

    def change(hold_id: str) -> None:
        ask(hold_id, deployment.change(hold_id, 5))

    async with wire_to(deployment.database) as wire:
        doomed = await deployment.start_worker(database=wire.url)
        await asyncio.gather(
            deployment.made_for(2, "lapsed", "lapsed", 3),
            *(
                deployment.made(hold_id, hold_id, 3)
                for hold_id in ("bought", "in-part", "returned", "extended", "sold-late", "part-late", *CHANGED)
            ),
            deployment.made("exchanged-1", "exchanged-1", 3, reference="exchanged"),
        )
        first = await deployment.row("extended")
        assert first is not None
        for hold_id in ("reserved-1", "brief", "extended", "cart-of-changed-1", "exchanged-2", *SETTLED):
            wire.withhold(hold_id)
        ask("reserved-1", deployment.create("reserved-1", "reserved-1", 3))
        brief = asyncio.create_task(deployment.made_for(int(BRIEF.total_seconds()), "brief", "brief", 3))
        ask("bought", deployment.post("bought", "commit"))
        ask("in-part", deployment.post("in-part", "commit", PART))
        ask("returned", deployment.post("returned", "release"))
        ask("extended", deployment.post("extended", "extend", {"ttlSeconds": 600}))
        change("changed-1")
        ask("exchanged-2", deployment.create("exchanged-2", "exchanged-1", 5, reference="exchanged", replace=True))

        async def all_committed() -> bool:
            rows = [await deployment.row(hold_id) for hold_id in ("reserved-1", "brief", "exchanged-2", "extended")]
            changed = await deployment.row("changed-1")
            return (
                all(rows)
                and changed is not None
                and changed["revision"] == 1
                and rows[-1] is not None
                and rows[-1]["expiresAt"] > first["expiresAt"]
                and [await deployment.status(hold_id) for hold_id in SETTLED] == list(SETTLED.values())
            )

        await until(all_committed, "Postgres has committed every statement whose answer is withheld")
        outliving, dying = ("late", "sold-late", "part-late", "changed-late"), ("refused", "changed-later")
        async with locked(deployment.database, *outliving) as unlock, locked(deployment.database, *dying):
            change("changed-late")
            change("changed-later")
            ask("late", deployment.create("late", "late", 3))
            ask("refused", deployment.create("refused", "refused", 3))
            ask("sold-late", deployment.post("sold-late", "commit"))
            part = {"items": [{"sku": "part-late", "quantity": 1}]}
            ask("part-late", deployment.post("part-late", "commit", part))
            await until_waiting(deployment.engine, 6)
            kill(doomed)
            await unlock()

            async def none_waits() -> bool:
                return await deployment.waiting() == 0

            await until(none_waits, "Postgres gives up the reserve that never got its lock")
        rows = {hold_id: await deployment.row(hold_id) for hold_id in HOLDS}
    await deployment.start_worker()
    yield Aftermath(deployment, asked, rows)
    await asyncio.gather(brief, *asked.values(), return_exceptions=True)


async def task_was_lost(deployment: Deployment, hold_id: str) -> bool:
    """Tell whether a workflow task of the hold's died with its worker."""
    history = await deployment.run_of(hold_id).fetch_history()
    return any(event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT for event in history.events)


async def sell(deployment: Deployment, hold_id: str) -> None:
    """Commit a hold through the next worker."""
    await deployment.answered(hold_id, "commit")
    assert await deployment.end_of(hold_id) == "committed"


async def test_stock_that_a_killed_worker_took_is_found_and_sold_once(aftermath: Aftermath) -> None:
    told = await aftermath.asked["reserved-1"]
    assert (told.status_code, told.json()["error"], told.json()["holdId"]) == (504, "inventory_timeout", "reserved-1")

    again = await aftermath.deployment.create("reserved-1", "reserved-1", 3)

    assert (again.status_code, again.json()["status"]) == (200, "active")
    assert await aftermath.stock_of("reserved-1") == (7, 3)
    await sell(aftermath.deployment, "reserved-1")
    assert await aftermath.stock_of("reserved-1") == (7, 0)
    assert await task_was_lost(aftermath.deployment, "reserved-1")


async def test_a_hold_found_by_the_next_worker_ends_at_its_first_deadline(aftermath: Aftermath) -> None:
    taken = aftermath.rows["brief"]
    assert taken is not None

    assert await aftermath.deployment.end_of("brief") == "expired"

    row = await aftermath.deployment.row("brief")
    assert row is not None
    assert row["expiresAt"] == taken["expiresAt"] == row["createdAt"] + BRIEF
    assert row["expiredAt"] >= row["expiresAt"]
    assert await task_was_lost(aftermath.deployment, "brief")
    assert await aftermath.stock_of("brief") == (10, 0)


@pytest.mark.parametrize(("hold_id", "status"), SETTLED.items())
async def test_an_end_that_was_committed_and_not_recorded_is_told_and_not_repeated(
    aftermath: Aftermath, hold_id: str, status: str
) -> None:
    assert await aftermath.deployment.end_of(hold_id) == status

    assert await aftermath.deployment.row(hold_id) == aftermath.rows[hold_id]
    assert await task_was_lost(aftermath.deployment, hold_id)  # it settles in its workflow task
    row = await aftermath.deployment.row(hold_id)
    assert row is not None
    assert row["moves"] == (1 if status == "committed" else 0)
    left = {"bought": 7, "in-part": 9}.get(hold_id, 10)
    assert await aftermath.stock_of(hold_id) == (left, 0)


@pytest.mark.parametrize(
    ("hold_id", "verb", "body", "first"),
    [("bought", "commit", None, 504), ("in-part", "commit", PART, 504), ("returned", "release", None, 200)],
)
async def test_who_asked_for_that_end_hears_of_it(
    aftermath: Aftermath, hold_id: str, verb: str, body: dict[str, Any] | None, first: int
) -> None:
    """A commit is not known before the workflow tells it; a release reads the row at the end of its time."""
    assert (await aftermath.asked[hold_id]).status_code == first
    again = await aftermath.deployment.answered(hold_id, verb, body)
    assert again["status"] == SETTLED[hold_id]


async def test_an_extension_that_was_written_and_not_recorded_counts_once(aftermath: Aftermath) -> None:
    written = aftermath.rows["extended"]
    assert written is not None
    assert written["expiresAt"] == written["createdAt"] + timedelta(seconds=1200 + 600)

    snapshot = await aftermath.deployment.run_of("extended").query("snapshot", result_type=dict)

    assert snapshot["expires_at"] == written["expiresAt"].isoformat().replace("+00:00", "Z")
    await sell(aftermath.deployment, "extended")
    row = await aftermath.deployment.row("extended")
    assert row is not None
    assert row["expiresAt"] == written["expiresAt"]
    assert await aftermath.stock_of("extended") == (7, 0)


@pytest.mark.parametrize("hold_id", CHANGED)
async def test_a_change_is_made_once_whenever_its_worker_died(aftermath: Aftermath, hold_id: str) -> None:
    before = aftermath.rows[hold_id]
    assert before is not None
    assert before["revision"] == (0 if hold_id == "changed-later" else 1)

    again = await aftermath.deployment.changed(hold_id, 5)

    assert [line["quantity"] for line in again["items"]] == [5]
    assert (again["revision"], again["reference"]) == (1, f"cart-of-{hold_id}")
    assert await aftermath.stock_of(hold_id) == (5, 5)
    await sell(aftermath.deployment, hold_id)
    assert await aftermath.stock_of(hold_id) == (5, 0)


async def test_an_exchange_that_was_written_and_not_recorded_is_found_and_the_old_run_ends(
    aftermath: Aftermath,
) -> None:
    deployment = aftermath.deployment
    again = await deployment.create("exchanged-2", "exchanged-1", 5, reference="exchanged", replace=True)
    assert (again.status_code, again.json()["status"]) == (200, "active")
    assert await deployment.end_of("exchanged-1") == "released"
    old = await deployment.row("exchanged-1")
    assert old is not None
    assert old["reason"] == "replaced"
    assert await aftermath.stock_of("exchanged-1") == (5, 5)


async def test_a_reserve_that_outlived_its_worker_is_found(aftermath: Aftermath) -> None:
    assert aftermath.rows["late"] is not None
    again = await aftermath.deployment.create("late", "late", 3)
    assert (again.status_code, again.json()["status"]) == (200, "active")
    await sell(aftermath.deployment, "late")
    assert await aftermath.stock_of("late") == (7, 0)


async def test_a_reserve_that_died_with_its_worker_takes_nothing_later(aftermath: Aftermath) -> None:
    assert aftermath.rows["refused"] is None

    assert await aftermath.deployment.end_of("refused") == "rejected"

    assert await aftermath.deployment.row("refused") is None
    assert await aftermath.stock_of("refused") == (10, 0)
    again = await aftermath.deployment.made("refused", "refused", 3)
    assert again["status"] == "active"


@pytest.mark.parametrize(("hold_id", "left"), [("sold-late", 7), ("part-late", 9)])
async def test_a_sale_that_outlived_its_worker_is_made_once(aftermath: Aftermath, hold_id: str, left: int) -> None:
    assert await aftermath.deployment.end_of(hold_id) == "committed"
    row = await aftermath.deployment.row(hold_id)
    assert row is not None
    assert row["moves"] == 1
    assert await aftermath.stock_of(hold_id) == (left, 0)


async def test_after_the_kill_no_stock_is_held_by_nobody(aftermath: Aftermath) -> None:
    deployment = aftermath.deployment
    await assert_stock_adds_up(deployment.engine)
    active = await deployment.http.get("/api/inventory/holds", params={"shopId": SHOP, "status": "active"})
    for hold in active.json()["holds"]:
        status = (await deployment.run_of(hold["holdId"]).describe()).status
        assert status is not None
        assert status.name == "RUNNING"
