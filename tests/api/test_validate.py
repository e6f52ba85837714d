"""POST /validate: a look at the stock that changes nothing."""

from typing import Any

from tests.api.asking import ITEMS, VALIDATE, refused
from tests.stack import SHOP, Stack


def cart(*lines: tuple[str, int], shop: str = SHOP) -> dict[str, Any]:
    return {"shopId": shop, "items": [{"sku": sku, "quantity": quantity} for sku, quantity in lines]}


async def test_a_cart_that_can_be_bought_is_ok(stack: Stack) -> None:
    await stack.put(5)
    answer = await stack.http.post(VALIDATE, json=cart(("TEE", 5)))
    assert answer.status_code == 200
    assert answer.json()["ok"] is True
    assert await stack.stock_of() == (5, 0)


async def test_what_is_short_is_named_once_with_its_true_figure(stack: Stack) -> None:
    await stack.put(5)
    body = refused(
        await stack.http.post(VALIDATE, json=cart(("TEE", 3), ("CAP", 1), ("TEE", 3))), 409, "insufficient_stock"
    )
    assert body["code"] == "inventory_insufficient"
    assert body["items"] == [
        {"sku": "CAP", "variantKey": "", "requested": 1, "available": 0, "reason": "unknown_item"},
        {"sku": "TEE", "variantKey": "", "requested": 6, "available": 5, "reason": "insufficient"},
    ]
    assert "CAP" in body["message"]
    assert "TEE" in body["message"]


async def test_what_others_hold_cannot_be_bought(stack: Stack) -> None:
    await stack.put(5)
    await stack.made(("TEE", 4))
    refused(await stack.http.post(VALIDATE, json=cart(("TEE", 2))), 409, "insufficient_stock")
    assert (await stack.http.post(VALIDATE, json=cart(("TEE", 1)))).status_code == 200


async def test_validate_makes_no_hold(stack: Stack) -> None:
    await stack.put(5)
    await stack.http.post(VALIDATE, json=cart(("TEE", 1)))
    listed = await stack.http.get("/api/inventory/holds", params={"shopId": SHOP})
    assert listed.json() == {"holds": [], "nextCursor": None}
    assert stack.counted("inventory_hold_created") == 0


async def test_a_long_list_of_short_items_is_a_readable_sentence(stack: Stack) -> None:
    answer = await stack.http.post(VALIDATE, json=cart(*((f"SKU-{n:03}", 1) for n in range(100))))
    body = refused(answer, 409, "insufficient_stock")
    assert len(body["items"]) == 100
    assert body["message"] == f"The shop {SHOP} has no item SKU-000, SKU-001, SKU-002, SKU-003, SKU-004 and others."


async def test_what_a_shopper_holds_already_is_available_to_this_shopper_alone(stack: Stack) -> None:
    await stack.put(3)
    hold = await stack.made(("TEE", 2), reference="cart-1")
    by_id, by_reference = {"holdId": hold["holdId"]}, {"reference": "cart-1"}
    for own in (by_id, by_reference, by_id | by_reference):
        assert (await stack.http.post(VALIDATE, json=cart(("TEE", 3)) | own)).status_code == 200
        answer = await stack.http.post(VALIDATE, json=cart(("TEE", 4)) | own)
        assert refused(answer, 409, "insufficient_stock")["items"][0]["available"] == 3
    for other in ({"reference": "cart-2"}, {"holdId": "h_other"}):
        answer = await stack.http.post(VALIDATE, json=cart(("TEE", 3)) | other)
        assert refused(answer, 409, "insufficient_stock")["items"][0]["available"] == 1
    await stack.post(hold["holdId"], "commit")
    refused(await stack.http.post(VALIDATE, json=cart(("TEE", 3)) | by_reference), 409, "insufficient_stock")


async def test_an_exchange_is_refused_with_what_the_shopper_could_have(stack: Stack) -> None:
    await stack.put(3)
    await stack.made(("TEE", 2), reference="cart-1")
    answer = await stack.create(("TEE", 4), reference="cart-1", replace=True)
    assert refused(answer, 409, "insufficient_stock")["items"][0]["available"] == 3
    assert (await stack.create(("TEE", 3), reference="cart-1", replace=True)).status_code == 201


async def test_what_does_not_exist_is_told_apart_from_what_is_sold_out(stack: Stack) -> None:
    items = [
        {"sku": "TEE", "variantKey": "size:M", "onHand": 1},
        {"sku": "OLD", "onHand": 1, "retired": True},
    ]
    await stack.http.put(ITEMS, json={"shopId": SHOP, "items": items})
    lines = [
        {"sku": "OLD", "quantity": 1},
        {"sku": "TEE", "quantity": 1},
        {"sku": "TEE", "variantKey": "size:M", "quantity": 2},
    ]
    for path in (VALIDATE, "/api/inventory/holds"):
        body = refused(await stack.http.post(path, json={"shopId": SHOP, "items": lines}), 409, "insufficient_stock")
        assert [(item["sku"], item["available"], item["reason"]) for item in body["items"]] == [
            ("OLD", 0, "retired"),
            ("TEE", 0, "unknown_item"),
            ("TEE", 1, "insufficient"),
        ]
        assert body["message"] == (
            f"Not enough stock of TEE size:M. The shop {SHOP} has no item TEE. No new hold can have OLD."
        )
        body = refused(await stack.http.post(path, json={"shopId": "typo", "items": lines}), 409, "insufficient_stock")
        assert {item["reason"] for item in body["items"]} == {"unknown_item"}
