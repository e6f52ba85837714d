"""A commit of some of a hold's units: they are sold, the others are given back, and the first commit decides."""

import asyncio

import pytest
from temporalio.service import RPCError

from dev.harness.invariants import assert_stock_adds_up
from domain.holds import Line
from tests.api.asking import fields_of, refused
from tests.stack import SHOP, Stack
from workflows.messages import Commit

_FIGURES = ("sku", "quantity", "sold", "givenBack", "restocked")


async def half_sold(stack: Stack) -> dict[str, object]:
    """Make a hold of three TEE and one MUG, and sell two TEE of it."""
    await stack.put(5)
    await stack.put(5, "MUG")
    hold = await stack.made(("TEE", 3), ("MUG", 1))
    answer = await stack.post(hold["holdId"], "commit", {"items": [{"sku": "TEE", "quantity": 2}], "reason": "picked"})
    assert answer.status_code == 200, answer.text
    sold: dict[str, object] = answer.json()
    return sold


async def test_it_sells_the_units_that_are_named_and_gives_the_others_back(stack: Stack) -> None:
    hold = await half_sold(stack)
    assert (hold["status"], hold["reason"]) == ("committed", "picked")
    assert await stack.stock_of("TEE") == (3, 0)
    assert await stack.stock_of("MUG") == (5, 0)
    back = {"items": [{"sku": "TEE", "quantity": 1}], "reason": "unworn"}
    assert (await stack.post(str(hold["holdId"]), "restock", back)).status_code == 200
    items = (await stack.read(str(hold["holdId"])))["items"]
    assert [[item[name] for name in _FIGURES] for item in items] == [["MUG", 1, 0, 1, 0], ["TEE", 3, 2, 1, 1]]
    too_many = await stack.post(str(hold["holdId"]), "restock", {**back, "items": [{"sku": "TEE", "quantity": 2}]})
    assert refused(too_many, 409, "restock_above_committed")["items"][0]["committed"] == 2
    await assert_stock_adds_up(stack.engine)


async def test_the_timeline_tells_what_was_sold_and_what_was_given_back(stack: Stack) -> None:
    await half_sold(stack)
    timeline = await stack.http.get("/api/inventory/timeline", params={"shopId": SHOP, "sku": "TEE"})
    commit, hold, _ = timeline.json()["entries"]
    assert (commit["kind"], commit["delta"]) == ("commit", -2)
    assert (hold["kind"], hold["quantity"], hold["sold"], hold["givenBack"]) == ("hold", 3, 2, 1)


@pytest.mark.parametrize("first", [None, {"items": [{"sku": "TEE", "quantity": 1}]}])
async def test_the_first_commit_decides_and_another_is_told_so(stack: Stack, first: dict[str, object] | None) -> None:
    await stack.put(5)
    hold = await stack.made(("TEE", 3))
    sold = await stack.post(hold["holdId"], "commit", first)
    again = await stack.post(hold["holdId"], "commit", first)
    assert (again.status_code, again.json()) == (200, sold.json())
    for other in (None, {"items": [{"sku": "TEE", "quantity": 1}]}, {"items": [{"sku": "TEE", "quantity": 2}]}):
        if other != first:
            told = await stack.post(hold["holdId"], "commit", other)
            assert refused(told, 409, "hold_not_active")["status"] == "committed"
    assert await stack.read(hold["holdId"]) == sold.json()


async def test_of_commits_at_once_one_decides_and_each_caller_hears_the_truth(stack: Stack) -> None:
    await stack.put(50)
    hold = await stack.made(("TEE", 9))
    wanted = [*range(1, 9), None, None]
    answers = await asyncio.gather(
        *(
            stack.post(hold["holdId"], "commit", None if n is None else {"items": [{"sku": "TEE", "quantity": n}]})
            for n in wanted
        )
    )
    sold = (await stack.read(hold["holdId"]))["items"][0]["sold"]
    for n, answer in zip(wanted, answers, strict=True):
        assert answer.status_code == (200 if sold == (n or 9) else 409), (n, sold, answer.text)
    assert await stack.stock_of() == (50 - sold, 0)
    await assert_stock_adds_up(stack.engine)


async def test_the_same_part_is_sold_once_whatever_the_name_of_the_update_that_asks_for_it(stack: Stack) -> None:
    await stack.put(5)
    hold = await stack.made(("TEE", 3))
    part = Commit("shop", items=(Line("TEE", "", 2),))
    run = stack.run_of(hold["holdId"])
    ends, answer = await asyncio.gather(
        asyncio.gather(
            *(run.execute_update(name, part) for name in ("commit", "commit_as_told")), return_exceptions=True
        ),
        stack.post(hold["holdId"], "commit", {"items": [{"sku": "TEE", "quantity": 2}]}),
    )
    for end in ends:  # Temporal aborts an update that comes when the run has just ended
        assert isinstance(end, RPCError) or (isinstance(end, dict) and end["status"] == "committed")
    assert (answer.status_code, answer.json()["items"][0]["sold"]) == (200, 2)
    assert await stack.stock_of() == (3, 0)
    await assert_stock_adds_up(stack.engine)


@pytest.mark.parametrize(
    "items",
    [
        [{"sku": "TEE", "quantity": 4}],
        [{"sku": "TEE", "quantity": 2}, {"sku": "TEE", "quantity": 2}],
        [{"sku": "CAP", "quantity": 1}],
        [{"sku": "TEE", "variantKey": "size:M", "quantity": 1}],
        [],
    ],
)
async def test_units_that_the_hold_does_not_have_cannot_be_sold(stack: Stack, items: list[dict[str, object]]) -> None:
    await stack.put(5)
    hold = await stack.made(("TEE", 3))
    assert fields_of(await stack.post(hold["holdId"], "commit", {"items": items})) == ["items"]
    assert (await stack.read(hold["holdId"]))["status"] == "active"
