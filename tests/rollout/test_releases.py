"""Two releases of the worker with holds in flight: side by side, forward, and back."""

import asyncio
from functools import partial
from pathlib import Path

import httpx
from temporalio.api.enums.v1 import EventType

from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import stock_of
from dev.processes import Child
from tests.api.asking import insist
from tests.e2e.deployment import Deployment
from tests.rollout.earlier_release import EarlierRelease, unpack_earlier_release
from tests.rollout.operator import Operator
from tests.stack import SHOP
from tests.waiting import until

NEXT = "tests.rollout.next_release"
FAILED = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
MARKED = EventType.EVENT_TYPE_MARKER_RECORDED
UNCHANGED = 'TemporalChangeVersion IS NULL AND ExecutionStatus="Running"'


async def retired(worker: Child) -> None:
    """Stop a worker as a deploy does, with SIGTERM."""
    await asyncio.to_thread(worker.stop)


async def has(product: Deployment, hold_id: str, kind: "EventType.ValueType") -> bool:
    """Tell whether such an event is in the hold's history."""
    return any([event.event_type == kind async for event in product.run_of(hold_id).fetch_history_events()])


async def made_by_next(product: Deployment, hold_id: str) -> bool:
    """Tell whether the next release's worker ran the hold as its own, with the patch in its history."""
    markers = [
        event.marker_recorded_event_attributes.marker_name
        async for event in product.run_of(hold_id).fetch_history_events()
        if event.event_type == MARKED
    ]
    return "core_patch" in markers


async def test_a_rolling_deploy_and_back_with_holds_in_flight(product: Deployment) -> None:
    this = await product.start_worker()
    await product.made_of_own("early", "early-kept")
    await product.put("lapsing", 10)
    await product.made_for(6, "lapsing", "lapsing")
    following = await product.start_worker(module=NEXT)
    await retired(this)

    assert await product.end_of("lapsing") == "expired"
    assert (await product.answered("early", "commit"))["status"] == "committed"
    assert (await product.answered("early-kept", "extend", {"ttlSeconds": 60}))["status"] == "active"
    assert await stock_of(product.engine, "lapsing") == (10, 0)
    await product.made_of_own("late", "late-kept")
    assert await made_by_next(product, "late")
    assert not await made_by_next(product, "early-kept")

    this = await product.start_worker()
    await retired(following)
    assert (await product.answered("early-kept", "release"))["status"] == "released"
    await product.made_of_own("afterwards")
    assert (await product.answered("afterwards", "commit"))["status"] == "committed"
    assert (await product.post("late", "commit")).status_code == 504
    await until(lambda: has(product, "late", FAILED), "the earlier release cannot go on with it")
    assert await stock_of(product.engine, "late") == (9, 1)

    following = await product.start_worker(module=NEXT)
    await retired(this)
    assert await product.end_of("late") == "committed"
    assert (await product.answered("late-kept", "release"))["status"] == "released"
    await retired(following)
    await assert_stock_adds_up(product.engine)
    assert await product.failed_runs() == []


async def are_ready(*apis: httpx.AsyncClient) -> None:
    """Wait until readiness has nothing to say against any of the APIs."""

    async def ready() -> bool:
        answers = [await http.get("/readyz") for http in apis]
        return all(answer.status_code == 200 and answer.json()["status"] == "ok" for answer in answers)

    await until(ready, "each API is ready")


