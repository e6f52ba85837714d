"""Many buyers at once."""

import asyncio
from functools import partial

from temporalio.client import Client

from dev.harness.invariants import assert_stock_adds_up
from tests.api.asking import fresh, insist, refused
from tests.stack import running_stack


async def test_of_200_buyers_of_10_units_exactly_10_hold_one(database: str, temporal: Client) -> None:
    async with running_stack(
        database, temporal, INVENTORY_REQUEST_TIMEOUT_MS="30000", INVENTORY_LOCK_TIMEOUT_MS="4000"
    ) as stack:
        await stack.put(10)
        buyers = [partial(stack.create, key=fresh("buyer")) for _ in range(200)]
        answers = await asyncio.gather(*(insist(buyer, again={429}) for buyer in buyers))

        made = [answer.json()["holdId"] for answer in answers if answer.status_code == 201]
        assert len(set(made)) == len(made) == 10
        for answer in answers:
            if answer.status_code != 201:
                short = refused(answer, 409, "insufficient_stock")["items"]
                assert short == [
                    {"sku": "TEE", "variantKey": "", "requested": 1, "available": 0, "reason": "insufficient"}
                ]
        assert await stack.stock_of() == (0, 10)
        assert stack.counted("inventory_hold_created") == 10
        assert stack.counted("inventory_hold_insufficient") == 190
        await assert_stock_adds_up(stack.engine)
