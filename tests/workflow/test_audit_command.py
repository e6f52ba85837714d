"""`holdfast audit`: a sentence for every finding, and a repair that respects what goes on meanwhile."""

import asyncio
import json

import pytest

from core.database import fetch
from inventory.audit import repair
from inventory.holds import HoldStatus
from tests.invariants import assert_stock_adds_up
from tests.stack import SHOP, Stack
from tests.stock import end, until_waiting
from tests.workflow.commands import holdfast
from tests.workflow.test_audit import CHECKLISTS_RELEASE, by_hand, listed
from workflows.messages import Ended


async def test_a_clean_stock_is_exit_code_0(stack: Stack) -> None:
    await stack.made(("TEE", 3))

    ran = await holdfast(stack, "audit")

    assert (ran.code, ran.out, ran.err) == (0, "1 items, 1 active holds: nothing is wrong.\n", "")


async def test_after_the_checklists_release_by_hand_a_repair_makes_all_of_it_right(stack: Stack) -> None:
    await stack.put(20, sku="MUG")
    holds = [await stack.made(("TEE", 2), ("MUG", 3)) for _ in range(3)]
    await stack.post((await stack.made(("MUG", 1)))["holdId"], "commit")
    await listed(stack, *(hold["holdId"] for hold in holds))
    await by_hand(stack, CHECKLISTS_RELEASE)

    found = await holdfast(stack, "audit", "--shop", SHOP)

    assert found.code == 1
    assert (
        "shop-1 TEE: 6 units held, but its active holds have 0. `holdfast audit --repair` sets it right." in found.out
    )
    assert found.out.count("released in the database, but its workflow hold:shop-1:") == 3

    mended = await holdfast(stack, "audit", "--repair")

    assert mended.code == 0, mended.out
    assert "shop-1 TEE: 6 units held, but its active holds have 0. Repaired: held 0, sellable 10." in mended.out
    assert [await stack.run_of(hold["holdId"]).result() for hold in holds] == [Ended("released")] * 3
    assert (await stack.stock_of("TEE"), await stack.stock_of("MUG")) == ((10, 0), (19, 0))
    await assert_stock_adds_up(stack.engine)
    assert (await holdfast(stack, "audit")).code == 0


async def test_the_machine_readable_answer_names_every_finding(stack: Stack) -> None:
    await by_hand(stack, 'UPDATE "InventoryItem" SET quantity = 4')

    ran = await holdfast(stack, "audit", "--json", "--shop", SHOP)

    assert ran.code == 1
    told = json.loads(ran.out)
    assert (told["items"], told["activeHolds"]) == (1, 0)
    assert told["findings"] == [
        {
            "kind": "balance",
            "shop_id": SHOP,
            "subject": "TEE",
            "sentence": "shop-1 TEE: 4 units on hand (sellable 4, held 0), but its last movement left 10."
            " `holdfast audit --repair` sets it right.",
            "mended": False,
        }
    ]


async def test_what_nobody_can_know_is_left_to_a_person(stack: Stack) -> None:
    await stack.made(("TEE", 3))
    await by_hand(stack, 'DELETE FROM "InventoryMovement"')

    ran = await holdfast(stack, "audit", "--repair")

    assert ran.code == 1
    assert "without a movement nobody can tell how many there are; set its count" in ran.out
    assert await stack.stock_of() == (7, 3)


async def test_one_shops_drift_is_not_anothers(stack: Stack) -> None:
    await by_hand(stack, 'UPDATE "InventoryItem" SET held = 1')

    assert (await holdfast(stack, "audit", "--shop", "another")).code == 0
    assert (await holdfast(stack, "audit", "--shop", 'a" OR "b')).code == 2


async def test_without_temporal_the_stock_is_looked_at_all_the_same(stack: Stack) -> None:
    await by_hand(stack, 'UPDATE "InventoryItem" SET held = 1, quantity = 9')

    ran = await holdfast(stack, "audit", "--repair", TEMPORAL_ADDRESS="127.0.0.1:1")

    assert ran.code == 1
    assert "Repaired: held 0, sellable 10." in ran.out
    assert "Temporal is out of reach" in ran.out


async def test_without_a_database_the_command_says_so_on_one_line(stack: Stack) -> None:
    away = await holdfast(stack, "audit", DATABASE_URL="postgresql://postgres@127.0.0.1:1/none")
    unset = await holdfast(stack, "audit", DATABASE_URL="", HOLDFAST_HOME="/nonexistent")

    assert (away.code, unset.code) == (2, 2)
    assert (away.err.count("\n"), unset.err.count("\n")) == (1, 1)
    assert "DATABASE_URL is not set, and no `holdfast up` runs here" in unset.err


@pytest.mark.parametrize("to", [HoldStatus.COMMITTED, HoldStatus.RELEASED])
async def test_a_repair_that_waited_for_an_ending_hold_counts_it_as_ended(stack: Stack, to: HoldStatus) -> None:
    hold = await stack.made(("TEE", 3))
    await by_hand(stack, 'UPDATE "InventoryItem" SET held = 5, quantity = 5')
    async with stack.engine.connect() as connection:
        await connection.execution_options(isolation_level="READ COMMITTED")
        await connection.exec_driver_sql('SELECT FROM "InventoryItem" FOR UPDATE')
        ending = asyncio.create_task(end(stack.engine, hold["holdId"], to))
        await until_waiting(stack.engine, 1)
        repairing = asyncio.create_task(repair(stack.engine, (SHOP, "TEE", "")))
        await until_waiting(stack.engine, 2)
        await connection.rollback()
    await asyncio.gather(ending, repairing)

    await assert_stock_adds_up(stack.engine)
    assert await repair(stack.engine, (SHOP, "TEE", "")) is None


async def test_repairs_during_a_rush_leave_stock_that_adds_up(stack: Stack) -> None:
    await stack.put(100)
    done = asyncio.Event()

    async def shop(verb: str) -> None:
        while not done.is_set():
            await stack.post((await stack.made(("TEE", 1)))["holdId"], verb)

    shoppers = [asyncio.create_task(shop("release")) for _ in range(4)]
    for _ in range(10):
        await by_hand(stack, 'UPDATE "InventoryItem" SET held = held + 1')
        await repair(stack.engine, (SHOP, "TEE", ""))
    done.set()
    await asyncio.gather(*shoppers)

    await assert_stock_adds_up(stack.engine)


async def test_movements_are_left_as_they_are(stack: Stack) -> None:
    read = 'SELECT * FROM "InventoryMovement" ORDER BY id'
    before = await fetch(stack.engine, read, {})
    await by_hand(stack, 'UPDATE "InventoryItem" SET quantity = 4, held = 2')

    assert (await holdfast(stack, "audit", "--repair")).code == 0
    assert await fetch(stack.engine, read, {}) == before
    assert await stack.stock_of() == (10, 0)