async def test_the_release_before_and_this_one_serve_side_by_side_both_ways(
    product: Deployment, tmp_path: Path
) -> None:
    earlier = EarlierRelease(unpack_earlier_release(tmp_path / "earlier"), product, tmp_path)

    async def held(http: httpx.AsyncClient, *hold_ids: str) -> None:
        for hold_id in hold_ids:
            await product.put(hold_id, 10)
            body = {"shopId": SHOP, "holdId": hold_id, "items": [{"sku": hold_id, "quantity": 1}]}
            answer = await insist(partial(http.post, "/api/inventory/holds", json=body))
            assert answer.status_code in (200, 201), answer.text

    async def ended(http: httpx.AsyncClient, hold_id: str, verb: str) -> str:
        answer = await insist(partial(http.post, f"/api/inventory/holds/{SHOP}/{hold_id}/{verb}"))
        return str(answer.json()["status"])

    async with earlier.api() as before:  # on this release's schema
        async with earlier.worker():
            await held(before, "o-sold", "o-back", "o-kept")
            await are_ready(product.http)  # this release's API, which any worker serves
            worker = await product.start_worker()
            await are_ready(before, product.http)
        await held(before, "o-late")
        assert await ended(product.http, "o-sold", "commit") == "committed"
        assert await ended(before, "o-back", "release") == "released"
    assert await ended(product.http, "o-late", "commit") == "committed"
    await held(product.http, "n-sold", "n-back")

    async with earlier.api() as before:  # back, as the page says: the API first, the worker when no hold is active
        await are_ready(before)
        assert await ended(before, "n-sold", "commit") == "committed"
        for hold_id in ("n-back", "o-kept"):
            assert await ended(before, hold_id, "release") == "released"
        async with earlier.worker():
            await retired(worker)
            await held(before, "o-again")
            await are_ready(before, product.http)
            assert await ended(before, "o-again", "commit") == "committed"
    await assert_stock_adds_up(product.engine)
    assert await product.failed_runs() == []


async def test_holds_are_routed_by_build_forward_and_back(product: Deployment, tmp_path: Path) -> None:
    unrouted = await product.start_worker()
    await product.made_of_own("of-old")
    first = await product.start_worker(HOLDFAST_WORKER_BUILD_ID="1")
    promote = Operator("releases", tmp_path, product)

    async def promoted(build: str) -> None:
        promote.environment |= {"BUILD": build, "HOLDFAST_WORKER_BUILD_ID": build}
        await promote.does(
            'temporal worker deployment set-current-version --deployment-name holdfast --build-id "$BUILD" --yes'
        )

    await promoted("1")
    await retired(unrouted)
    assert (await product.answered("of-old", "commit"))["status"] == "committed"
    await product.made_of_own("v-sold", "v-back", "v-kept")
    await product.put("v-lapsing", 10)
    await product.made_for(8, "v-lapsing", "v-lapsing")

    second = await product.start_worker(module=NEXT, HOLDFAST_WORKER_BUILD_ID="2")
    await product.made_of_own("v-early")
    assert not await made_by_next(product, "v-early")  # it polls, and is given nothing yet
    await promoted("2")
    assert (await product.answered("v-sold", "commit"))["status"] == "committed"
    assert await product.end_of("v-lapsing") == "expired"
    await product.made_of_own("v-late")
    assert await made_by_next(product, "v-late")

    doctor = await promote.does("holdfast doctor")
    assert "✓ routing by build" in doctor
    await promoted("1")
    assert (await product.answered("v-back", "release"))["status"] == "released"
    await product.made_of_own("v-afterwards")
    assert not await made_by_next(product, "v-afterwards")
    assert (await product.answered("v-early", "commit"))["status"] == "committed"
    unchanged = [run.id async for run in product.temporal.list_workflows(UNCHANGED)]
    assert product.run_of("v-kept").id in unchanged
    assert product.run_of("v-late").id not in unchanged

    await promoted("2")
    await retired(first)
    for hold_id in ("v-kept", "v-late", "v-afterwards"):
        assert (await product.answered(hold_id, "commit"))["status"] == "committed"
    back = await product.start_worker()
    await promote.does("temporal worker deployment set-current-version --deployment-name holdfast --unversioned --yes")
    await retired(second)
    await product.made_of_own("unrouted-again")
    assert (await product.answered("unrouted-again", "release"))["status"] == "released"
    await retired(back)
    await assert_stock_adds_up(product.engine)
    assert await product.failed_runs() == []
