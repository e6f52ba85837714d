"""Ends that take longer than the request, and a database that has stopped without a word."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.client import Client

from dev.harness.invariants import assert_stock_adds_up
from dev.postgres import EmbeddedPostgres
from dev.temporal import EmbeddedTemporal
from tests.api.asking import HEALTH, HOLDS, ITEMS, VALIDATE, locked, neighbour, refused
from tests.e2e.deployment import freeze
from tests.stack import SHOP, running_stack
from tests.waiting import until


async def test_a_release_that_cannot_settle_in_time_is_still_ending_and_then_ends(
    database: str, temporal: Client
) -> None:
    async with (
        running_stack(database, temporal) as stack,
        neighbour(stack, INVENTORY_REQUEST_TIMEOUT_MS="500") as impatient,
    ):
        await stack.put(1)
        hold = await stack.made()
        async with locked(stack):
            answer = await impatient.post(f"{HOLDS}/{SHOP}/{hold['holdId']}/release")
            again = await impatient.post(f"{HOLDS}/{SHOP}/{hold['holdId']}/release")
        for ending in (answer, again):
            assert (ending.status_code, ending.json()) == (202, {**hold, "ending": "release"})
        assert (await stack.run_of(hold["holdId"]).result()).status == "released"
        assert await stack.stock_of() == (1, 0)
        assert (await stack.post(hold["holdId"], "release")).status_code == 200
        await assert_stock_adds_up(stack.engine)


async def test_a_release_answered_202_without_a_worker_outlives_a_restart_of_temporal(
    database: str, own_temporal: EmbeddedTemporal, own_client: Client
) -> None:
    async with (
        running_stack(database, own_client, with_worker=False) as stack,
        neighbour(stack, INVENTORY_REQUEST_TIMEOUT_MS="2000") as impatient,
    ):
        await stack.put(1)
        async with stack.worker():
            hold = await stack.made()
        body = {"reason": "shop closed"}
        answer = await impatient.post(f"{HOLDS}/{SHOP}/{hold['holdId']}/release", json=body)
        assert (answer.status_code, answer.json()["ending"]) == (202, "release")
        own_temporal.start()  # anew
        async with stack.worker():
            assert (await stack.run_of(hold["holdId"]).result()).status == "released"
        assert (await stack.read(hold["holdId"]))["reason"] == "shop closed"
        assert await stack.stock_of() == (1, 0)


async def test_a_commit_that_cannot_settle_in_time_is_unknown_and_then_found(database: str, temporal: Client) -> None:
    async with (
        running_stack(database, temporal) as stack,
        neighbour(stack, INVENTORY_REQUEST_TIMEOUT_MS="500") as impatient,
    ):
        await stack.put(1)
        hold = await stack.made()
        async with locked(stack):
            answer = await impatient.post(f"{HOLDS}/{SHOP}/{hold['holdId']}/commit")
            body = refused(answer, 504, "inventory_timeout")
        assert body["holdId"] == hold["holdId"]
        await stack.run_of(hold["holdId"]).result()
        assert (await stack.post(hold["holdId"], "commit")).json()["status"] == "committed"


async def test_more_than_ten_messages_at_once_to_a_hold_that_cannot_settle_are_told_to_come_again(
    database: str, temporal: Client
) -> None:
    async with (
        running_stack(database, temporal) as stack,
        neighbour(stack, INVENTORY_REQUEST_TIMEOUT_MS="3000") as impatient,
    ):
        await stack.put(1)
        hold = await stack.made()
        release = f"{HOLDS}/{SHOP}/{hold['holdId']}/release"
        async with locked(stack):
            answers = await asyncio.gather(*(impatient.post(release) for _ in range(14)))
        for answer in answers:
            if answer.status_code != 202:
                refused(answer, 429, "inventory_busy")
        assert stack.counted("inventory_hold_error") == 0
        assert (await stack.run_of(hold["holdId"]).result()).status == "released"


@contextmanager
def frozen(server: EmbeddedPostgres) -> Iterator[None]:
    thaw = freeze(server.pid)
    try:
        yield
    finally:
        thaw()


async def test_a_postgres_that_has_stopped_keeps_nobody_waiting(
    own_postgres: EmbeddedPostgres, temporal: Client
) -> None:
    async with (
        running_stack(own_postgres.url, temporal) as stack,
        neighbour(stack, INVENTORY_REQUEST_TIMEOUT_MS="1000") as impatient,
    ):
        await stack.put(1)
        line, shop = {"sku": "TEE", "quantity": 1}, {"shopId": SHOP}
        with frozen(own_postgres):
            answers = await asyncio.gather(
                impatient.post(HOLDS, json={**shop, "items": [line]}),
                impatient.post(VALIDATE, json={**shop, "items": [line]}),
                impatient.put(ITEMS, json={**shop, "items": [{"sku": "TEE", "onHand": 1}]}),
                impatient.get(ITEMS, params=shop),
                impatient.get(HOLDS, params=shop),
                impatient.get(f"{HOLDS}/{SHOP}/h"),
            )

            async def is_told() -> bool:
                return (await stack.http.get(HEALTH)).status_code == 503

            await until(is_told, "health says that Postgres does not answer")
        for answer in answers:
            refused(answer, 504, "inventory_timeout")
        assert (await stack.http.get(ITEMS, params=shop)).status_code == 200
