"""Postgres and Temporal restored to different moments: the audit makes them agree, and nothing is sold twice."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import ScheduleHandle

from activities.audit_schedule import AUDIT_SCHEDULE, schedule_audit
from core.settings import TASK_QUEUE, Settings
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import stock_of
from holds.audit_workflows import WorkflowAuditor
from tests.e2e.deployment import Deployment
from tests.e2e.house import House, house_in
from tests.operations.diagnosis import SECRET
from tests.paying import LINE, PAGES
from tests.rollout.operator import Operator
from tests.simulated import API_KEY, Simulated, simulated
from tests.stack import SHOP
from tests.waiting import until


@dataclass
class Shop:
    """The house, and the Stripe that it is paid by."""

    house: House
    sim: Simulated
    folder: Path

    @property
    def deployment(self) -> Deployment:
        return self.house.deployment

    def operator(self, **variables: str) -> Operator:
        return Operator("backup-and-restore", self.folder, self.deployment, **variables)

    async def checkout(self, hold_id: str) -> str:
        """Make such a hold with a page to pay on, and return the page's id."""
        await self.deployment.put(hold_id, 10)
        body = {"shopId": SHOP, "holdId": hold_id, "items": [{**LINE, "sku": hold_id}], **PAGES}
        answer = await self.deployment.http.post("/api/checkout/sessions", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["checkoutSessionId"])

    async def pay(self, session_id: str) -> None:
        await self.sim.control(f"/sessions/{session_id}/pay", how="card")

    async def ends(self, **statuses: str) -> None:
        """Wait until the holds have ended so."""
        for hold_id, status in statuses.items():
            await self.is_so(hold_id.replace("_", "-"), status)

    async def is_so(self, hold_id: str, status: str | None) -> None:
        async def so() -> bool:
            return await self.deployment.status(hold_id) == status

        await until(so, f"{hold_id} is {status}")

    async def ended(self, hold_id: str, verb: str) -> None:
        await self.deployment.answered(hold_id, verb)

    async def stop(self) -> None:
        """Stop API and worker, as the page asks for first."""
        await asyncio.to_thread(self.deployment.api.stop)
        await asyncio.to_thread(self.house.worker.stop)

    async def start_worker(self) -> None:
        self.house.worker = await self.deployment.start_worker()

    async def stock(self, *hold_ids: str) -> list[tuple[int, int]]:
        return [await stock_of(self.deployment.engine, hold_id) for hold_id in hold_ids]

    async def temporal_restored(self, backup: Path | None) -> None:
        """Put Temporal's file back, or begin anew where there is none."""
        folder = self.folder / "temporal"
        await asyncio.to_thread(self.house.temporal.stop)
        shutil.rmtree(folder)
        if backup is not None:
            shutil.copytree(backup, folder)
        await asyncio.to_thread(self.house.temporal.start)
        await self.hold_audit_back()

    async def hold_audit_back(self) -> None:
        """Pause the audit's schedule, which could find and mend first what a command is to find."""
        await schedule_audit(self.deployment.temporal, TASK_QUEUE)
        await self.audits.pause()

    @property
    def audits(self) -> ScheduleHandle:
        return self.deployment.temporal.get_schedule_handle(AUDIT_SCHEDULE)


