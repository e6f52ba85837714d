"""GET /holds: pages, newest first."""

from typing import Any

import pytest

from tests.api.asking import HOLDS, fields_of
from tests.stack import SHOP, Stack


async def page(stack: Stack, **params: str) -> dict[str, Any]:
    answer = await stack.http.get(HOLDS, params={"shopId": SHOP, **params})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_holds_are_listed_newest_first_page_by_page(stack: Stack) -> None:
    await stack.put(5)
    made = [await stack.made() for _ in range(5)]
    first = await page(stack, limit="2")
    second = await page(stack, limit="2", cursor=first["nextCursor"])
    third = await page(stack, limit="2", cursor=second["nextCursor"])
    assert first["holds"] + second["holds"] + third["holds"] == made[::-1]
    assert third["nextCursor"] is None


async def test_a_hold_made_between_two_pages_moves_nothing(stack: Stack) -> None:
    await stack.put(5)
    made = [await stack.made() for _ in range(3)]
    first = await page(stack, limit="2")
    await stack.made()
    assert (await page(stack, cursor=first["nextCursor"]))["holds"] == made[:1]


async def test_holds_are_listed_by_status(stack: Stack) -> None:
    await stack.put(5)
    made = [await stack.made() for _ in range(3)]
    await stack.post(made[0]["holdId"], "commit")
    await stack.post(made[1]["holdId"], "release")
    for status, hold in (("committed", made[0]), ("released", made[1]), ("active", made[2])):
        assert [found["holdId"] for found in (await page(stack, status=status))["holds"]] == [hold["holdId"]]
    assert (await page(stack, status="expired"))["holds"] == []


async def test_one_shop_does_not_see_the_holds_of_another(stack: Stack) -> None:
    await stack.put(1)
    hold = await stack.made()
    answer = await stack.http.get(HOLDS, params={"shopId": "shop-2"})
    assert answer.json() == {"holds": [], "nextCursor": None}
    assert (await stack.http.get(f"{HOLDS}/shop-2/{hold['holdId']}")).status_code == 404


@pytest.mark.parametrize(
    ("name", "value"),
    [("limit", "0"), ("limit", "501"), ("limit", "x"), ("status", "open"), ("cursor", "x"), ("shopid", "x")],
)
async def test_what_cannot_be_listed_is_refused_by_name(stack: Stack, name: str, value: str) -> None:
    assert fields_of(await stack.http.get(HOLDS, params={"shopId": SHOP, name: value})) == [name]


async def test_the_shop_must_be_named(stack: Stack) -> None:
    assert fields_of(await stack.http.get(HOLDS)) == ["shopId"]
