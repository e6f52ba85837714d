"""POST /holds: what is held, for how long, and what is refused."""

import asyncio
from datetime import datetime

import pytest
from temporalio.service import RPCError

from dev.harness.invariants import assert_stock_adds_up
from tests.api.asking import HOLDS, fields_of, fresh, refused
from tests.stack import SHOP, Stack

NONE_ENDED = {"sold": 0, "givenBack": 0, "restocked": 0}
"""What an item of an active hold says of its units' end."""


def seconds_of(hold: dict[str, str]) -> float:
    times = [datetime.fromisoformat(hold[name]) for name in ("createdAt", "expiresAt")]
    return (times[1] - times[0]).total_seconds()


async def test_a_hold_takes_what_can_be_sold_into_what_is_held(stack: Stack) -> None:
    await stack.put(10)
    answer = await stack.create(("TEE", 3), reference="order-1")
    hold = answer.json()
    assert answer.status_code == 201
    assert hold["status"] == "active"
    assert hold["shopId"] == SHOP
    assert hold["reference"] == "order-1"
    assert hold["items"] == [{"sku": "TEE", "variantKey": "", "quantity": 3} | NONE_ENDED]
    assert await stack.stock_of() == (7, 3)


async def test_what_is_answered_is_what_is_read_later(stack: Stack) -> None:
    await stack.put(10)
    hold = await stack.made(("TEE", 3), reference="order-1")
    assert await stack.read(hold["holdId"]) == hold


async def test_times_are_utc_with_a_z(stack: Stack) -> None:
    await stack.put(1)
    hold = await stack.made()
    committed = (await stack.post(hold["holdId"], "commit")).json()
    for time in (hold["createdAt"], hold["expiresAt"], committed["committedAt"], committed["expiresAt"]):
        assert time.endswith("Z")


async def test_a_hold_lives_twenty_minutes_unless_it_asks_for_less_or_more(stack: Stack) -> None:
    await stack.put(3)
    assert seconds_of(await stack.made()) == 1200
    assert seconds_of(await stack.made(ttlSeconds=30)) == 30
    assert seconds_of(await stack.made(ttlSeconds=3600)) == 3600


@pytest.mark.parametrize("seconds", [29, 0, -1, 3601, 10**9])
async def test_a_time_to_live_out_of_bounds_is_refused_by_name(stack: Stack, seconds: int) -> None:
    await stack.put(1)
    assert fields_of(await stack.create(ttlSeconds=seconds)) == ["ttlSeconds"]
    assert await stack.stock_of() == (1, 0)


async def test_a_given_hold_id_is_used(stack: Stack) -> None:
    hold_id = fresh("cart-7.a_b")
    await stack.put(1)
    assert (await stack.made(holdId=hold_id))["holdId"] == hold_id


async def test_all_lines_are_held_or_none(stack: Stack) -> None:
    await stack.put(5)
    await stack.put(1, "MUG")
    refused(await stack.create(("TEE", 1), ("MUG", 2)), 409, "insufficient_stock")
    assert await stack.stock_of("TEE") == (5, 0)
    assert await stack.stock_of("MUG") == (1, 0)


async def test_a_shortage_names_every_short_item_once_with_its_true_figure(stack: Stack) -> None:
    await stack.put(5)
    await stack.put(1, "MUG")
    body = refused(
        await stack.create(("TEE", 2), ("MUG", 1), ("TEE", 4), ("CAP", 1), ("MUG", 1)), 409, "insufficient_stock"
    )
    assert body["code"] == "inventory_insufficient"
    assert body["items"] == [
        {"sku": "CAP", "variantKey": "", "requested": 1, "available": 0, "reason": "unknown_item"},
        {"sku": "MUG", "variantKey": "", "requested": 2, "available": 1, "reason": "insufficient"},
        {"sku": "TEE", "variantKey": "", "requested": 6, "available": 5, "reason": "insufficient"},
    ]


async def test_an_obvious_shortage_starts_no_workflow(stack: Stack) -> None:
    hold_id = fresh("too-much")
    await stack.put(1)
    refused(await stack.create(("TEE", 2), holdId=hold_id), 409, "insufficient_stock")
    with pytest.raises(RPCError, match="not found"):
        await stack.run_of(hold_id).describe()


async def test_the_same_item_on_two_lines_is_one_demand_for_the_sum(stack: Stack) -> None:
    await stack.put(3)
    refused(await stack.create(("TEE", 2), ("TEE", 2)), 409, "insufficient_stock")
    hold = await stack.made(("TEE", 1), ("TEE", 2))
    assert hold["items"] == [{"sku": "TEE", "variantKey": "", "quantity": 3} | NONE_ENDED]
    assert await stack.stock_of() == (0, 3)


async def test_variants_are_items_of_their_own(stack: Stack) -> None:
    await stack.put(1, variant="size:M")
    lines = [{"sku": "TEE", "variantKey": "size:M", "quantity": 1}]
    answer = await stack.http.post(HOLDS, json={"shopId": SHOP, "items": lines})
    assert answer.json()["items"] == [lines[0] | NONE_ENDED]
    refused(await stack.create(("TEE", 1)), 409, "insufficient_stock")


async def test_one_shop_does_not_hold_the_stock_of_another(stack: Stack) -> None:
    await stack.put(1)
    refused(await stack.create(shopId="shop-2"), 409, "insufficient_stock")
    assert await stack.stock_of() == (1, 0)


async def test_two_buyers_cannot_both_hold_the_last_unit(stack: Stack) -> None:
    await stack.put(1)
    answers = await asyncio.gather(stack.create(), stack.create())
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    loser = next(answer for answer in answers if answer.status_code == 409)
    assert refused(loser, 409, "insufficient_stock")["items"][0]["available"] == 0
    assert await stack.stock_of() == (0, 1)


async def test_carts_that_lock_the_same_items_in_opposite_order_are_all_answered(stack: Stack) -> None:
    await stack.put(12, "A")
    await stack.put(12, "B")
    carts = [(("A", 1), ("B", 1)), (("B", 1), ("A", 1))] * 6
    answers = await asyncio.gather(*(stack.create(*cart) for cart in carts))
    assert {answer.status_code for answer in answers} == {201}
    assert await stack.stock_of("A") == await stack.stock_of("B") == (0, 12)
    await assert_stock_adds_up(stack.engine)
