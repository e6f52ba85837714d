"""`holdfast holds`: tables for people, JSON for scripts, and a bulk release that may be interrupted."""

import asyncio
import json
import signal
import sys

import pytest
from temporalio.client import Client

from cli.bulk import release_all
from core.database import fetch
from dev.harness.invariants import assert_stock_adds_up
from holds.service import HoldService
from holds.workflow_client import WorkflowClient
from inventory.audit import active_holds
from tests.commands import command_environment, holdfast
from tests.stack import SHOP, Stack, running_stack
from workflows.messages import Cancel, Ended


async def test_a_shops_holds_are_listed_newest_first(stack: Stack) -> None:
    first, second = await stack.made(("TEE", 2), reference=r"order-\[/red]1"), await stack.made()
    await stack.post(second["holdId"], "release", {"reason": "changed their mind"})

    listed = await holdfast(stack, "holds", "list", "--shop", SHOP)
    active = await holdfast(stack, "holds", "list", "--shop", SHOP, "--status", "active", "--json")

    lines = listed.out.splitlines()
    assert (second["holdId"] in lines[1], first["holdId"] in lines[2]) == (True, True)
    assert "changed their mind" in lines[1]
    assert r"order-\[/red]1" in lines[2]
    assert lines[-2].startswith(
        "released   in the Temporal UI: http://localhost:8233/namespaces/default/workflows?query="
    )
    assert [hold["holdId"] for hold in json.loads(active.out)["holds"]] == [first["holdId"]]


async def test_a_hold_is_shown_with_its_workflow_and_the_link_to_it(stack: Stack) -> None:
    hold = await stack.made(("TEE", 2), reference=r"order-\[/red]1")

    shown = await holdfast(
        stack, "holds", "show", hold["holdId"], "--shop", SHOP, TEMPORAL_UI_URL="https://ui.example/"
    )
    told = json.loads((await holdfast(stack, "holds", "show", hold["holdId"], "--shop", SHOP, "--json")).out)

    link = f"https://ui.example/namespaces/default/workflows/hold:{SHOP}:{hold['holdId']}"
    assert link in shown.out
    assert "2 x TEE" in shown.out
    assert r"order-\[/red]1" in shown.out
    assert "running" in shown.out
    assert {name: told[name] for name in hold} == hold
    assert told["workflow"]["status"] == "running"


async def test_holds_are_found_by_filters(stack: Stack) -> None:
    hold = await stack.made(("TEE", 2), reference="order-1")
    await stack.post(hold["holdId"], "commit", {"items": [{"sku": "TEE", "quantity": 1}]})
    await stack.made()

    filters = ("--reference", "order-1", "--sku", "TEE", "--variant", "", "--created-from", "2026-01-01")
    statuses = ("--status", "committed", "--status", "expired")
    found = await holdfast(stack, "holds", "list", "--shop", SHOP, *filters, *statuses, "--json")
    shown = await holdfast(stack, "holds", "show", hold["holdId"], "--shop", SHOP)
    archived = await holdfast(stack, "holds", "list", "--shop", SHOP, "--archived", "--json")
    variant = await holdfast(stack, "holds", "list", "--shop", SHOP, "--variant", "size:M")

    assert [each["holdId"] for each in json.loads(found.out)["holds"]] == [hold["holdId"]]
    assert "2 x TEE (1 sold, 1 given back)" in shown.out
    assert json.loads(archived.out)["holds"] == []
    assert (variant.code, variant.err) == (2, "holdfast holds list: --variant needs --sku\n")


async def test_a_part_of_a_hold_is_sold_from_the_terminal(stack: Stack) -> None:
    hold = (await stack.made(("TEE", 3)))["holdId"]
    command = ("holds", "commit", hold, "--shop", SHOP)

    wrong = await holdfast(stack, *command, "--item", "TEE")
    more = await holdfast(stack, *command, "--item", "TEE=4")
    sold = await holdfast(stack, *command, "--item", "TEE=1", "--item", "TEE=1")

    assert (wrong.code, "--item 'TEE' must be SKU=UNITS" in wrong.err) == (2, True)
    assert (more.code, more.out) == (1, "")
    assert (sold.code, sold.out) == (0, f"{SHOP} {hold}: committed.\nSold 2 x TEE; the rest was given back.\n")