@pytest.fixture(scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """One for all of these tests; each leaves it whole."""
    folder = tmp_path_factory.mktemp("shop")
    async with simulated() as sim:
        environment: dict[str, Any] = {"STRIPE_API_KEY": API_KEY, "STRIPE_API_BASE": sim.url}
        async with house_in(folder, **environment, STRIPE_WEBHOOK_SECRET=SECRET) as house:
            hook = {"url": f"{house.deployment.http.base_url}/api/webhooks/stripe", "secrets": [SECRET]}
            await sim.control("/webhooks/endpoints", "PUT", endpoints=[hook])
            running = Shop(house, sim, folder)
            await running.hold_audit_back()
            yield running


def findings(printed: str) -> set[tuple[str, str]]:
    """Return the kind and the hold of each finding that `holdfast audit` printed about a hold."""
    return set(re.findall(r"^(\w+) +\S+ hold ([\w-]+):", printed, re.MULTILINE))


async def test_a_postgres_older_than_temporal(shop: Shop) -> None:
    await shop.deployment.made_of_own("sold", "returned", "kept")
    page = await shop.checkout("paid")
    await shop.deployment.put("lapsed", 10)
    await shop.deployment.made_for(6, "lapsed", "lapsed")
    moment = datetime.now(UTC)
    operator = shop.operator(MOMENT=f"{moment:%Y-%m-%dT%H:%M:%SZ}")
    await operator.does('pg_dump --format=custom --file=holdfast.dump "$DATABASE_URL"')

    await shop.ended("sold", "commit")
    await shop.ended("returned", "release")
    await shop.pay(page)
    # Made since, each of an item that was there: of one of them nothing is left to sell.
    for hold_id, sku, quantity in (("sold-since", "kept", 9), ("open-since", "sold", 1), ("back-since", "sold", 1)):
        await shop.deployment.made(hold_id, sku, quantity)
    await shop.ended("sold-since", "commit")
    await shop.ended("back-since", "release")
    body = {"shopId": SHOP, "holdId": "paid-since", "items": [{**LINE, "sku": "paid"}], **PAGES}
    opened = await shop.deployment.http.post("/api/checkout/sessions", json=body)
    await shop.pay(opened.json()["checkoutSessionId"])
    await shop.ends(paid="committed", paid_since="committed", lapsed="expired")
    truth = await shop.stock("sold", "returned", "kept", "paid", "lapsed")

    await shop.stop()
    await operator.does('pg_restore --clean --if-exists --no-owner --dbname="$DATABASE_URL" holdfast.dump')
    await operator.does("holdfast migrate")
    assert await shop.deployment.row("sold-since") is None
    assert await shop.stock("kept") == [(9, 1)]  # nine units that are sold already
    await shop.start_worker()
    await past_reserve_limit(shop, "open-since")
    found = await operator.does('holdfast audit --restored-to "$MOMENT"', code=1)
    kinds = findings(found)
    assert {("lost_run", "sold"), ("lost_run", "returned"), ("stray_run", "open-since")} <= kinds
    assert {hold_id for kind, hold_id in kinds if kind == "lost_sale"} == {"sold-since", "paid-since"}
    assert "kept" not in {hold_id for _, hold_id in kinds}
    await operator.does('holdfast audit --restored-to "$MOMENT" --repair')
    await shop.ends(sold="committed", paid="committed", returned="released", lapsed="expired")
    await shop.ends(sold_since="committed", paid_since="committed")
    assert await shop.deployment.end_of("open-since") == "missing"
    assert "nothing is wrong" in await operator.does('holdfast audit --restored-to "$MOMENT"')
    await shop.deployment.start_api()
    await resent(shop)
    await shop.audits.unpause()
    await operator.does("holdfast doctor")
    await shop.audits.pause()
    await operator.does("holdfast smoke")

    assert await shop.deployment.row("open-since") is None
    assert await shop.stock("sold", "returned", "kept", "paid", "lapsed") == [(9, 0), *truth[1:]]
    await shop.ended("kept", "commit")
    await assert_stock_adds_up(shop.deployment.engine)
    assert await shop.deployment.failed_runs() == []


async def past_reserve_limit(shop: Shop, hold_id: str) -> None:
    """Wait until a run is no longer so young that its row may still come."""
    began = (await shop.deployment.run_of(hold_id).describe()).start_time
    auditor = WorkflowAuditor(
        shop.deployment.engine,
        shop.deployment.temporal,
        Settings.read({"DATABASE_URL": shop.deployment.database}),
        task_queue=TASK_QUEUE,
    )
    await asyncio.sleep(max(0, (began + auditor.reserve_limit - datetime.now(UTC)).total_seconds()))


async def resent(shop: Shop) -> None:
    """Have Stripe send all its events again, and wait until they were taken."""
    events = {event["event"] for event in await shop.sim.control("/webhooks", "GET")}
    for event in events:
        await shop.sim.control("/webhooks/resend", event=event)

    async def taken() -> bool:
        sent: list[dict[str, Any]] = await shop.sim.control("/webhooks", "GET")
        return all(delivery["state"] not in ("waiting", "sending") for delivery in sent)

    await until(taken, "all events were taken again")


async def test_a_temporal_older_than_postgres(shop: Shop) -> None:
    await shop.deployment.made_of_own("t-sold", "t-returned", "t-kept")
    await shop.deployment.put("t-lapsed", 10)
    await shop.deployment.made_for(7, "t-lapsed", "t-lapsed")
    await asyncio.to_thread(shop.house.temporal.stop)
    backup = shop.folder / "temporal.backup"
    shutil.copytree(shop.folder / "temporal", backup)
    await asyncio.to_thread(shop.house.temporal.start)
    assert (await shop.deployment.answered("t-sold", "commit"))["status"] == "committed"
    await shop.ended("t-returned", "release")
    await shop.deployment.made_of_own("t-open-since", "t-sold-since")
    await shop.ended("t-sold-since", "commit")
    await shop.is_so("t-lapsed", "expired")
    truth = await shop.stock("t-sold", "t-returned", "t-kept", "t-lapsed", "t-open-since", "t-sold-since")

    await shop.stop()
    await shop.temporal_restored(backup)
    await shop.start_worker()
    operator = shop.operator()
    found = await operator.does("holdfast audit", code=1)
    expected = {("stray_run", "t-sold"), ("stray_run", "t-returned"), ("lost_run", "t-open-since")}
    assert expected <= findings(found)
    await operator.does("holdfast audit --repair")
    for hold_id, status in {"t-sold": "committed", "t-returned": "released", "t-lapsed": "expired"}.items():
        assert await shop.deployment.end_of(hold_id) == status
    assert "nothing is wrong" in await operator.does("holdfast audit")
    await shop.deployment.start_api()

    held = ("t-sold", "t-returned", "t-kept", "t-lapsed", "t-open-since", "t-sold-since")
    assert await shop.stock(*held) == truth
    await shop.ended("t-kept", "commit")
    await shop.ended("t-open-since", "release")
    await assert_stock_adds_up(shop.deployment.engine)
    assert await shop.deployment.failed_runs() == []


async def test_a_temporal_that_begins_anew(shop: Shop) -> None:
    await shop.deployment.made_of_own("l-kept", "l-sold", "l-returned")
    page = await shop.checkout("l-paid-meanwhile")
    unpaid = await shop.checkout("l-unpaid")
    await shop.deployment.put("l-lapsed", 10)
    await shop.deployment.made_for(3, "l-lapsed", "l-lapsed")
    deadline = (await shop.deployment.row("l-kept") or {})["expiresAt"]

    await shop.stop()
    await shop.temporal_restored(None)
    await shop.pay(page)
    await shop.deployment.passed_deadline("l-lapsed")
    await shop.start_worker()
    operator = shop.operator()
    found = await operator.does("holdfast audit", code=1)
    assert len({hold_id for kind, hold_id in findings(found) if kind == "lost_run"}) == 6
    await operator.does("holdfast audit --repair")
    assert await shop.deployment.end_of("l-lapsed") == "expired"
    await shop.deployment.start_api()

    assert (await shop.deployment.row("l-kept") or {})["expiresAt"] == deadline
    await shop.is_so("l-paid-meanwhile", "committed")  # Stripe sends again what was not taken
    await shop.ended("l-sold", "commit")
    await shop.ended("l-returned", "release")
    await shop.ended("l-unpaid", "release")
    with pytest.raises(AssertionError):  # its page is closed
        await shop.pay(unpaid)
    assert await shop.stock("l-kept", "l-sold", "l-returned", "l-paid-meanwhile", "l-unpaid", "l-lapsed") == [
        (9, 1),
        (9, 0),
        (10, 0),
        (9, 0),
        (10, 0),
        (10, 0),
    ]
    await shop.ended("l-kept", "release")
    await assert_stock_adds_up(shop.deployment.engine)
    assert await shop.deployment.failed_runs() == []
