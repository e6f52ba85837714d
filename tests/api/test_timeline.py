"""GET /timeline: where an item's units went, page by page."""

import base64
import json
from typing import Any

import pytest

from tests.api.asking import client, fields_of, refused
from tests.stack import AUTHORITY_TOKEN, SHOP, Stack

TIMELINE = "/api/inventory/timeline"


async def test_the_timeline_adds_up_to_the_item_and_is_read_with_the_authority_token(stack: Stack) -> None:
    await stack.put(5)
    hold = (await stack.made(("TEE", 2), reference="order-1"))["holdId"]
    await stack.post(hold, "commit", {"reason": "paid at the till"})
    await stack.made(("TEE", 1))
    entries: list[dict[str, Any]] = []
    cursor = None
    async with client(stack.url, AUTHORITY_TOKEN) as checkout:
        while True:
            params = {"shopId": SHOP, "sku": "TEE", "limit": "1"} | ({"cursor": cursor} if cursor else {})
            page = (await checkout.get(TIMELINE, params=params)).json()
            entries += page["entries"]
            cursor = page["nextCursor"]
            if cursor is None:
                break
    assert [(e["kind"], e["delta"], e["onHand"], e["held"]) for e in entries] == [
        ("hold", 0, 3, 1), ("commit", -2, 3, 0), ("hold", 0, 5, 0), ("count", 5, 5, 0)
    ]  # fmt: skip
    commit = entries[1]
    assert (commit["holdId"], commit["reference"], commit["reason"]) == (hold, "order-1", "paid at the till")
    assert (commit["actor"], commit["holdStatus"]) == ("admin", "committed")
    assert all(entry["at"].endswith("Z") for entry in entries)
    assert (page["item"]["onHand"], page["item"]["held"]) == (3, 1)


async def test_an_item_that_is_not_there_has_no_timeline(shared: Stack) -> None:
    answer = await shared.http.get(TIMELINE, params={"shopId": SHOP, "sku": "TEA", "variantKey": "x"})
    assert refused(answer, 404, "item_not_found")["items"] == [{"sku": "TEA", "variantKey": "x"}]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"sku": ""}, "sku"),
        ({"sku": "a\0"}, "sku"),
        ({"limit": "0"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"variant": "x"}, "variant"),
        *[
            ({"cursor": base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()}, "cursor")
            for parts in (
                ["a", "b"],
                ["-1", "1"],
                ["1", "9" * 19],
                ["1", "9" * 100],
                ["1", "٣"],
                ["1"],
                [1, 1],
                ["", ""],
            )
        ],
    ],
)
async def test_a_field_at_fault_is_named(shared: Stack, params: dict[str, str], field: str) -> None:
    answer = await shared.http.get(TIMELINE, params={"shopId": SHOP, "sku": "TEE"} | params)
    assert fields_of(answer) == [field]
