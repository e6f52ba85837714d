"""POST /adjustments and …/restock: corrections once for a key, by whom and why; retired items."""

import asyncio
from typing import Any

import httpx
import pytest

from core.database import fetch
from dev.harness.invariants import assert_stock_adds_up
from tests.api.asking import HOLDS, ITEMS, VALIDATE, client, fields_of, refused
from tests.stack import AUTHORITY_TOKEN, SHOP, Stack

ADJUSTMENTS = "/api/inventory/adjustments"
LOSS = {"sku": "TEE", "delta": -2, "reason": "damaged"}


async def adjust(stack: Stack, *adjustments: dict[str, Any], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await stack.http.post(ADJUSTMENTS, json={"shopId": SHOP, "adjustments": list(adjustments)}, headers=named)


async def restock(stack: Stack, hold_id: str, *items: tuple[str, int], **headers: str) -> httpx.Response:
    lines = {"items": [{"sku": sku, "quantity": quantity} for sku, quantity in items]} if items else {}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{HOLDS}/{SHOP}/{hold_id}/restock"
    return await stack.http.post(url, json={"reason": "unworn", **lines}, headers=named)


async def sold(stack: Stack, *items: tuple[str, int]) -> str:
    hold = await stack.made(*items)
    assert (await stack.post(hold["holdId"], "commit")).status_code == 200
    return str(hold["holdId"])


async def test_an_adjustment_answers_the_items_and_records_who_and_why(stack: Stack) -> None:
    await stack.put(5)
    answer = await adjust(stack, LOSS, X_Actor="anna", Idempotency_Key="k1")
    assert answer.status_code == 200
    [item] = answer.json()["items"]
    assert (item["sku"], item["onHand"], item["quantity"]) == ("TEE", 3, 3)
    [row] = await fetch(stack.engine, "SELECT * FROM \"InventoryMovement\" WHERE kind = 'adjust'", {})
    assert (row["delta"], row["onHand"], row["actor"], row["reason"], row["idempotencyKey"]) == (
        -2, 3, "anna", "damaged", "k1"
    )  # fmt: skip


async def test_the_same_key_and_body_get_the_same_answer_without_a_second_change(stack: Stack) -> None:
    await stack.put(5)
    first = await adjust(stack, LOSS, Idempotency_Key="k1")
    await adjust(stack, LOSS | {"delta": 10})
    again = await adjust(stack, LOSS, Idempotency_Key="k1")
    assert (again.status_code, again.content) == (200, first.content)
    assert await stack.stock_of() == (13, 0)
    for other in (LOSS | {"delta": -1}, LOSS | {"reason": "stolen"}, LOSS | {"sku": "MUG"}):
        refused(await adjust(stack, other, Idempotency_Key="k1"), 409, "idempotency_conflict")
    assert await stack.stock_of() == (13, 0)


async def test_more_than_can_be_sold_is_not_taken_away_and_the_holds_that_have_it_are_named(stack: Stack) -> None:
    await stack.put(5)
    await stack.put(5, "MUG")
    hold = (await stack.made(("TEE", 4)))["holdId"]
    answer = await adjust(stack, LOSS, {"sku": "MUG", "delta": 1, "reason": "found"})
    assert refused(answer, 409, "stock_below_zero")["items"] == [
        {"sku": "TEE", "variantKey": "", "delta": -2, "quantity": 1, "held": 4, "holds": [hold]}
    ]
    assert await stack.stock_of("MUG") == (5, 0)
    await assert_stock_adds_up(stack.engine)


async def test_an_item_that_is_not_there_is_not_made_by_an_adjustment(stack: Stack) -> None:
    answer = await adjust(stack, {"sku": "TEA", "delta": 1, "reason": "found"})
    assert refused(answer, 404, "item_not_found")["items"] == [{"sku": "TEA", "variantKey": ""}]
    await stack.put(1_000_000_000)
    answer = await adjust(stack, {"sku": "TEE", "delta": 1, "reason": "found"})
    assert refused(answer, 409, "stock_above_limit")["items"] == [{"sku": "TEE", "variantKey": ""}]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"delta": 0}, "adjustments[0].delta"),
        ({"delta": 1.5}, "adjustments[0].delta"),
        ({"delta": "1"}, "adjustments[0].delta"),
        ({"delta": 10**10}, "adjustments[0].delta"),
        ({"delta": None}, "adjustments[0].delta"),
        ({"reason": ""}, "adjustments[0].reason"),
        ({"reason": "a\0b"}, "adjustments[0].reason"),
        ({"reason": None}, "adjustments[0].reason"),
        ({"quantity": 1}, "adjustments[0].quantity"),
        ({"sku": "a\nb"}, "adjustments[0].sku"),
    ],
)
async def test_a_field_at_fault_is_named(shared: Stack, change: dict[str, Any], field: str) -> None:
    assert fields_of(await adjust(shared, LOSS | change)) == [field]


