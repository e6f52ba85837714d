"""Create answered 429, 503 or 504, and repeated with the same key once the cause is gone."""

import asyncio

from temporalio.client import Client

from dev.harness.invariants import assert_stock_adds_up
from dev.postgres import EmbeddedPostgres
from dev.temporal import EmbeddedTemporal
from tests.api.asking import HOLDS, ITEMS, VALIDATE, fresh, insist, locked, neighbour, refused
from tests.api.deaf import deafen
from tests.stack import SHOP, Stack, running_stack
from tests.waiting import until

ONE = {"shopId": SHOP, "items": [{"sku": "TEE", "quantity": 1}]}


async def test_a_shortage_then_stock(stack: Stack) -> None:
    key = fresh()
    await stack.put(0)
    refused(await stack.create(key=key), 409, "insufficient_stock")
    await stack.put(1)
    assert (await stack.create(key=key)).status_code == 201


async def test_locked_rows_then_free_ones(database: str, temporal: Client) -> None:
    key = fresh()
    async with running_stack(database, temporal, INVENTORY_LOCK_TIMEOUT_MS="100") as stack:
        await stack.put(1)
        async with locked(stack):
            busy = await stack.create(key=key)
        assert refused(busy, 429, "inventory_busy")["retryAfter"] > 0
        assert int(busy.headers["Retry-After"]) >= 1
        assert await stack.stock_of() == (1, 0)
        assert (await insist(lambda: stack.create(key=key))).status_code == 201


async def test_postgres_away_then_back(own_postgres: EmbeddedPostgres, temporal: Client) -> None:
    key = fresh()
    async with running_stack(own_postgres.url, temporal) as stack:
        await stack.put(1)
        own_postgres.stop()
        away = await stack.create(key=key)
        others = [
            await stack.http.get(HOLDS, params={"shopId": SHOP}),
            await stack.http.get(f"{HOLDS}/{SHOP}/h"),
            await stack.http.get(ITEMS, params={"shopId": SHOP}),
            await stack.http.post(VALIDATE, json={"shopId": SHOP, "items": [{"sku": "TEE", "quantity": 1}]}),
            await stack.http.put(ITEMS, json={"shopId": SHOP, "items": [{"sku": "TEE", "onHand": 1}]}),
        ]
        own_postgres.start()
        body = refused(away, 503, "inventory_unavailable")
        assert int(away.headers["Retry-After"]) >= 1
        for answer in others:
            refused(answer, 503, "inventory_unavailable")
        assert stack.counted("inventory_hold_error") == 1 + len(others)
        hold = await insist(lambda: stack.create(key=key))
        assert (hold.status_code, hold.json()["holdId"]) == (201, body["holdId"])
        await assert_stock_adds_up(stack.engine)


async def test_a_count_does_not_stumble_over_a_postgres_that_was_restarted(
    own_postgres: EmbeddedPostgres, temporal: Client
) -> None:
    async with running_stack(own_postgres.url, temporal, with_worker=False) as stack:
        await stack.put(1)
        own_postgres.start()  # anew
        await stack.put(2)
        assert await stack.stock_of() == (2, 0)


async def test_temporal_away_then_back(database: str, own_temporal: EmbeddedTemporal, own_client: Client) -> None:
    key = fresh()
    async with running_stack(database, own_client) as stack:
        await stack.put(1)
        own_temporal.stop()
        away = await stack.create(key=key)
        valid = await stack.http.post(VALIDATE, json={"shopId": SHOP, "items": [{"sku": "TEE", "quantity": 1}]})

        async def said() -> bool:
            answer = await stack.http.get("/api/inventory/health")
            return (answer.status_code, answer.json()["failing"]) == (503, "temporal")

        await until(said, "health says that Temporal does not answer")
        own_temporal.start()
        body = refused(away, 503, "inventory_unavailable")
        assert valid.status_code == 200
        hold = await insist(lambda: stack.create(key=key))
        assert (hold.status_code, hold.json()["holdId"]) == (201, body["holdId"])
        assert await stack.stock_of() == (0, 1)


async def test_no_worker_then_one_that_comes_too_late_to_take_stock(database: str, temporal: Client) -> None:
    key = fresh()
    async with (
        running_stack(database, temporal, with_worker=False) as stack,
        neighbour(stack, INVENTORY_REQUEST_TIMEOUT_MS="500") as impatient,
    ):
        await stack.put(1)
        late = await impatient.post(HOLDS, json=ONE, headers={"Idempotency-Key": key})
        hold_id = refused(late, 504, "inventory_timeout")["holdId"]
        assert int(late.headers["Retry-After"]) >= 1
        async with stack.worker():
            assert (await stack.run_of(hold_id).result()).status == "rejected"
            assert await stack.stock_of() == (1, 0)
            hold = await insist(lambda: stack.create(key=key))
        assert hold.json()["holdId"] == hold_id
        assert await stack.stock_of() == (0, 1)


async def test_a_504_whose_hold_was_made_is_found_by_the_repeat(database: str, temporal: Client) -> None:
    key = fresh()
    async with (
        running_stack(database, temporal, with_worker=False) as stack,
        neighbour(stack, INVENTORY_REQUEST_TIMEOUT_MS="10000") as impatient,  # enough to reserve, on any machine
    ):
        stock = deafen(stack)
        await stack.put(1)
        async with stack.worker():
            late = await impatient.post(HOLDS, json=ONE, headers={"Idempotency-Key": key})
            hold_id = refused(late, 504, "inventory_timeout")["holdId"]
            await stock.has_reserved.wait()
            found = await stack.create(key=key)
            stock.may_tell.set()
            assert (found.status_code, found.json()["holdId"], found.json()["status"]) == (200, hold_id, "active")
            assert (await stack.post(hold_id, "commit")).status_code == 200
        assert await stack.stock_of() == (0, 0)


async def test_a_503_whose_hold_was_made_is_found_by_the_repeat(
    database: str, own_temporal: EmbeddedTemporal, own_client: Client
) -> None:
    key = fresh()
    async with running_stack(database, own_client, with_worker=False) as stack:
        stock = deafen(stack)
        await stack.put(1)
        async with stack.worker():
            asking = asyncio.create_task(stack.create(key=key))
            await stock.has_reserved.wait()
            own_temporal.stop()
            hold_id = refused(await asking, 503, "inventory_unavailable")["holdId"]
            found = await stack.create(key=key)  # Temporal is still away: the database knows
            own_temporal.start()
            stock.may_tell.set()
            assert (found.status_code, found.json()["holdId"]) == (200, hold_id)
            released = await insist(lambda: stack.post(hold_id, "release"))
            assert released.status_code in {200, 202}
            await stack.run_of(hold_id).result()
        assert await stack.stock_of() == (1, 0)
        await assert_stock_adds_up(stack.engine)
