"""POST /validate: a look at the stock that changes nothing."""

from tests.api.asking import VALIDATE, refused
from tests.stack import SHOP, Stack


def cart(*lines: tuple[str, int], shop: str = SHOP) -> dict[str, object]:
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
        {"sku": "CAP", "variantKey": "", "requested": 1, "available": 0},
        {"sku": "TEE", "variantKey": "", "requested": 6, "available": 5},
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
    assert body["message"] == "Not enough stock of SKU-000, SKU-001, SKU-002, SKU-003, SKU-004 and others."
