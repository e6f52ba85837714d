"""Postgres, Temporal, the API or every worker away for a while and back: no hold is lost, none ends twice."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import stock_of
from dev.postgres import EmbeddedPostgres
from dev.processes import Child
from domain.payments import Payment
from tests.e2e.deployment import Deployment, freeze, kill
from tests.e2e.house import House, house_in
from tests.e2e.wire import Wire, wire_to
from tests.stack import SHOP
from tests.waiting import until
from workflows.hold import HoldWorkflow


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """One for all of these tests; each leaves all of it running."""
    async with house_in(tmp_path_factory.mktemp("house")) as running:
        yield running


async def extended(deployment: Deployment, hold_id: str, life: timedelta) -> bool:
    """Tell whether the hold's row says that it lives that long."""
    row = await deployment.row(hold_id)
    return row is not None and row["expiresAt"] == row["createdAt"] + life


async def health(deployment: Deployment) -> int:
    return (await deployment.http.get("/api/inventory/health")).status_code


async def unavailable(deployment: Deployment) -> bool:
    return await health(deployment) == 503


async def healthy(deployment: Deployment) -> bool:
    return await health(deployment) == 200


async def valid(deployment: Deployment, sku: str) -> int:
    body = {"shopId": SHOP, "items": [{"sku": sku, "quantity": 1}]}
    return (await deployment.http.post("/api/inventory/validate", json=body)).status_code


def cut_down(server: EmbeddedPostgres) -> Callable[[], None]:
    kill(server.child)
    return server.start


def hang(server: EmbeddedPostgres) -> Callable[[], None]:
    return freeze(server.pid)


@pytest.mark.parametrize("take_away", [cut_down, hang])
async def test_holds_outlive_postgres(
    house: House, take_away: Callable[[EmbeddedPostgres], Callable[[], None]]
) -> None:
    how = take_away.__name__
    sku = f"TEE-{how}"
    deployment = house.deployment
    await deployment.put(sku, 20)
    kept, sold, paid, both, returned, lapsed, fresh = (
        f"{name}-{how}" for name in ("kept", "sold", "paid", "both", "returned", "lapsed", "fresh")
    )
    for hold_id in (kept, sold, paid, both, returned):
        await deployment.made(hold_id, sku)
    await deployment.made_for(2, lapsed, sku)

    give_back = take_away(house.postgres)
    refused = await deployment.create(fresh, sku)
    assert refused.status_code in ((503, 504) if take_away is hang else (503,))
    assert await valid(deployment, sku) in ((503, 504) if take_away is hang else (503,))
    await until(lambda: unavailable(deployment), "the API says that it is unavailable")
    await deployment.run_of(paid).signal(HoldWorkflow.payment_succeeded, Payment(payment_intent_id="pi_1"))
    unknown = await asyncio.gather(
        deployment.post(sold, "commit"),
        deployment.post(returned, "release"),
        deployment.post(kept, "extend", {"ttlSeconds": 300}),
        deployment.post(both, "extend", {"ttlSeconds": 300}),
        deployment.post(both, "commit"),
    )
    assert {answer.status_code for answer in unknown} <= {503, 504}
    await asyncio.to_thread(give_back)

    ends = {sold: "committed", paid: "committed", both: "committed", returned: "released", lapsed: "expired"}
    for hold_id, status in ends.items():
        assert await deployment.end_of(hold_id) == status
        assert await deployment.status(hold_id) == status
    await until(lambda: extended(deployment, kept, timedelta(seconds=1500)), "the extension is written")
    await until(lambda: healthy(deployment), "the API is well again")
    assert (await deployment.made(fresh, sku))["status"] == "active"
    assert await stock_of(deployment.engine, sku) == (15, 2)
    for hold_id in (kept, fresh):
        assert (await deployment.answered(hold_id, "commit"))["status"] == "committed"
    assert await stock_of(deployment.engine, sku) == (15, 0)
    await assert_stock_adds_up(deployment.engine)


async def test_without_postgres_the_refusal_names_the_hold_to_ask_for_again(house: House) -> None:
    house.postgres.stop()
    refused = await house.deployment.create("p-new", "TEE")
    await asyncio.to_thread(house.postgres.start)
    assert (refused.status_code, refused.json().get("holdId")) == (503, "p-new")


