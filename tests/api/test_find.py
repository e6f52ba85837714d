"""Holds are found by what people know of them, also in the archive."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.database import fetch
from inventory.archive import archive_holds
from tests.api.asking import HOLDS, fields_of
from tests.stack import SHOP, Stack

_PAY = """
UPDATE "InventoryHold" SET "paymentIntentId" = 'pi_1', "paymentSessionId" = 'cs_1', "createdAt" = "createdAt" - %(age)s
WHERE id = %(hold)s
"""
_METADATA = {"cart": "c-7", "note": "zwei Zeilen\nmit Umlaut ä"}


async def found(stack: Stack, **params: str) -> list[str]:
    answer = await stack.http.get(HOLDS, params={"shopId": SHOP, **params})
    assert answer.status_code == 200, answer.text
    return [hold["holdId"] for hold in answer.json()["holds"]]


async def two_holds(stack: Stack) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make an old hold, sold and paid, and one of another order and item."""
    await stack.put(5)
    await stack.put(5, "CAP", "blue")
    old = await stack.made(("TEE", 1), reference="order-1", buyer="b-1")
    await stack.post(old["holdId"], "commit")
    await fetch(stack.engine, _PAY, {"hold": old["holdId"], "age": timedelta(days=2)})
    body = {"shopId": SHOP, "items": [{"sku": "CAP", "variantKey": "blue", "quantity": 1}]}
    new = await stack.http.post(HOLDS, json={**body, "reference": "order-2", "metadata": _METADATA})
    assert new.status_code == 201, new.text
    return old, new.json()


@pytest.mark.parametrize("archived", [False, True])
async def test_a_hold_is_found_by_each_filter_and_by_several(stack: Stack, *, archived: bool) -> None:
    old, new = (hold["holdId"] for hold in await two_holds(stack))
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    only_old = [
        {"reference": "order-1"},
        {"buyer": "b-1"},
        {"sku": "TEE"},
        {"sku": "TEE", "variantKey": ""},
        {"paymentIntentId": "pi_1"},
        {"checkoutSessionId": "cs_1"},
        {"createdTo": yesterday},
        {"status": "committed,expired"},
        {"reference": "order-1", "sku": "TEE", "status": "committed", "createdTo": yesterday},
    ]
    neither = [{"sku": "TEE", "variantKey": "blue"}, {"reference": "order-1", "status": "active"}, {"sku": "PEN"}]
    where = {}
    if archived:
        assert [moved async for moved in archive_holds(stack.engine, before=datetime.now(UTC))] == [1]
        where = {"archived": "true"}
        assert await found(stack, archived="true") == [old]
    for params in only_old:
        assert await found(stack, **params, **where) == [old], params
    for params in neither:
        assert await found(stack, **params, **where) == [], params
    for params in ({"reference": "order-2"}, {"sku": "CAP"}, {"status": "active"}, {"createdFrom": yesterday}):
        assert await found(stack, **params, **where) == ([] if archived else [new]), params
    deadline = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert await found(stack, expiresTo=deadline, **where) == ([old] if archived else [new, old])
    assert await found(stack, expiresTo=yesterday, **where) == []


async def test_found_holds_come_page_by_page(stack: Stack) -> None:
    await stack.put(5)
    made = [(await stack.made())["holdId"] for _ in range(5)]
    ids, cursor = [], ""
    while cursor is not None:
        params = {"shopId": SHOP, "sku": "TEE", "limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await stack.http.get(HOLDS, params=params)).json()
        ids += [hold["holdId"] for hold in page["holds"]]
        cursor = page["nextCursor"]
    assert ids == made[::-1]


async def test_an_archived_hold_is_read_as_before(stack: Stack) -> None:
    old = (await two_holds(stack))[0]["holdId"]
    before = await stack.read(old)
    assert [moved async for moved in archive_holds(stack.engine, before=datetime.now(UTC))] == [1]
    after = await stack.read(old)
    assert after.pop("archivedAt") is not None
    assert before.pop("archivedAt") is None
    assert after == before


async def test_metadata_come_back_as_they_were_given(stack: Stack) -> None:
    _, new = await two_holds(stack)
    assert new["metadata"] == _METADATA
    assert (await stack.read(new["holdId"]))["metadata"] == _METADATA
    sold = (await stack.post(new["holdId"], "commit")).json()
    assert sold["metadata"] == _METADATA


async def test_a_repeat_with_other_metadata_is_another_request(stack: Stack) -> None:
    await stack.put(5)
    hold = (await stack.made(metadata={"a": "1"}))["holdId"]
    assert (await stack.create(holdId=hold, metadata={"a": "1"})).status_code == 200
    for other in ({}, {"a": "2"}):
        assert (await stack.create(holdId=hold, metadata=other)).status_code == 409


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"status": "active,open"}, "status"),
        ({"status": ","}, "status"),
        ({"variantKey": "size:M"}, "variantKey"),
        ({"createdFrom": "2026-11-28T10:00:00"}, "createdFrom"),
        ({"createdTo": "yesterday"}, "createdTo"),
        ({"paymentIntentId": "cs_1"}, "paymentIntentId"),
        ({"checkoutSessionId": "x"}, "checkoutSessionId"),
        ({"archived": "perhaps"}, "archived"),
        ({"reference": ""}, "reference"),
    ],
)
async def test_what_cannot_be_looked_for_is_refused_by_name(shared: Stack, params: dict[str, str], field: str) -> None:
    assert fields_of(await shared.http.get(HOLDS, params={"shopId": SHOP, **params})) == [field]


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": {f"k{n}": "v" for n in range(21)}},
        {"metadata": {"k" * 41: "v"}},
        {"metadata": {"k": "v" * 501}},
        {"metadata": {"k[0]": "v"}},
        {"metadata": {"k": 1}},
        {"warnBeforeSeconds": 0},
        {"warnBeforeSeconds": 1200},
        {"warnBeforeSeconds": 60, "ttlSeconds": 60},
    ],
)
async def test_metadata_and_warnings_have_limits(shared: Stack, body: dict[str, Any]) -> None:
    [field] = {name.partition(".")[0].partition("[")[0] for name in fields_of(await shared.create(**body))}
    assert field in body
