"""Repeats: a hold that was made is remembered, a refusal is not."""

import asyncio

from dev.harness.invariants import assert_stock_adds_up
from tests.api.asking import expired, fresh, refused
from tests.stack import Stack


async def test_a_repeat_answers_the_hold_that_was_made(stack: Stack) -> None:
    key = fresh()
    await stack.put(5)
    first = await stack.create(("TEE", 2), key=key)
    again = await stack.create(("TEE", 2), key=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert await stack.stock_of() == (3, 2)


async def test_a_repeat_by_the_buyer_of_the_last_unit_is_no_shortage(stack: Stack) -> None:
    key = fresh()
    await stack.put(1)
    first = await stack.create(key=key)
    again = await stack.create(key=key)
    assert again.status_code == 200
    assert again.json()["holdId"] == first.json()["holdId"]


async def test_a_repeat_with_the_same_hold_id_needs_no_key(stack: Stack) -> None:
    cart = fresh("cart")
    await stack.put(5)
    assert (await stack.create(holdId=cart)).status_code == 201
    assert (await stack.create(holdId=cart)).status_code == 200
    assert await stack.stock_of() == (4, 1)


async def test_a_given_hold_id_wins_over_the_key(stack: Stack) -> None:
    key, cart, other = fresh(), fresh("cart"), fresh("cart")
    await stack.put(5)
    assert (await stack.create(holdId=cart, key=key)).json()["holdId"] == cart
    assert (await stack.create(holdId=other, key=key)).json()["holdId"] == other
    assert (await stack.create(holdId=cart, key=fresh())).status_code == 200


async def test_the_same_key_with_another_body_is_a_conflict(stack: Stack) -> None:
    key = fresh()
    await stack.put(5)
    hold = (await stack.create(("TEE", 1), key=key)).json()
    for change in (
        await stack.create(("TEE", 2), key=key),
        await stack.create(key=key, ttlSeconds=60),
        await stack.create(key=key, reference="order-1"),
    ):
        assert refused(change, 409, "idempotency_conflict")["holdId"] == hold["holdId"]
    assert await stack.stock_of() == (4, 1)


async def test_lines_in_another_order_are_the_same_request(stack: Stack) -> None:
    key = fresh()
    await stack.put(5)
    await stack.put(5, "MUG")
    await stack.create(("TEE", 2), ("MUG", 1), key=key)
    assert (await stack.create(("MUG", 1), ("TEE", 1), ("TEE", 1), key=key)).status_code == 200


async def test_a_hold_is_remembered_after_it_ended(stack: Stack) -> None:
    await stack.put(5)
    key = fresh()
    for verb, status in (("commit", "committed"), ("release", "released")):
        hold = (await stack.create(key=f"{key}-{verb}")).json()
        await stack.post(hold["holdId"], verb)
        again = await stack.create(key=f"{key}-{verb}")
        assert again.status_code == 200
        assert (again.json()["holdId"], again.json()["status"]) == (hold["holdId"], status)
        refused(await stack.create(("TEE", 2), key=f"{key}-{verb}"), 409, "idempotency_conflict")
    assert await stack.stock_of() == (4, 0)


async def test_an_expired_hold_is_not_made_again_by_its_repeat(stack: Stack) -> None:
    gone = fresh("gone")
    await stack.put(5)
    await expired(stack, gone)
    again = await stack.create(holdId=gone)
    assert (again.status_code, again.json()["status"]) == (200, "expired")
    assert await stack.stock_of() == (5, 0)


async def test_a_shortage_is_not_remembered(stack: Stack) -> None:
    key = fresh()
    await stack.put(0)
    refused(await stack.create(key=key), 409, "insufficient_stock")
    await stack.put(1)
    assert (await stack.create(key=key)).status_code == 201


async def test_a_shortage_that_a_workflow_found_is_not_remembered(stack: Stack) -> None:
    await stack.put(1)
    keys = [fresh() for _ in range(4)]
    answers = dict(zip(keys, await asyncio.gather(*(stack.create(key=key) for key in keys)), strict=True))
    loser = next(key for key, answer in answers.items() if answer.status_code == 409)
    await stack.put(2)
    assert (await stack.create(key=loser)).status_code == 201


async def test_the_same_key_in_another_shop_is_another_hold(stack: Stack) -> None:
    key = fresh()
    await stack.put(1)
    body = {"shopId": "shop-2", "items": [{"sku": "TEE", "onHand": 1}]}
    await stack.http.put("/api/inventory/items", json=body)
    here = await stack.create(key=key)
    there = await stack.create(key=key, shopId="shop-2")
    assert (here.status_code, there.status_code) == (201, 201)
    assert here.json()["holdId"] != there.json()["holdId"]


async def test_of_twenty_same_creates_at_once_exactly_one_made_the_hold(stack: Stack) -> None:
    key = fresh()
    await stack.put(9)
    answers = await asyncio.gather(*(stack.create(("TEE", 3), key=key) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json()["holdId"] for answer in answers}) == 1
    assert await stack.stock_of() == (6, 3)
    assert stack.counted("inventory_hold_created") == 1
    await assert_stock_adds_up(stack.engine)


async def test_two_bodies_with_one_key_at_once_make_one_hold_and_one_conflict(stack: Stack) -> None:
    key = fresh()
    await stack.put(9)
    answers = await asyncio.gather(stack.create(("TEE", 1), key=key), stack.create(("TEE", 2), key=key))
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    loser = next(answer for answer in answers if answer.status_code == 409)
    refused(loser, 409, "idempotency_conflict")
    await assert_stock_adds_up(stack.engine)