async def test_every_line_of_an_outage_is_json_tells_of_which_hold_and_has_no_traceback(house: House) -> None:
    deployment = house.deployment
    await deployment.put("BOX", 10)
    await deployment.made("o-kept", "BOX")
    house.postgres.stop()
    refused = await deployment.http.post(
        "/api/inventory/holds",
        json={"shopId": SHOP, "holdId": "o-new", "items": [{"sku": "BOX", "quantity": 1}]},
        headers={"X-Request-ID": "night-1"},
    )
    assert refused.status_code == 503
    released = asyncio.create_task(deployment.post("o-kept", "release"))
    await until(lambda: says(house.worker, "cannot pass on events and alerts"), "the relay says that it cannot go on")
    await asyncio.to_thread(house.postgres.start)
    await released
    assert await deployment.end_of("o-kept") == "released"
    house.temporal.stop(0)
    assert (await deployment.create("o-later", "BOX")).status_code == 503
    await until(lambda: says(house.worker, "temporalio.core"), "the library says that it repeats its polls")
    await asyncio.to_thread(house.temporal.start)
    assert (await deployment.made("o-later", "BOX"))["status"] == "active"

    lines = [json.loads(line) for child in (deployment.api, house.worker) for line in whole_lines(child)]
    assert [line["exception"] for line in lines if "exception" in line] == []
    assert [line["event"] for line in lines if "\x1b" in line["event"]] == []
    errors = [
        line for line in lines if line["level"] == "error" and "metric" in line
    ]  # others tell of a server's state
    about_holds = [line for line in errors if line.get("route") != "/api/inventory/validate"]
    assert all({"shop_id", "hold_id", "problem"} <= line.keys() for line in about_holds)
    [error] = [line for line in errors if line.get("request_id") == "night-1"]
    said = {"method": "POST", "route": "/api/inventory/holds", "status": 503, "shop_id": SHOP, "hold_id": "o-new"}
    assert said.items() <= error.items()


async def says(child: Child, text: str) -> bool:
    return text in child.output()


def whole_lines(child: Child) -> list[str]:
    """Return the lines of what the child printed last; the first of 64 KiB can be cut off."""
    printed = child.output()
    lines = printed.splitlines()
    return lines if printed.startswith("{") else lines[1:]


async def test_holds_outlive_a_killed_temporal_and_their_timers_fire(house: House) -> None:
    deployment = house.deployment
    await deployment.put("MUG", 10)
    await deployment.made("m-sold", "MUG")
    await deployment.made_for(2, "m-lapsed-meanwhile", "MUG")
    await deployment.made_for(8, "m-lapsed-later", "MUG")

    kill(house.temporal.child)
    assert await valid(deployment, "MUG") == 200
    refused = await deployment.create("m-new", "MUG")
    assert (refused.status_code, refused.json()["error"]) == (503, "inventory_unavailable")
    assert (await deployment.post("m-sold", "commit")).status_code in (503, 504)
    assert (await deployment.http.get(f"/api/inventory/holds/{SHOP}/m-sold")).json()["status"] == "active"
    await until(lambda: unavailable(deployment), "the API says that it is unavailable")
    await deployment.passed_deadline("m-lapsed-meanwhile")
    assert await deployment.status("m-lapsed-meanwhile") == "active"
    await asyncio.to_thread(house.temporal.start)

    assert (await deployment.answered("m-sold", "commit"))["status"] == "committed"
    for hold_id in ("m-lapsed-meanwhile", "m-lapsed-later"):
        assert await deployment.end_of(hold_id) == "expired"
        assert await deployment.status(hold_id) == "expired"
    assert await stock_of(deployment.engine, "MUG") == (9, 0)
    assert (await deployment.made("m-new", "MUG"))["status"] == "active"
    await until(lambda: healthy(deployment), "the API is well again")
    await assert_stock_adds_up(deployment.engine)


async def test_holds_outlive_a_killed_api(house: House) -> None:
    deployment = house.deployment
    await deployment.put("CAP", 10)
    await deployment.made("c-sold", "CAP")
    await deployment.made_for(2, "c-lapsed", "CAP")

    kill(deployment.api)
    assert await deployment.end_of("c-lapsed") == "expired"
    await deployment.start_api()

    assert (await deployment.answered("c-sold", "commit"))["status"] == "committed"
    assert await stock_of(deployment.engine, "CAP") == (9, 0)
    await assert_stock_adds_up(deployment.engine)


