"""`holdfast audit` reports every finding; its repair is correct under concurrent changes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from core.database import fetch
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import end, until_waiting
from domain.holds import HoldStatus
from inventory.audit import ItemKey, repair
from tests.commands import holdfast
from tests.stack import ADMIN_TOKEN, AUTHORITY_TOKEN, SHOP, Stack
from tests.workflow.test_audit import RELEASE_BY_HAND, by_hand, listed
from workflows.messages import Ended


@pytest.fixture
async def stack(own_stack: Stack) -> Stack:
    """A product for each test: an audit looks at all workflows of its task queue."""
    return own_stack


async def audit(stack: Stack, *options: str, **environment: str) -> tuple[int, dict[str, Any]]:
    """Run `holdfast audit --json`, and return its exit code and its answer."""
    ran = await holdfast(stack, "audit", "--json", *options, **environment)
    return ran.code, json.loads(ran.out)


def kinds(answer: dict[str, Any]) -> list[str]:
    return sorted(finding["kind"] for finding in answer["findings"])


async def test_consistent_stock_is_exit_code_0(stack: Stack) -> None:
    await stack.made(("TEE", 3))

    assert await audit(stack) == (0, {"items": 1, "activeHolds": 1, "archivedHolds": 0, "findings": []})


async def test_every_finding_is_a_line_for_people(stack: Stack) -> None:
    await by_hand(stack, 'UPDATE "InventoryItem" SET held = 1')

    ran = await holdfast(stack, "audit")

    assert (ran.code, ran.err) == (1, "")
    _, answer = await audit(stack)
    *lines, _summary = ran.out.splitlines()
    assert [line.split()[0] for line in lines] == [finding["kind"] for finding in answer["findings"]]
    assert all(finding["sentence"] in ran.out for finding in answer["findings"])


async def test_a_repair_corrects_a_release_by_hand(stack: Stack) -> None:
    await stack.put(20, sku="MUG")
    holds = [await stack.made(("TEE", 2), ("MUG", 3)) for _ in range(3)]
    await stack.post((await stack.made(("MUG", 1)))["holdId"], "commit")
    await listed(stack, *(hold["holdId"] for hold in holds))
    await by_hand(stack, RELEASE_BY_HAND)

    code, found = await audit(stack, "--shop", SHOP)

    assert (code, kinds(found)) == (1, ["held", "held", "stray_run", "stray_run", "stray_run"])
    assert all(finding["repairable"] and not finding["mended"] for finding in found["findings"])
    (tee,) = (finding for finding in found["findings"] if finding["subject"] == "TEE")
    assert (tee["details"]["held"], tee["details"]["active"]) == (6, 0)
    assert [f["details"] for f in found["findings"] if f["kind"] == "stray_run"] == [{"status": "released"}] * 3

    code, repaired = await audit(stack, "--repair")

    assert (code, kinds(repaired)) == (0, kinds(found))
    assert all(finding["mended"] for finding in repaired["findings"])
    assert [await stack.run_of(hold["holdId"]).result() for hold in holds] == [Ended("released")] * 3
    assert (await stack.stock_of("TEE"), await stack.stock_of("MUG")) == ((10, 0), (19, 0))
    await assert_stock_adds_up(stack.engine)
    assert (await holdfast(stack, "audit")).code == 0


async def test_the_json_output_has_every_field_of_a_finding(stack: Stack) -> None:
    await by_hand(stack, 'UPDATE "InventoryItem" SET quantity = 4')

    code, answer = await audit(stack, "--shop", SHOP)

    assert (code, answer["items"], answer["activeHolds"]) == (1, 1, 0)
    (finding,) = answer["findings"]
    assert finding.pop("sentence")
    assert finding == {
        "kind": "balance",
        "shop_id": SHOP,
        "subject": "TEE",
        "mended": False,
        "repairable": True,
        "problem": None,
        "details": {"quantity": 4, "held": 0, "active": 0, "last_movement_on_hand": 10},
    }


async def test_an_item_without_a_movement_is_not_repaired(stack: Stack) -> None:
    await stack.made(("TEE", 3))
    await by_hand(stack, 'DELETE FROM "InventoryMovement"')

    code, answer = await audit(stack, "--repair")

    assert (code, kinds(answer)) == (1, ["balance"])
    assert (answer["findings"][0]["repairable"], answer["findings"][0]["mended"]) == (False, False)
    assert await stack.stock_of() == (7, 3)


async def test_an_audit_of_one_shop_ignores_other_shops(stack: Stack) -> None:
    await by_hand(stack, 'UPDATE "InventoryItem" SET held = 1')

    assert (await holdfast(stack, "audit", "--shop", "another")).code == 0
    assert (await holdfast(stack, "audit", "--shop", 'a" OR "b')).code == 2


async def test_the_stock_is_audited_without_temporal(stack: Stack) -> None:
    await by_hand(stack, 'UPDATE "InventoryItem" SET held = 1, quantity = 9')

    code, answer = await audit(stack, "--repair", TEMPORAL_ADDRESS="127.0.0.1:1")

    assert (code, answer["activeHolds"]) == (1, None)
    assert [(f["kind"], f["subject"], f["mended"]) for f in answer["findings"]] == [
        ("held", "TEE", True),
        ("unknown", "workflows", False),
    ]
    assert await stack.stock_of() == (10, 0)


async def test_the_audit_says_why_temporal_refuses(stack: Stack) -> None:
    code, answer = await audit(stack, TEMPORAL_NAMESPACE="elsewhere")

    assert (code, kinds(answer)) == (1, ["unknown"])
    assert "elsewhere" in answer["findings"][0]["problem"]


async def test_a_running_up_is_audited_whatever_other_servers_the_environment_names(
    stack: Stack, tmp_path: Path
) -> None:
    await stack.made(("TEE", 3))
    running = {
        "databaseUrl": stack.settings.database_url.get_secret_value(),
        "temporalAddress": stack.temporal.service_client.config.target_host,
        "temporalUiUrl": "http://ui.example",
        "apiUrl": stack.url,
        "authorityToken": AUTHORITY_TOKEN,
        "adminToken": ADMIN_TOKEN,
        "stripeWebhookSecret": None,
        "simulatorUrl": None,
    }
    (tmp_path / "stack.json").write_text(json.dumps(running))
    elsewhere = {"TEMPORAL_ADDRESS": "127.0.0.1:1", "TEMPORAL_NAMESPACE": "elsewhere", "TEMPORAL_API_KEY": "key"}

    code, answer = await audit(stack, DATABASE_URL="", HOLDFAST_HOME=str(tmp_path), **elsewhere)

    assert (code, answer["activeHolds"], answer["findings"]) == (0, 1, [])


async def test_without_a_database_the_error_is_one_line(stack: Stack) -> None:
    away = await holdfast(stack, "audit", DATABASE_URL="postgresql://postgres@127.0.0.1:1/none")
    unset = await holdfast(stack, "audit", DATABASE_URL="", HOLDFAST_HOME="/nonexistent")

    assert (away.code, unset.code) == (2, 2)
    assert (away.err.count("\n"), unset.err.count("\n")) == (1, 1)


@pytest.mark.parametrize("to", [HoldStatus.COMMITTED, HoldStatus.RELEASED])
async def test_a_repair_that_waited_for_an_ending_hold_counts_it_as_ended(stack: Stack, to: HoldStatus) -> None:
    hold = await stack.made(("TEE", 3))
    await by_hand(stack, 'UPDATE "InventoryItem" SET held = 5, quantity = 5')
    async with stack.engine.connect() as connection:
        await connection.execution_options(isolation_level="READ COMMITTED")
        await connection.exec_driver_sql('SELECT FROM "InventoryItem" FOR UPDATE')
        ending = asyncio.create_task(end(stack.engine, hold["holdId"], to))
        await until_waiting(stack.engine, 1)
        repairing = asyncio.create_task(repair(stack.engine, ItemKey(SHOP, "TEE", "")))
        await until_waiting(stack.engine, 2)
        await connection.rollback()
    await asyncio.gather(ending, repairing)

    await assert_stock_adds_up(stack.engine)
    assert await repair(stack.engine, ItemKey(SHOP, "TEE", "")) is None


async def test_repairs_under_load_leave_consistent_stock(stack: Stack) -> None:
    await stack.put(100)
    done = asyncio.Event()

    async def shop(verb: str) -> None:
        while not done.is_set():
            await stack.post((await stack.made(("TEE", 1)))["holdId"], verb)

    shoppers = [asyncio.create_task(shop("release")) for _ in range(4)]
    for _ in range(10):
        await by_hand(stack, 'UPDATE "InventoryItem" SET held = held + 1')
        await repair(stack.engine, ItemKey(SHOP, "TEE", ""))
    done.set()
    await asyncio.gather(*shoppers)

    await assert_stock_adds_up(stack.engine)


async def test_a_repair_does_not_change_movements(stack: Stack) -> None:
    read = 'SELECT * FROM "InventoryMovement" ORDER BY id'
    before = await fetch(stack.engine, read, {})
    await by_hand(stack, 'UPDATE "InventoryItem" SET quantity = 4, held = 2')

    assert (await holdfast(stack, "audit", "--repair")).code == 0
    assert await fetch(stack.engine, read, {}) == before
    assert await stack.stock_of() == (10, 0)
