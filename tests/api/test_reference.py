"""A shopper's second attempt: at most one active hold for a cart, and `replace`."""

import asyncio
import os
from collections import Counter
from functools import partial

import pytest
from temporalio.client import Client

from dev.harness.invariants import assert_stock_adds_up
from holds.workflow_client import Target, WorkflowClient
from tests.api.asking import HOLDS, fresh, insist, refused
from tests.stack import SHOP, Stack, running_stack
from workflows.messages import Ended, MadeWay


async def test_a_second_hold_for_the_same_cart_is_refused_with_the_first_one_s_id(stack: Stack) -> None:
    await stack.put(5)
    hold = await stack.made(reference="cart")
    body = refused(await stack.create(reference="cart"), 409, "hold_exists")
    assert body["holdId"] == hold["holdId"]
    assert await stack.stock_of() == (4, 1)


async def test_two_attempts_for_one_cart_at_once_make_one_hold(stack: Stack) -> None:
    await stack.put(5)
    answers = await asyncio.gather(*(stack.create(reference="cart") for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    made = next(answer for answer in answers if answer.status_code == 201).json()["holdId"]
    for answer in answers:
        if answer.status_code == 409:
            assert refused(answer, 409, "hold_exists")["holdId"] == made
    await assert_stock_adds_up(stack.engine)


async def test_once_the_first_hold_has_ended_the_cart_is_free(stack: Stack) -> None:
    await stack.put(5)
    for verb in ("commit", "release"):
        hold = await stack.made(reference="cart")
        await stack.post(hold["holdId"], verb)
    assert (await stack.create(reference="cart")).status_code == 201


async def test_replace_ends_the_old_hold_and_makes_the_new_one(stack: Stack) -> None:
    await stack.put(5)
    old = await stack.made(("TEE", 2), reference="cart")
    new = await stack.made(("TEE", 4), reference="cart", replace=True)
    ended = await stack.read(old["holdId"])
    assert (ended["status"], ended["reason"]) == ("released", "replaced")
    assert new["holdId"] != old["holdId"]
    assert await stack.run_of(old["holdId"]).result() == Ended("released")
    assert await stack.stock_of() == (1, 4)
    await assert_stock_adds_up(stack.engine)


async def test_a_shopper_who_holds_the_last_unit_can_replace_it(stack: Stack) -> None:
    await stack.put(1)
    await stack.made(reference="cart")
    new = await stack.made(reference="cart", replace=True)
    assert new["status"] == "active"
    assert await stack.stock_of() == (0, 1)


TRIES = int(os.environ.get("REPLACE_TRIES", "4"))
"""How often the last unit is replaced, over HTTP; more often by tests/postgres/test_exchange.py."""
CALLERS = int(os.environ.get("REPLACE_CALLERS", "12"))
"""How many replace one cart at once: the work grows with the square of their number."""


async def test_a_shopper_who_replaces_the_last_unit_keeps_it_while_others_ask_for_it(stack: Stack) -> None:
    await stack.put(1)
    mine = await stack.made(reference="cart")
    done = False

    async def ask_for_it() -> int:
        got = 0
        while not done:
            got += (await stack.create()).status_code == 201
        return got

    others = [asyncio.create_task(ask_for_it()) for _ in range(8)]
    for _ in range(TRIES):
        mine = await stack.made(reference="cart", replace=True)
        assert await stack.stock_of() == (0, 1)
    done = True
    assert await asyncio.gather(*others) == [0] * 8
    assert (await stack.read(mine["holdId"]))["status"] == "active"
    await assert_stock_adds_up(stack.engine)


async def test_a_new_cart_that_cannot_be_met_leaves_the_old_hold_alone(stack: Stack) -> None:
    await stack.put(5)
    old = await stack.made(("TEE", 2), reference="cart")
    body = refused(await stack.create(("TEE", 6), reference="cart", replace=True), 409, "insufficient_stock")
    assert body["items"][0]["requested"] == 6
    assert (await stack.read(old["holdId"]))["status"] == "active"
    assert await stack.stock_of() == (3, 2)


async def test_replace_of_a_hold_that_was_sold_meanwhile_says_so(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    await stack.put(5)
    old = await stack.made(reference="cart")
    make_way = WorkflowClient.make_way

    async def sold_first(calls: WorkflowClient, to: Target, actor: str | None = None) -> MadeWay:
        assert (await stack.post(old["holdId"], "commit")).status_code == 200
        return await make_way(calls, to, actor)

    monkeypatch.setattr(WorkflowClient, "make_way", sold_first)
    body = refused(await stack.create(reference="cart", replace=True), 409, "hold_not_active")
    assert (body["status"], body["holdId"]) == ("committed", old["holdId"])
    assert await stack.stock_of() == (4, 0)


async def test_requests_to_replace_at_once_all_make_their_hold_and_the_last_one_stays(stack: Stack) -> None:
    await stack.put(1)
    await stack.made(reference="cart")
    answers = await asyncio.gather(*(stack.create(reference="cart", replace=True) for _ in range(4)))
    assert [answer.status_code for answer in answers] == [201] * 4
    holds = [await stack.read(answer.json()["holdId"]) for answer in answers]
    assert (
        sorted((hold["status"], hold["reason"]) for hold in holds if hold["status"] != "active")
        == [("released", "replaced")] * 3
    )
    assert await stack.stock_of() == (0, 1)
    await assert_stock_adds_up(stack.engine)


async def test_many_requests_to_replace_at_once_each_make_their_hold_and_one_stays_active(
    database: str, temporal: Client
) -> None:
    async with running_stack(
        database, temporal, INVENTORY_REQUEST_TIMEOUT_MS="30000", INVENTORY_LOCK_TIMEOUT_MS="4000"
    ) as stack:
        await stack.put(3)
        await stack.made(reference="cart")
        callers = [partial(stack.create, reference="cart", replace=True, key=fresh("caller")) for _ in range(CALLERS)]
        # A slow machine may need longer than a request has; then a caller repeats it with its key.
        answers = await asyncio.gather(*(insist(caller) for caller in callers))

        # Only a hold that is paid, or whose payment is under way, may refuse them; here there is none.
        assert {answer.status_code for answer in answers} <= {200, 201}
        assert len({answer.json()["holdId"] for answer in answers}) == CALLERS
        holds = (await stack.http.get(HOLDS, params={"shopId": SHOP, "limit": 100})).json()["holds"]
        assert Counter(hold["status"] for hold in holds) == {"active": 1, "released": CALLERS}
        assert {hold["reason"] for hold in holds if hold["status"] == "released"} == {"replaced"}
        assert await stack.stock_of() == (2, 1)
        await assert_stock_adds_up(stack.engine)


async def test_replace_repeated_with_its_key_answers_the_new_hold(stack: Stack) -> None:
    key = fresh()
    await stack.put(5)
    await stack.made(reference="cart")
    first = await stack.create(reference="cart", replace=True, key=key)
    again = await stack.create(reference="cart", replace=True, key=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert await stack.stock_of() == (4, 1)


async def test_replace_without_an_old_hold_just_holds(stack: Stack) -> None:
    await stack.put(5)
    assert (await stack.create(reference="cart", replace=True)).status_code == 201


async def test_the_same_reference_in_another_shop_is_another_cart(stack: Stack) -> None:
    await stack.put(5)
    await stack.made(reference="cart")
    items = {"shopId": "shop-2", "items": [{"sku": "TEE", "onHand": 1}]}
    await stack.http.put("/api/inventory/items", json=items)
    assert (await stack.create(shopId="shop-2", reference="cart")).status_code == 201