async def test_without_a_worker_nothing_is_taken_and_what_is_due_ends_once_there_is_one(house: House) -> None:
    deployment = house.deployment
    await deployment.put("BAG", 10)
    await deployment.made("b-sold", "BAG")
    await deployment.made("b-kept", "BAG")
    await deployment.made_for(3, "b-lapsed", "BAG")

    kill(house.worker)
    commit = asyncio.create_task(deployment.post("b-sold", "commit"))
    unanswered = await deployment.create("b-new", "BAG")
    assert (unanswered.status_code, unanswered.json()["error"]) == (504, "inventory_timeout")
    assert unanswered.json()["holdId"] == "b-new"
    assert (await commit).status_code == 504
    await deployment.passed_deadline("b-lapsed")
    assert await stock_of(deployment.engine, "BAG") == (7, 3)
    house.worker = await deployment.start_worker()

    assert await deployment.end_of("b-new") == "rejected"  # its caller has gone
    assert await deployment.row("b-new") is None
    assert await deployment.end_of("b-lapsed") == "expired"
    assert await deployment.end_of("b-sold") == "committed"
    assert await stock_of(deployment.engine, "BAG") == (8, 1)
    assert (await deployment.made("b-new", "BAG"))["status"] == "active"
    assert (await deployment.answered("b-kept", "release"))["status"] == "released"
    await assert_stock_adds_up(deployment.engine)


@pytest.fixture(scope="module")
async def wire(house: House) -> AsyncIterator[Wire]:
    """A way to Postgres for the worker alone, which each test mends; the API has its own."""
    kill(house.worker)
    async with wire_to(house.postgres.url) as wire:
        house.worker = await house.deployment.start_worker(database=wire.url)
        yield wire
        kill(house.worker)


def failures(house: House, hold_id: str) -> int:
    """Count the worker's failures about the hold."""
    failed = [line for line in house.worker.output().splitlines() if "inventory_hold_error" in line]
    return sum(f'"hold_id": "{hold_id}"' in line for line in failed)


async def reserve_fails_on(house: House, hold_id: str) -> None:
    """Wait until the worker has given up the first, local way to ask for the stock (three attempts) and goes on."""
    before = failures(house, hold_id)

    async def goes_on() -> bool:
        return failures(house, hold_id) > before + 3

    await until(goes_on, "the reserve fails a fourth time")


async def test_stock_taken_by_a_reserve_whose_every_answer_was_lost_is_found(house: House, wire: Wire) -> None:
    deployment = house.deployment
    await deployment.put("PEN", 10)
    wire.sever("w-lost")
    create = asyncio.create_task(deployment.made("w-lost", "PEN", 3))
    await reserve_fails_on(house, "w-lost")
    assert await stock_of(deployment.engine, "PEN") == (7, 3)
    wire.mend()

    assert (await create)["status"] == "active"
    assert (await deployment.answered("w-lost", "release"))["status"] == "released"
    assert await deployment.end_of("w-lost") == "released"
    assert await stock_of(deployment.engine, "PEN") == (10, 0)
    await assert_stock_adds_up(deployment.engine)


async def test_a_hold_whose_caller_went_before_its_reserve_was_answered_ends_at_its_deadline(
    house: House, wire: Wire
) -> None:
    deployment = house.deployment
    await deployment.put("CUP", 10)
    wire.sever("w-left")
    caller = asyncio.create_task(deployment.made_for(3, "w-left", "CUP", 3))
    await reserve_fails_on(house, "w-left")
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    assert await stock_of(deployment.engine, "CUP") == (7, 3)
    wire.mend()

    assert await deployment.end_of("w-left") == "expired"
    assert await stock_of(deployment.engine, "CUP") == (10, 0)
    await assert_stock_adds_up(deployment.engine)


async def test_a_reserve_that_nobody_could_ask_for_is_judged_once_it_can_be(house: House, wire: Wire) -> None:
    deployment = house.deployment
    await deployment.put("INK", 10)
    wire.cut()
    create = asyncio.create_task(deployment.made("w-soon", "INK", 3))
    await reserve_fails_on(house, "w-soon")
    wire.mend()
    assert (await create)["status"] == "active"
    assert await deployment.failed_runs() == []

    wire.cut()
    assert (await deployment.create("w-never", "INK", 3)).status_code == 504
    wire.mend()
    assert await deployment.end_of("w-never") == "rejected"  # its caller has gone
    assert await stock_of(deployment.engine, "INK") == (7, 3)
    assert (await deployment.made("w-never", "INK", 3))["status"] == "active"
    await assert_stock_adds_up(deployment.engine)
