"""More arrives than can be answered: the API refuses creates to stay alive, and no stock stays with who was told no."""

import asyncio
import json
from collections.abc import Awaitable
from functools import partial

import httpx
import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.stock import StockActivities
from dev.harness.invariants import assert_stock_adds_up
from domain.holds import Line, ReserveOutcome, ReserveRequest
from holds.errors import TemporalBusyError
from holds.gone_callers import GoneCallers
from holds.idempotency import hold_id_for
from holds.model import HoldRequest
from holds.workflow_client import WorkflowClient
from tests.api.asking import HOLDS, client, fresh, insist, neighbour, refused
from tests.api.deaf import deafen
from tests.paying import signed
from tests.stack import SHOP, Stack, running_stack
from tests.waiting import until
from workflows.messages import HoldInput

ONE = {"shopId": SHOP, "items": [{"sku": "TEE", "quantity": 1}]}
CALM = "shop-calm"
SECRET = "whsec_" + "5" * 32


class Gated(StockActivities):
    """Takes stock of a shop's rush only as its gate lets it."""

    gate: "Gate"

    @activity.defn(name="reserve")
    async def reserve(self, request: ReserveRequest) -> ReserveOutcome:
        if request.shop_id == SHOP:
            await self.gate.passes()
        return await super().reserve(request)


class Gate:
    """Open at first."""

    def __init__(self) -> None:
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._permits = asyncio.Semaphore(0)

    def close(self) -> None:
        self._is_open.clear()

    def open(self) -> None:
        self._is_open.set()
        for _ in range(1000):
            self._permits.release()

    def let_one_through(self) -> None:
        self._permits.release()

    async def passes(self) -> None:
        if not self._is_open.is_set():
            await self._permits.acquire()


def gated(stack: Stack) -> Gate:
    stock = Gated(stack.engine, stack.stock._telemetry)
    stock.gate = Gate()
    stack.stock = stock
    return stock.gate


class Flood:
    """Creates of one shop, all at once."""

    def __init__(self, stack: Stack, number: int) -> None:
        self.keys = [fresh("flood") for _ in range(number)]
        self.asked = [asyncio.ensure_future(stack.create(key=key)) for key in self.keys]

    def refused(self) -> list[str]:
        """Return the keys of those that were refused by now."""
        answers = zip(self.keys, self.asked, strict=True)
        return [key for key, answer in answers if answer.done() and answer.result().status_code == 429]


async def paid_webhook(stack: Stack, hold_id: str) -> httpx.Response:
    metadata = {"inventory_reservation_id": hold_id, "shop_id": SHOP}
    payment = {"id": f"pi_{hold_id}", "object": "payment_intent", "metadata": metadata}
    event = {"id": fresh("evt"), "object": "event", "type": "payment_intent.succeeded", "livemode": False}
    body = json.dumps(event | {"data": {"object": payment}}).encode()
    headers = {"Stripe-Signature": signed(body, SECRET)}
    return await stack.http.post("/api/webhooks/stripe", content=body, headers=headers)


async def test_in_a_flood_commits_and_webhooks_are_answered_and_creates_are_refused_before_temporal_knows_of_them(
    database: str, temporal: Client
) -> None:
    async with running_stack(database, temporal, with_worker=False, STRIPE_WEBHOOK_SECRET=SECRET) as stack:
        gate = gated(stack)
        await stack.put(300)
        async with stack.worker():
            sold, paid, given_back = [(await stack.made())["holdId"] for _ in range(3)]
            gate.close()
            flood = Flood(stack, 200)
            await until(lambda: len(flood.refused()) >= 20, "creates are refused")

            assert (await stack.post(sold, "commit")).status_code == 200
            assert (await paid_webhook(stack, paid)).json()["result"] == "told"
            assert (await stack.post(given_back, "release")).status_code == 200
            assert (await stack.http.get(HOLDS, params={"shopId": SHOP})).status_code == 200
            assert (await stack.http.get("/readyz")).status_code == 200
            async with client(stack.url, "unknown-token") as stranger:
                refused(await stranger.post(HOLDS, json=ONE), 401, "unauthorized")

            for key in flood.refused():
                with pytest.raises(RPCError) as missing:
                    await stack.run_of(hold_id_for(SHOP, None, key)).describe()
                assert missing.value.status is RPCStatusCode.NOT_FOUND

            gate.open()
            answers = await asyncio.gather(*flood.asked)
            told_no = [answer for answer in answers if answer.status_code != 201]
            for answer in told_no:
                body = refused(answer, 429, "overloaded")
                assert int(answer.headers["Retry-After"]) * 1000 >= body["retryAfter"] >= 1000
            assert len({answer.json()["retryAfter"] for answer in told_no}) > len(told_no) / 2, "all return at once"
            assert stack.counted("inventory_refused", importance="create", shop=SHOP) == len(told_no)
            made = len(answers) - len(told_no)
            await stack.run_of(paid).result()
            assert await stack.stock_of() == (300 - 2 - made, made)
            assert (await stack.create()).status_code == 201, "the flood is over"
        await assert_stock_adds_up(stack.engine)