async def test_an_orders_story_is_told_on_the_terminal(stack: Stack) -> None:
    hold = await stack.made(("TEE", 2), reference="order-1")
    await stack.post(hold["holdId"], "release", {"reason": "changed their mind"})

    told = await holdfast(stack, "orders", "show", "order-1", "--shop", SHOP)
    as_json = await holdfast(stack, "orders", "show", "order-1", "--shop", SHOP, "--json")
    resent = await holdfast(stack, "orders", "resend", "order-1", "--shop", SHOP)
    unknown = await holdfast(stack, "orders", "show", "order-2", "--shop", SHOP)

    assert f"hold {hold['holdId']}: released" in told.out
    assert "the hold was released by admin, changed their mind" in told.out
    assert json.loads(as_json.out)["holds"][0]["hold"]["holdId"] == hold["holdId"]
    assert resent.out == "0 events of order-1 are delivered again.\n"
    assert (unknown.code, unknown.err.count("\n")) == (1, 1)


async def test_a_hold_that_is_not_there_is_exit_code_1_on_one_line(stack: Stack) -> None:
    for command in (("show",), ("release",), ("extend", "--ttl", "60")):
        ran = await holdfast(stack, "holds", command[0], "nobodys", "--shop", SHOP, *command[1:])
        assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1), ran


async def test_a_hold_is_amended_once_for_its_key(stack: Stack) -> None:
    hold = await stack.made(("TEE", 2))
    amend = ("holds", "amend", hold["holdId"], "--shop", SHOP, "--item", "TEE=1", "--item", "TEE=3", "--key", "k-1")
    ran = [await holdfast(stack, *amend, "--reference", "order-1") for _ in range(2)]
    assert [each.code for each in ran] == [0, 0], ran
    assert "4 x TEE" in ran[0].out
    told = json.loads((await holdfast(stack, *amend, "--reference", "order-1", "--json")).out)
    assert (told["revision"], told["reference"], await stack.stock_of()) == (1, "order-1", (6, 4))
    short = await holdfast(stack, "holds", "amend", hold["holdId"], "--shop", SHOP, "--item", "TEE=11")
    assert (short.code, "Not enough stock of TEE." in short.err) == (1, True)
    for wrong in (("--item", "TEE"), ("--item", "TEE=0"), ("--item", "=1"), ("--buyer", " b"), ()):
        assert (await holdfast(stack, "holds", "amend", hold["holdId"], "--shop", SHOP, *wrong)).code == 2, wrong


async def test_one_hold_is_extended_and_then_released(stack: Stack) -> None:
    hold = await stack.made(ttlSeconds=600)

    extended = await holdfast(stack, "holds", "extend", hold["holdId"], "--shop", SHOP, "--ttl", "60", "--json")
    released = await holdfast(stack, "holds", "release", hold["holdId"], "--shop", SHOP, "--reason", "fraud")

    assert json.loads(extended.out)["expiresAt"] > hold["expiresAt"]
    assert released.out == f"{SHOP} {hold['holdId']}: released.\n"
    assert (await stack.read(hold["holdId"]))["reason"] == "fraud"


