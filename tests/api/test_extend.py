"""Extending a hold: later, up to the ceiling, and never back from the dead."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import httpx

from tests.api.asking import expired, fields_of, fresh, refused
from tests.stack import Stack


def deadline(hold: dict[str, Any] | httpx.Response) -> datetime:
    return datetime.fromisoformat((hold if isinstance(hold, dict) else hold.json())["expiresAt"])


async def extend(stack: Stack, hold: dict[str, Any], seconds: int, key: str | None = None) -> httpx.Response:
    return await stack.post(hold["holdId"], "extend", {"ttlSeconds": seconds}, key=key)


async def test_an_extension_moves_the_deadline_from_where_it_is(stack: Stack) -> None:
    await stack.put(1)
    hold = await stack.made()
    answer = await extend(stack, hold, 600)
    assert answer.status_code == 200
    assert deadline(answer) == deadline(hold) + timedelta(seconds=600)
    assert await stack.read(hold["holdId"]) == answer.json()
    assert await stack.stock_of() == (0, 1)


async def test_an_extension_ends_at_the_ceiling_counted_from_the_creation(stack: Stack) -> None:
    await stack.put(1)
    hold = await stack.made()
    answer = await extend(stack, hold, 3600)
    assert deadline(answer) == datetime.fromisoformat(hold["createdAt"]) + timedelta(seconds=3600)


async def test_a_hold_at_the_ceiling_is_not_extended(stack: Stack) -> None:
    await stack.put(1)
    hold = await stack.made(ttlSeconds=3600)
    refused(await extend(stack, hold, 600), 409, "hold_extend_limit")
    assert await stack.read(hold["holdId"]) == hold


async def test_a_repeat_with_the_same_key_moves_nothing_and_answers_the_same(stack: Stack) -> None:
    await stack.put(1)
    hold, key = await stack.made(), fresh()
    first = await extend(stack, hold, 600, key)
    again = await extend(stack, hold, 600, key)
    assert again.status_code == 200
    assert again.json() == first.json()


async def test_a_repeat_answers_the_same_after_another_extension(stack: Stack) -> None:
    await stack.put(1)
    hold, key = await stack.made(), fresh()
    first = await extend(stack, hold, 600, key)
    second = await extend(stack, hold, 60, fresh())
    assert deadline(second) == deadline(first) + timedelta(seconds=60)
    assert deadline(await extend(stack, hold, 600, key)) == deadline(first)
    assert deadline(await stack.read(hold["holdId"])) == deadline(second)


async def test_a_repeat_after_the_end_revives_nothing(stack: Stack) -> None:
    await stack.put(1)
    hold, key = await stack.made(), fresh()
    await extend(stack, hold, 600, key)
    await stack.post(hold["holdId"], "release")
    again = await extend(stack, hold, 600, key)
    assert again.json()["status"] == "released"
    assert await stack.stock_of() == (1, 0)


async def test_the_same_key_with_other_seconds_is_a_conflict(stack: Stack) -> None:
    await stack.put(1)
    hold, key = await stack.made(), fresh()
    first = await extend(stack, hold, 600, key)
    refused(await extend(stack, hold, 700, key), 409, "idempotency_conflict")
    assert deadline(await stack.read(hold["holdId"])) == deadline(first)


async def test_without_a_key_each_request_extends(stack: Stack) -> None:
    await stack.put(1)
    hold = await stack.made()
    await asyncio.gather(*(extend(stack, hold, 60) for _ in range(3)))
    assert deadline(await stack.read(hold["holdId"])) == deadline(hold) + timedelta(seconds=180)


async def test_each_of_sixty_extensions_at_once_is_made(stack: Stack) -> None:
    await stack.put(1)
    hold = await stack.made(ttlSeconds=30)
    answers = await asyncio.gather(*(extend(stack, hold, 30) for _ in range(60)))
    assert {answer.status_code for answer in answers} == {200}
    assert deadline(await stack.read(hold["holdId"])) == deadline(hold) + timedelta(seconds=1800)


async def test_an_ended_hold_is_not_extended(stack: Stack) -> None:
    await stack.put(3)
    for verb, status in (("commit", "committed"), ("release", "released")):
        hold = await stack.made()
        await stack.post(hold["holdId"], verb)
        assert refused(await extend(stack, hold, 600), 409, "hold_not_active")["status"] == status
    gone = await expired(stack, fresh("gone"))
    assert refused(await extend(stack, gone, 600), 409, "hold_not_active")["status"] == "expired"
    assert await stack.stock_of() == (2, 0)


async def test_extending_an_unknown_hold_is_not_found(stack: Stack) -> None:
    refused(await stack.post("nobody", "extend", {"ttlSeconds": 60}), 404, "hold_not_found")


async def test_an_extension_says_by_how_much_within_bounds(stack: Stack) -> None:
    await stack.put(1)
    hold = await stack.made()
    for body in ({}, {"ttlSeconds": 29}, {"ttlSeconds": 3601}, {"ttlSeconds": "60"}, {"ttlSeconds": None}):
        assert fields_of(await stack.post(hold["holdId"], "extend", body)) == ["ttlSeconds"]
    assert await stack.read(hold["holdId"]) == hold