async def test_a_calm_shop_gets_its_hold_before_those_of_a_rushing_shop_that_came_first(
    database: str, temporal: Client
) -> None:
    async with running_stack(database, temporal, with_worker=False) as stack:
        gate = gated(stack)
        await stack.put(300)
        body = {"shopId": CALM, "items": [{"sku": "TEE", "onHand": 1}]}
        assert (await stack.http.put("/api/inventory/items", json=body)).status_code == 200
        async with stack.worker():
            await stack.made()
            gate.close()
            flood = Flood(stack, 200)
            await until(lambda: len(flood.refused()) >= 20, "creates are refused")
            permits = 0

            async def ask() -> httpx.Response:
                nonlocal permits
                permits += 1
                gate.let_one_through()
                return await stack.http.post(HOLDS, json=ONE | {"shopId": CALM})

            assert (await insist(ask, again={429})).status_code == 201
            made = [answer for answer in flood.asked if answer.done() and answer.result().status_code == 201]
            assert len(made) <= permits < 20, "as many of the other shop were before it"
            gate.open()
            await asyncio.gather(*flood.asked)
        await assert_stock_adds_up(stack.engine)


async def reasons(stack: Stack) -> list[tuple[str, str | None]]:
    """Return how each hold of the shop has ended."""
    holds = (await stack.http.get(HOLDS, params={"shopId": SHOP})).json()["holds"]
    return [(hold["status"], hold.get("reason")) for hold in holds]


async def given_back(stack: Stack) -> None:
    async def ended() -> bool:
        return await reasons(stack) == [("released", "caller_gone")]

    await until(ended, "the hold is given back")
    assert await stack.stock_of() == (1, 0)
    await assert_stock_adds_up(stack.engine)


async def test_a_hold_whose_caller_broke_off_is_given_back_if_the_caller_has_no_name_for_it(
    database: str, temporal: Client
) -> None:
    async with running_stack(database, temporal, with_worker=False) as stack:
        stock = deafen(stack)
        await stack.put(1)
        async with stack.worker():
            asking = asyncio.ensure_future(stack.create())
            await stock.has_reserved.wait()
            asking.cancel()
            stock.may_tell.set()
            await given_back(stack)


async def test_a_hold_whose_caller_was_told_504_is_given_back_if_the_caller_has_no_name_for_it(
    database: str, temporal: Client
) -> None:
    async with (
        running_stack(database, temporal, with_worker=False) as stack,
        neighbour(stack, INVENTORY_REQUEST_TIMEOUT_MS="10000") as impatient,  # enough to reserve, on any machine
    ):
        stock = deafen(stack)
        await stack.put(1)
        async with stack.worker():
            late = refused(await impatient.post(HOLDS, json=ONE), 504, "inventory_timeout")
            assert "holdId" not in late, "it cannot be found: it is given back"
            stock.may_tell.set()
            await given_back(stack)


async def test_a_hold_that_temporal_is_too_busy_to_tell_of_is_given_back(database: str, temporal: Client) -> None:
    async with running_stack(database, temporal) as stack:
        await stack.put(1)
        made = (await stack.create()).json()
        line = Line("TEE", "", 1)
        asked = HoldRequest(SHOP, made["holdId"], (line,), 600, None, False, "hash", "test", named=False)

        async def started_and_refused() -> None:
            raise TemporalBusyError

        with pytest.raises(TemporalBusyError):
            await GoneCallers(WorkflowClient(temporal, stack.task_queue)).run(60_000, started_and_refused(), asked)
        await given_back(stack)


@pytest.mark.parametrize("named", [{"holdId": "h"}, {"reference": "r"}])
async def test_a_hold_whose_caller_broke_off_stays_for_a_caller_who_has_a_name_for_it(
    database: str, temporal: Client, named: dict[str, str]
) -> None:
    field, prefix = next(iter(named.items()))
    body = ONE | {field: fresh(prefix)}
    async with running_stack(database, temporal, with_worker=False) as stack:
        stock = deafen(stack)
        await stack.put(1)
        async with stack.worker():
            asking: Awaitable[httpx.Response] = asyncio.ensure_future(stack.http.post(HOLDS, json=body))
            await stock.has_reserved.wait()
            asking.cancel()  # type: ignore[attr-defined]
            stock.may_tell.set()
            again = partial(stack.http.post, HOLDS, json=body)
            status = 200 if field == "holdId" else 409
            await until(lambda: _has_status(again(), status), "the repeat finds the hold")
            assert await reasons(stack) == [("active", None)]


async def _has_status(answer: Awaitable[httpx.Response], status: int) -> bool:
    return (await answer).status_code == status


async def test_a_hold_that_no_worker_takes_up_in_time_ends_without_a_statement(database: str, temporal: Client) -> None:
    hold = HoldInput(SHOP, fresh(), (Line("TEE", "", 1),), ttl_seconds=600, max_ttl_seconds=3600, request_timeout_ms=1)
    async with running_stack(database, temporal, with_worker=False) as stack:
        await stack.put(1)
        await WorkflowClient(temporal, stack.task_queue).start(hold)
        async with stack.worker():
            assert (await stack.run_of(hold.hold_id).result()).status == "rejected"
        reserves = {"activity": "reserve"}
        assert stack.worker_metrics.get_sample_value("inventory_activity_seconds_count", reserves) is None
