"""PUT and GET /items: counts by staff, which never touch what is held."""

import asyncio
from typing import Any

import httpx

from core.database import fetch
from dev.harness.invariants import assert_stock_adds_up
from tests.api.asking import ITEMS, fields_of, refused
from tests.stack import SHOP, Stack

_LEDGER = 'SELECT kind, delta, "onHand", actor FROM "InventoryMovement" ORDER BY id'


async def put(stack: Stack, *items: dict[str, Any], actor: str | None = None) -> httpx.Response:
    headers = {"X-Actor": actor} if actor else {}
    return await stack.http.put(ITEMS, json={"shopId": SHOP, "items": list(items)}, headers=headers)


async def listed(stack: Stack, **params: str) -> list[dict[str, Any]]:
    answer = await stack.http.get(ITEMS, params={"shopId": SHOP, **params})
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_a_new_item_is_made_with_all_it_was_given(stack: Stack) -> None:
    given = {
        "sku": "TEE",
        "variantKey": "size:M",
        "onHand": 7,
        "productId": "p1",
        "lowStockThreshold": 2,
        "variantAttributes": {"size": "M"},
    }
    answer = await put(stack, given)
    item = answer.json()["items"][0]
    assert answer.status_code == 200
    assert item.pop("updatedAt").endswith("Z")
    left_out = {"name": None, "maxPerOrder": None, "maxPerBuyer": None}
    assert item == {"shopId": SHOP, "quantity": 7, "held": 0, "retired": False, **given, **left_out}


async def test_a_field_left_out_keeps_its_value_and_null_clears_it(stack: Stack) -> None:
    await put(
        stack, {"sku": "TEE", "onHand": 7, "productId": "p1", "lowStockThreshold": 2, "variantAttributes": {"a": "b"}}
    )
    kept = (await put(stack, {"sku": "TEE", "onHand": 8})).json()["items"][0]
    assert (kept["productId"], kept["lowStockThreshold"], kept["variantAttributes"]) == ("p1", 2, {"a": "b"})
    cleared = await put(
        stack, {"sku": "TEE", "onHand": 8, "productId": None, "lowStockThreshold": None, "variantAttributes": None}
    )
    item = cleared.json()["items"][0]
    assert (item["productId"], item["lowStockThreshold"], item["variantAttributes"]) == (None, None, None)


async def test_items_not_named_are_left_alone(stack: Stack) -> None:
    await stack.put(5)
    await stack.put(6, "MUG")
    assert await stack.stock_of("TEE") == (5, 0)


async def test_a_count_never_touches_what_is_held(stack: Stack) -> None:
    await stack.put(5)
    await stack.made(("TEE", 2))
    item = (await put(stack, {"sku": "TEE", "onHand": 9})).json()["items"][0]
    assert (item["onHand"], item["quantity"], item["held"]) == (9, 7, 2)
    await assert_stock_adds_up(stack.engine)


async def test_a_count_below_what_is_held_is_refused_with_every_such_item_and_nothing_is_written(stack: Stack) -> None:
    await stack.put(5)
    await stack.put(5, "MUG")
    hold = (await stack.made(("TEE", 2), ("MUG", 3)))["holdId"]
    answer = await put(stack, {"sku": "CAP", "onHand": 1}, {"sku": "TEE", "onHand": 1}, {"sku": "MUG", "onHand": 2})
    assert refused(answer, 409, "count_below_held")["items"] == [
        {"sku": "MUG", "variantKey": "", "onHand": 2, "held": 3, "holds": [hold]},
        {"sku": "TEE", "variantKey": "", "onHand": 1, "held": 2, "holds": [hold]},
    ]
    assert [item["sku"] for item in await listed(stack)] == ["MUG", "TEE"]
    assert await stack.stock_of() == (3, 2)


async def test_each_change_is_in_the_ledger_with_its_actor_and_a_repeat_is_not(stack: Stack) -> None:
    await put(stack, {"sku": "TEE", "onHand": 5}, actor="anna")
    await put(stack, {"sku": "TEE", "onHand": 5})
    await put(stack, {"sku": "TEE", "onHand": 3})
    rows = [dict(row) for row in await fetch(stack.engine, _LEDGER, {})]
    assert rows == [
        {"kind": "count", "delta": 5, "onHand": 5, "actor": "anna"},
        {"kind": "count", "delta": -2, "onHand": 3, "actor": "admin"},
    ]


async def test_an_item_named_twice_is_refused(stack: Stack) -> None:
    answer = await put(stack, {"sku": "TEE", "onHand": 5}, {"sku": "MUG", "onHand": 1}, {"sku": "TEE", "onHand": 6})
    assert fields_of(answer) == ["items[2]"]
    assert await listed(stack) == []


async def test_a_count_may_be_nothing_and_not_less(stack: Stack) -> None:
    assert (await put(stack, {"sku": "TEE", "onHand": 0})).status_code == 200
    assert fields_of(await put(stack, {"sku": "TEE", "onHand": -1})) == ["items[0].onHand"]
    assert fields_of(await put(stack, {"sku": "TEE", "onHand": 10**10})) == ["items[0].onHand"]
    assert fields_of(await put(stack, {"sku": "TEE"})) == ["items[0].onHand"]


async def test_items_come_in_order_page_by_page(stack: Stack) -> None:
    names = [("B", ""), ("A", "size:M"), ("A", ""), ("ä", ""), ("C", "x")]
    await put(stack, *({"sku": sku, "variantKey": variant, "onHand": 1} for sku, variant in names))
    found, cursor = [], None
    while True:
        params = {"shopId": SHOP, "limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await stack.http.get(ITEMS, params=params)).json()
        found += [(item["sku"], item["variantKey"]) for item in page["items"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert found == sorted(names)


async def test_items_are_found_by_sku_and_by_low_stock(stack: Stack) -> None:
    await put(
        stack,
        {"sku": "A", "onHand": 5, "lowStockThreshold": 5},
        {"sku": "B", "onHand": 6, "lowStockThreshold": 5},
        {"sku": "C", "onHand": 0},
    )
    assert [item["sku"] for item in await listed(stack, sku="B")] == ["B"]
    assert [item["sku"] for item in await listed(stack, lowStock="true")] == ["A"]
    assert len(await listed(stack, lowStock="false")) == 3


async def test_the_same_new_items_put_by_four_at_once_are_made_once(stack: Stack) -> None:
    items = [{"sku": f"S{n}", "onHand": 3} for n in range(20)]
    answers = await asyncio.gather(
        *(put(stack, *reversed(items)), put(stack, *items)), *(put(stack, *items) for _ in range(2))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len(await listed(stack)) == 20
    await assert_stock_adds_up(stack.engine)


async def test_counts_and_holds_at_once_lose_no_unit(stack: Stack) -> None:
    await stack.put(10)
    work = [stack.create() if n % 2 else put(stack, {"sku": "TEE", "onHand": 10}) for n in range(12)]
    assert {answer.status_code for answer in await asyncio.gather(*work)} <= {200, 201}
    assert await stack.stock_of() == (4, 6)
    await assert_stock_adds_up(stack.engine)