async def test_a_bulk_release_gives_back_what_every_hold_of_the_shop_has(stack: Stack) -> None:
    holds = [await stack.made() for _ in range(6)]
    await stack.run_of(holds[0]["holdId"]).terminate()  # its workflow was lost: it gets one

    refused = await holdfast(stack, "holds", "release", "--all", "--shop", SHOP)
    assert refused.code == 2
    assert await stack.stock_of() == (4, 6)
    other = await holdfast(stack, "holds", "release", "--all", "--shop", "another", "--yes")
    assert other.code == 1  # there is no such shop

    # The command starts runs on the product's own queue; this stack has another.
    await stack.post(holds[0]["holdId"], "release")
    ran = await holdfast(stack, "holds", "release", "--all", "--shop", SHOP, "--yes")

    assert (ran.code, ran.out) == (0, "5 of 5 holds told to release; so far 5 released.\n")
    assert [await stack.run_of(hold["holdId"]).result() for hold in holds] == [Ended("released")] * 6
    assert await stack.stock_of() == (10, 0)
    await assert_stock_adds_up(stack.engine)


async def test_a_bulk_release_counts_only_the_holds_that_it_told(stack: Stack) -> None:
    made = [await stack.made() for _ in range(4)]
    holds = [hold async for page in active_holds(stack.engine) for hold in page]
    for hold in made[:2]:  # ended between the listing and the message
        await stack.post(hold["holdId"], "release")
    await fetch(stack.engine, 'DELETE FROM "InventoryHold" WHERE id = %(hold)s', {"hold": made[0]["holdId"]})
    service = HoldService(stack.engine, WorkflowClient(stack.temporal, stack.task_queue), stack.settings)

    tally = await release_all(service, stack.engine, holds, Cancel("bob", "closing"), quiet=True)

    assert (tally.told, tally.skipped, tally.ended, tally.failed) == (2, 2, {"released": 2}, {})
    assert "ending" not in tally.sentence()


async def test_a_bulk_extension_that_is_run_again_extends_no_hold_twice(stack: Stack) -> None:
    holds = [await stack.made(ttlSeconds=600) for _ in range(2)]
    command = ("holds", "extend", "--all", "--shop", SHOP, "--ttl", "60", "--key", "outage", "--yes")

    assert (await holdfast(stack, *command)).out == "2 of 2 holds extended.\n"
    once = [(await stack.read(hold["holdId"]))["expiresAt"] for hold in holds]
    assert (await holdfast(stack, *command)).code == 0

    assert [(await stack.read(hold["holdId"]))["expiresAt"] for hold in holds] == once
    assert all(deadline > hold["expiresAt"] for deadline, hold in zip(once, holds, strict=True))
    assert (await holdfast(stack, *command[:6], "60", "--yes")).code == 2  # without a key it could not be resumed


async def test_a_bulk_release_that_is_interrupted_is_taken_up_again(database: str, temporal: Client) -> None:
    async with running_stack(database, temporal, with_worker=False) as stack:
        async with stack.worker():
            await stack.put(10)
            for _ in range(6):
                await stack.made()
        # Nobody works: the holds are told, and do not end.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli.main", "holds", "release", "--all", "--shop", SHOP, "--yes"),
            env=command_environment(stack),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        holds = (await stack.http.get("/api/inventory/holds", params={"shopId": SHOP})).json()["holds"]
        for hold in holds:
            async for event in stack.run_of(hold["holdId"]).fetch_history_events(wait_new_event=True):
                if event.HasField("workflow_execution_signaled_event_attributes"):
                    break
        process.send_signal(signal.SIGINT)
        out, _ = await process.communicate()

        assert process.returncode == 130
        assert out.decode() == (
            "6 of 6 holds told to release; 6 still ending, by themselves; run it again for the rest.\n"
        )
        async with stack.worker():
            ran = await holdfast(stack, "holds", "release", "--all", "--shop", SHOP, "--yes")
            assert ran.code == 0
            for hold in holds:
                assert await stack.run_of(hold["holdId"]).result() == Ended("released")
            assert await stack.stock_of() == (10, 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ("release",),
        ("release", "h", "--all", "--shop", SHOP),
        ("release", "h"),
        ("release", "h", "--shop", "a b"),
        ("list", "--shop", ""),
    ],
)
async def test_what_is_not_clear_is_refused_before_anything_is_done(stack: Stack, arguments: tuple[str, ...]) -> None:
    ran = await holdfast(stack, "holds", *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
