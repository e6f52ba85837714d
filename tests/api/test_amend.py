"""PATCH of a hold: the cart changes while the hold runs."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client

from dev.harness.invariants import assert_stock_adds_up
from tests.api.asking import fresh, refused
from tests.stack import Stack, running_stack


def units(hold: dict[str, Any]) -> dict[str, int]:
    return {line["sku"]: line["quantity"] for line in hold["items"]}


async def test_a_hold_follows_the_cart(stack: Stack) -> None:
    await stack.put(5)
    await stack.put(5, "MUG")
    hold = await stack.made(("TEE", 2), reference="cart")
    answer = await stack.amend(hold["holdId"], ("TEE", 1), ("MUG", 3))
    assert answer.status_code == 200, answer.text
    assert units(answer.json()) == {"TEE": 1, "MUG": 3}
    same = {"status", "expiresAt", "createdAt", "reference", "holdId"}
    assert {name: answer.json()[name] for name in same} == {name: hold[name] for name in same}
    assert answer.json()["closedCheckoutSessionId"] is None
    assert [await stack.stock_of(sku) for sku in ("TEE", "MUG")] == [(4, 1), (2, 3)]
    sold = await stack.post(hold["holdId"], "commit")
    assert units(sold.json()) == {"TEE": 1, "MUG": 3}
    assert [await stack.stock_of(sku) for sku in ("TEE", "MUG")] == [(4, 0), (2, 0)]
    await assert_stock_adds_up(stack.engine)


async def test_the_shopper_s_own_units_count_and_a_refusal_changes_nothing(stack: Stack) -> None:
    await stack.put(2)
    hold = await stack.made(("TEE", 1))
    assert (await stack.amend(hold["holdId"], ("TEE", 2))).status_code == 200
    before = await stack.read(hold["holdId"])
    body = refused(await stack.amend(hold["holdId"], ("TEE", 3)), 409, "insufficient_stock")
    assert (body["items"][0]["requested"], body["items"][0]["available"]) == (3, 2)
    assert await stack.read(hold["holdId"]) == before


async def test_a_repeat_with_its_key_is_made_once_and_another_body_is_refused(stack: Stack) -> None:
    await stack.put(5)
    hold, key = await stack.made(), fresh()
    answers = await asyncio.gather(*(stack.amend(hold["holdId"], ("TEE", 3), key=key) for _ in range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.text for answer in answers}) == 1
    await stack.amend(hold["holdId"], ("TEE", 2))
    again = await stack.amend(hold["holdId"], ("TEE", 3), key=key)
    assert units(again.json()) == {"TEE": 2}  # as it is now
    refused(await stack.amend(hold["holdId"], ("TEE", 1), key=key), 409, "idempotency_conflict")
    await stack.post(hold["holdId"], "release")
    assert (await stack.amend(hold["holdId"], ("TEE", 3), key=key)).json()["status"] == "released"
    assert stack.counted("inventory_hold_amended") == 2


async def test_a_refusal_is_not_remembered(stack: Stack) -> None:
    await stack.put(2)
    hold, key = await stack.made(), fresh()
    refused(await stack.amend(hold["holdId"], ("TEE", 3), key=key), 409, "insufficient_stock")
    await stack.put(3)
    assert units((await stack.amend(hold["holdId"], ("TEE", 3), key=key)).json()) == {"TEE": 3}


@pytest.mark.parametrize("verb", ["commit", "release"])
async def test_an_ended_hold_is_not_changed(stack: Stack, verb: str) -> None:
    await stack.put(5)
    hold = await stack.made()
    ended = (await stack.post(hold["holdId"], verb)).json()
    body = refused(await stack.amend(hold["holdId"], ("TEE", 2)), 409, "hold_not_active")
    assert (body["holdId"], body["status"]) == (hold["holdId"], ended["status"])


async def test_a_hold_that_does_not_exist_is_not_changed(stack: Stack) -> None:
    refused(await stack.amend("h-none", ("TEE", 2)), 404, "hold_not_found")


async def test_the_deadline_moves_only_if_asked_and_never_beyond_the_ceiling(stack: Stack) -> None:
    await stack.put(5)
    hold = await stack.made(ttlSeconds=60)
    created, before = (datetime.fromisoformat(hold[name]) for name in ("createdAt", "expiresAt"))
    longer = (await stack.amend(hold["holdId"], ttlSeconds=1800)).json()
    assert datetime.fromisoformat(longer["expiresAt"]) >= before + timedelta(seconds=1700)
    shorter = (await stack.amend(hold["holdId"], ttlSeconds=30)).json()
    assert shorter["expiresAt"] == longer["expiresAt"]
    most = (await stack.amend(hold["holdId"], ttlSeconds=3600)).json()
    assert datetime.fromisoformat(most["expiresAt"]) == created + timedelta(seconds=3600)
    refused(await stack.post(hold["holdId"], "extend", {"ttlSeconds": 60}), 409, "hold_extend_limit")


async def test_reference_and_buyer_can_be_set_and_a_reference_stays_one_carts(stack: Stack) -> None:
    await stack.put(5)
    hold, other = await stack.made(), await stack.made(reference="cart-2")
    changed = (await stack.amend(hold["holdId"], reference="cart-1", buyer="b-1")).json()
    assert (changed["reference"], changed["buyer"], units(changed)) == ("cart-1", "b-1", {"TEE": 1})
    body = refused(await stack.amend(hold["holdId"], reference="cart-2"), 409, "hold_exists")
    assert body["holdId"] == other["holdId"]
    refused(await stack.create(reference="cart-1"), 409, "hold_exists")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "body"),
        ({"items": []}, "items"),
        ({"items": None}, "items"),
        ({"reference": None}, "reference"),
        ({"ttlSeconds": 5}, "ttlSeconds"),
        ({"ttlSeconds": 86_400}, "ttlSeconds"),
        ({"buyer": "b" * 129}, "buyer"),
        ({"buyer": " b"}, "buyer"),
        ({"status": "committed"}, "status"),
    ],
)
async def test_what_cannot_be_changed_is_named(shared: Stack, fields: dict[str, Any], named: str) -> None:
    body = refused(await shared.amend("h-1", **fields), 422, "invalid_request")
    assert body["fields"][0]["field"] == named


async def test_a_lost_workflow_is_resumed_with_the_amended_lines(stack: Stack) -> None:
    await stack.put(5)
    hold = await stack.made(("TEE", 1))
    await stack.amend(hold["holdId"], ("TEE", 3))
    await stack.run_of(hold["holdId"]).terminate()
    key = fresh()
    assert units((await stack.amend(hold["holdId"], ("TEE", 4), key=key)).json()) == {"TEE": 4}
    await stack.run_of(hold["holdId"]).terminate()
    assert units((await stack.amend(hold["holdId"], ("TEE", 4), key=key)).json()) == {"TEE": 4}
    assert units((await stack.post(hold["holdId"], "commit")).json()) == {"TEE": 4}
    assert await stack.stock_of() == (1, 0)
    await assert_stock_adds_up(stack.engine)


async def test_amendments_of_one_hold_and_its_end_at_once_leave_one_truth(stack: Stack) -> None:
    await stack.put(50)
    for verb in ("commit", "release"):
        hold = await stack.made(("TEE", 1))
        wanted = (2, 3, 4)
        *amended, ended = await asyncio.gather(
            *(stack.amend(hold["holdId"], ("TEE", n)) for n in wanted), stack.post(hold["holdId"], verb)
        )
        assert ended.status_code == 200, ended.text
        for answer in amended:
            assert answer.status_code == 200 or refused(answer, 409, "hold_not_active")
        assert units(ended.json()) == units(await stack.read(hold["holdId"]))
    await assert_stock_adds_up(stack.engine)
    assert (await stack.stock_of())[1] == 0


async def test_a_limit_is_refused_with_its_name_and_what_the_buyer_has(stack: Stack) -> None:
    await stack.put(10)
    await stack.limit(max_per_order=4, max_per_buyer=3)
    hold = await stack.made(("TEE", 2), buyer="b-1")
    told = refused(await stack.create(("TEE", 2), buyer="b-1"), 409, "limit_exceeded")
    limit = {"limit": "maxPerBuyer", "most": 3, "has": 2, "requested": 2, "sku": "TEE", "variantKey": ""}
    assert told["limits"] == [limit]
    assert told["message"] == "A buyer can have 3 of TEE; this one has 2."
    told = refused(await stack.amend(hold["holdId"], ("TEE", 5)), 409, "limit_exceeded")
    assert [each["limit"] for each in told["limits"]] == ["maxPerOrder", "maxPerBuyer"]
    assert (await stack.amend(hold["holdId"], ("TEE", 3))).status_code == 200
    assert (await stack.create(("TEE", 3), buyer="b-2")).status_code == 201
    await stack.limit()
    assert (await stack.create(("TEE", 4), buyer="b-1")).status_code == 201
    assert stack.counted("inventory_hold_over_limit") == 2


async def test_the_limits_of_the_shop_hold_over_http(database: str, temporal: Client) -> None:
    async with running_stack(
        database, temporal, INVENTORY_MAX_ACTIVE_HOLDS_PER_BUYER="2", INVENTORY_MAX_UNITS_PER_BUYER="6"
    ) as stack:
        await stack.put(50)
        answers = await asyncio.gather(*(stack.create(("TEE", 2), buyer="b-1") for _ in range(6)))
        assert sorted(answer.status_code for answer in answers) == [201, 201, *[409] * 4]
        hold = next(answer.json() for answer in answers if answer.status_code == 201)
        changes = await asyncio.gather(*(stack.amend(hold["holdId"], ("TEE", n)) for n in (5, 4, 6)))
        assert [answer.status_code for answer in changes] == [409, 200, 409]
        assert await stack.stock_of() == (44, 6)
