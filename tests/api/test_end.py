"""Commit and release: each end once, its repeats the same, its opposite refused."""

import asyncio
from functools import partial

import pytest
from temporalio.client import WorkflowExecutionStatus

from core.database import fetch
from dev.harness.invariants import assert_stock_adds_up
from tests.api.asking import HOLDS, expired, fields_of, fresh, insist, refused
from tests.stack import SHOP, Stack

_LEDGER = """SELECT delta, actor, reason FROM "InventoryMovement" WHERE "holdId" = %(hold)s"""


async def test_commit_sells_what_was_held(stack: Stack) -> None:
    await stack.put(5)
    hold = await stack.made(("TEE", 2))
    answer = await stack.post(hold["holdId"], "commit")
    assert (answer.status_code, answer.json()["status"]) == (200, "committed")
    assert answer.json()["committedAt"] is not None
    assert await stack.stock_of() == (3, 0)


async def test_release_gives_back_what_was_held(stack: Stack) -> None:
    await stack.put(5)
    hold = await stack.made(("TEE", 2))
    answer = await stack.post(hold["holdId"], "release", {"reason": "changed their mind"})
    body = answer.json()
    assert (answer.status_code, body["status"], body["reason"]) == (200, "released", "changed their mind")
    assert body["releasedAt"] is not None
    assert await stack.stock_of() == (5, 0)


async def test_the_records_have_who_sold_it_and_why(stack: Stack) -> None:
    await stack.put(5)
    hold = await stack.made(("TEE", 2))
    url = f"{HOLDS}/{SHOP}/{hold['holdId']}/commit"
    await stack.http.post(url, json={"reason": "order 7"}, headers={"X-Actor": "till-3"})
    rows = await fetch(stack.engine, _LEDGER, {"hold": hold["holdId"]})
    assert [dict(row) for row in rows] == [{"delta": -2, "actor": "till-3", "reason": "order 7"}]


@pytest.mark.parametrize("verb", ["commit", "release"])
async def test_a_body_is_not_needed(stack: Stack, verb: str) -> None:
    await stack.put(3)
    for content in (None, b"", b"null", b"{}"):
        hold = await stack.made()
        headers = {"Content-Type": "application/json"}
        url = f"{HOLDS}/{SHOP}/{hold['holdId']}/{verb}"
        assert (await stack.http.post(url, content=content, headers=headers)).status_code == 200
        await stack.put(3)


@pytest.mark.parametrize("verb", ["commit", "release"])
async def test_a_repeat_answers_the_same(stack: Stack, verb: str) -> None:
    await stack.put(5)
    hold = await stack.made()
    first = await stack.post(hold["holdId"], verb)
    again = await stack.post(hold["holdId"], verb, {"reason": "another"})
    assert again.status_code == 200
    assert again.json() == first.json() == await stack.read(hold["holdId"])


async def test_release_of_an_expired_hold_answers_the_hold(stack: Stack) -> None:
    await stack.put(1)
    gone = await expired(stack, fresh("gone"))
    answer = await stack.post(gone["holdId"], "release")
    assert (answer.status_code, answer.json()["status"]) == (200, "expired")
    assert await stack.stock_of() == (1, 0)


async def test_commit_of_a_hold_that_was_given_back_is_refused(stack: Stack) -> None:
    await stack.put(2)
    hold = await stack.made()
    await stack.post(hold["holdId"], "release")
    assert refused(await stack.post(hold["holdId"], "commit"), 409, "hold_not_active")["status"] == "released"
    gone = await expired(stack, fresh("gone"))
    assert refused(await stack.post(gone["holdId"], "commit"), 409, "hold_not_active")["status"] == "expired"
    assert await stack.stock_of() == (2, 0)


async def test_release_of_a_sold_hold_is_refused(stack: Stack) -> None:
    await stack.put(1)
    hold = await stack.made()
    await stack.post(hold["holdId"], "commit")
    body = refused(await stack.post(hold["holdId"], "release"), 409, "hold_not_active")
    assert (body["status"], body["holdId"]) == ("committed", hold["holdId"])
    assert await stack.stock_of() == (0, 0)


@pytest.mark.parametrize("verb", ["commit", "release"])
async def test_an_unknown_hold_is_not_found(stack: Stack, verb: str) -> None:
    await stack.put(1)
    hold = await stack.made()
    refused(await stack.post("nobody", verb), 404, "hold_not_found")
    refused(await stack.http.post(f"{HOLDS}/shop-2/{hold['holdId']}/{verb}"), 404, "hold_not_found")
    assert await stack.stock_of() == (0, 1)


async def test_an_unknown_field_in_the_body_is_refused_and_ends_nothing(stack: Stack) -> None:
    await stack.put(1)
    hold = await stack.made()
    assert fields_of(await stack.post(hold["holdId"], "commit", {"reson": "typo"})) == ["reson"]
    assert fields_of(await stack.post(hold["holdId"], "release", {"reason": ""})) == ["reason"]
    assert fields_of(await stack.post(hold["holdId"], "release", {"reason": "x" * 201})) == ["reason"]
    assert (await stack.read(hold["holdId"]))["status"] == "active"


async def test_commit_and_release_at_once_end_the_hold_once(stack: Stack) -> None:
    await stack.put(8)
    holds = [(await stack.made())["holdId"] for _ in range(4)]
    verbs = ["commit", "release", "release", "commit"]
    answers = await asyncio.gather(*(insist(partial(stack.post, hold, verb)) for hold in holds for verb in verbs))
    for hold, answer in zip([hold for hold in holds for _ in verbs], answers, strict=True):
        status = (await stack.read(hold))["status"]
        if answer.status_code != 200:
            assert refused(answer, 409, "hold_not_active")["status"] == status
        else:
            assert answer.json()["status"] == status
    await assert_stock_adds_up(stack.engine)


async def test_commit_by_thirty_at_once_sells_once(stack: Stack) -> None:
    await stack.put(8)
    hold = await stack.made(("TEE", 2))

    async def insists() -> list[int]:
        """Commit again and again without a pause, until the run has closed: that must not keep it open."""
        answers: list[int] = []
        while (await stack.run_of(hold["holdId"]).describe()).status is WorkflowExecutionStatus.RUNNING or not answers:
            answers.append((await stack.post(hold["holdId"], "commit")).status_code)
        return answers

    answers = await asyncio.gather(*(insists() for _ in range(30)))
    assert {status for each in answers for status in each} == {200}
    assert await stack.stock_of() == (6, 0)
    assert stack.counted("inventory_hold_committed") == 1
    await assert_stock_adds_up(stack.engine)


async def test_an_active_hold_whose_run_was_terminated_still_ends(stack: Stack) -> None:
    await stack.put(2)
    sold, given_back = await stack.made(), await stack.made()
    for hold in (sold, given_back):
        await stack.run_of(hold["holdId"]).terminate("by hand")
    assert (await stack.post(sold["holdId"], "commit")).json()["status"] == "committed"
    assert (await stack.post(given_back["holdId"], "release")).json()["status"] == "released"
    assert await stack.stock_of() == (1, 0)
    await assert_stock_adds_up(stack.engine)