async def test_an_item_named_twice_and_none_at_all_are_refused(shared: Stack) -> None:
    assert fields_of(await adjust(shared, LOSS, LOSS)) == ["adjustments[1]"]
    assert fields_of(await adjust(shared)) == ["adjustments"]
    assert fields_of(await adjust(shared, *[LOSS] * 501)) == ["adjustments"]
    assert fields_of(await adjust(shared, LOSS, Idempotency_Key="x" * 256)) == ["Idempotency-Key"]


async def test_corrections_need_the_admin_token(stack: Stack) -> None:
    await stack.put(5)
    hold = await sold(stack)
    async with client(stack.url, AUTHORITY_TOKEN) as checkout:
        body = {"shopId": SHOP, "adjustments": [LOSS]}
        refused(await checkout.post(ADJUSTMENTS, json=body), 403, "forbidden")
        refused(await checkout.post(f"{HOLDS}/{SHOP}/{hold}/restock", json={"reason": "x"}), 403, "forbidden")
    assert await stack.stock_of() == (4, 0)


async def test_what_was_sold_comes_back_once_with_its_hold_in_the_ledger(stack: Stack) -> None:
    await stack.put(5)
    await stack.put(5, "MUG")
    hold = await sold(stack, ("TEE", 2), ("MUG", 1))
    first = await restock(stack, hold, ("TEE", 1), Idempotency_Key="r1", X_Actor="anna")
    assert first.status_code == 200
    assert (first.json()["status"], first.json()["holdId"]) == ("committed", hold)
    assert first.json()["restocked"] == [{"sku": "TEE", "variantKey": "", "quantity": 1}]
    assert (await restock(stack, hold, ("TEE", 1), Idempotency_Key="r1")).json() == first.json()
    refused(await restock(stack, hold, ("TEE", 2), Idempotency_Key="r1"), 409, "idempotency_conflict")
    refused(await adjust(stack, LOSS, Idempotency_Key="r1"), 409, "idempotency_conflict")
    answer = await restock(stack, hold, ("TEE", 2), ("MUG", 1))
    assert refused(answer, 409, "restock_above_committed")["items"] == [
        {"sku": "TEE", "variantKey": "", "requested": 2, "committed": 2, "restocked": 1}
    ]
    whole = await restock(stack, hold)
    assert [line["quantity"] for line in whole.json()["restocked"]] == [1, 2]
    assert (await restock(stack, hold)).json() == whole.json()
    assert (await stack.stock_of(), await stack.stock_of("MUG")) == ((5, 0), (5, 0))
    rows = await fetch(
        stack.engine, 'SELECT actor, "holdId", reason FROM "InventoryMovement" WHERE kind = \'restock\' ORDER BY id', {}
    )
    assert list(rows[0].values()) == ["anna", hold, "unworn"]
    assert len(rows) == 3
    await assert_stock_adds_up(stack.engine)


async def test_only_what_was_sold_can_come_back(stack: Stack) -> None:
    await stack.put(5)
    hold = (await stack.made())["holdId"]
    assert refused(await restock(stack, hold), 409, "hold_not_active")["status"] == "active"
    await stack.post(hold, "release")
    assert refused(await restock(stack, hold), 409, "hold_not_active")["status"] == "released"
    refused(await restock(stack, "nobody"), 404, "hold_not_found")
    url = f"{HOLDS}/{SHOP}/{hold}/restock"
    assert fields_of(await stack.http.post(url, json={})) == ["reason"]
    assert fields_of(await stack.http.post(url, json={"reason": "x", "items": []})) == ["items"]
    refused(await stack.http.post(url), 422, "invalid_request")


async def test_returns_at_once_bring_back_what_was_sold_and_no_more(stack: Stack) -> None:
    await stack.put(5)
    hold = await sold(stack, ("TEE", 2))
    answers = await asyncio.gather(*(restock(stack, hold, ("TEE", 1)) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 409, 409, 409, 409]
    assert await stack.stock_of() == (5, 0)


async def test_a_retired_item_is_shown_so_and_cannot_be_bought(stack: Stack) -> None:
    await stack.put(5)
    hold = (await stack.made())["holdId"]

    async def put(**fields: Any) -> dict[str, Any]:
        body = {"shopId": SHOP, "items": [{"sku": "TEE", "onHand": 5, **fields}]}
        item: dict[str, Any] = (await stack.http.put(ITEMS, json=body)).json()["items"][0]
        return item

    assert (await put(retired=True))["retired"] is True
    assert (await put())["retired"] is True
    cart = {"shopId": SHOP, "items": [{"sku": "TEE", "quantity": 1}]}
    for answer in (await stack.http.post(VALIDATE, json=cart), await stack.create()):
        assert refused(answer, 409, "insufficient_stock")["items"][0]["available"] == 0
    assert (await stack.post(hold, "commit")).status_code == 200
    shown = (await stack.http.get(ITEMS, params={"shopId": SHOP, "retired": "true"})).json()["items"]
    assert [(item["sku"], item["retired"], item["onHand"]) for item in shown] == [("TEE", True, 4)]
    assert (await put(retired=False))["retired"] is False
    assert (await stack.create()).status_code == 201
    await assert_stock_adds_up(stack.engine)
