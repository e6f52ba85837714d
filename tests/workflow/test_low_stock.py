"""Low stock is alerted once by mail and by a signed POST for each shop, and of an item then not for a day."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from core.database import fetch
from core.signals import start_signal
from dev.harness.stock import end
from dev.postgres import EmbeddedPostgres
from domain.holds import HoldStatus
from holds.event_delivery import background_task_queue
from tests.receivers import SECRET, Mailbox, Receiver, mailbox, receiving
from tests.servers import database_on, own_time_skipping_temporal
from tests.stack import SHOP, Stack, running_stack
from tests.waiting import until
from workflows.deliveries import Fall, LowItem
from workflows.low_stock import LowStockAlertWorkflow
from workflows.low_stock_digest import LowStockDigestWorkflow, low_stock_digest_workflow_id

pytestmark = pytest.mark.usefixtures("prompt_relay")

THRESHOLD = 5
WINDOW = 600
DAY = 24 * 3600


@dataclass
class Alerting:
    """The product with a mailbox and a receiver, and ten of an item that is low at five."""

    stack: Stack
    box: Mailbox
    receiver: Receiver
    environment: WorkflowEnvironment | None = None

    @property
    def run(self) -> WorkflowHandle[LowStockDigestWorkflow, None]:
        """The shop's workflow."""
        return self.stack.temporal.get_workflow_handle_for(
            LowStockDigestWorkflow.run, low_stock_digest_workflow_id(SHOP)
        )

    async def renew(self) -> None:
        """Make it as good as new for the next test: the shop's workflow, of either product, has ended."""
        with suppress(RPCError):  # it has ended by itself, or there was none
            await self.run.terminate()
        await self.stack.renew()
        self.box.forget()
        self.receiver.forget()
        await self.put(10)

    async def pass_time(self, seconds: float) -> None:
        assert self.environment is not None
        await self.environment.fast_forward(self.run, seconds)

    async def put(self, on_hand: int, threshold: int | None = THRESHOLD) -> None:
        item = {"sku": "TEE", "onHand": on_hand, "lowStockThreshold": threshold}
        answer = await self.stack.http.put("/api/inventory/items", json={"shopId": SHOP, "items": [item]})
        assert answer.status_code == 200, answer.text

    async def put_many(self, count: int, on_hand: int) -> None:
        items = [
            {
                "sku": f"SKU-{n:03}",
                "onHand": on_hand,
                "lowStockThreshold": THRESHOLD,
                "productId": "x",
                "name": f"Mug no. {n}",
            }
            for n in range(count)
        ]
        answer = await self.stack.http.put("/api/inventory/items", json={"shopId": SHOP, "items": items})
        assert answer.status_code == 200, answer.text

    async def noticed(self, count: int) -> None:
        """Return when that many falls were handed over to the workflow."""

        async def handed_over() -> bool:
            counted = self.stack.counted("inventory_low_stock") >= count
            return counted and await fetch(self.stack.engine, 'SELECT FROM "InventoryOutbox"', {}) == []

        await until(handed_over, f"{count} falls are handed over")


@asynccontextmanager
async def alerting_on(
    database: str, temporal: Client, environment: WorkflowEnvironment | None = None, *, window: int = 0
) -> AsyncIterator[Alerting]:
    """Run the product; unless a test is about the window, each fall is alerted at once."""
    async with (
        mailbox() as box,
        receiving() as receiver,
        running_stack(
            database,
            temporal,
            SMTP_URL=box.url,
            STOCK_ALERT_RECIPIENT="buyer@example.com, second@example.com",
            STOCK_ALERT_WINDOW_SECONDS=str(window),
            STOCK_ALERT_LINK="https://shop.example/{shopId}/low-stock",
            STOCK_ALERT_WEBHOOK_URL=receiver.url,
            STOCK_ALERT_WEBHOOK_SECRET=SECRET,
        ) as stack,
    ):
        product = Alerting(stack, box, receiver, environment)
        await product.put(10)
        yield product


@asynccontextmanager
async def own_temporal(*flags: str) -> AsyncIterator[WorkflowEnvironment]:
    """A server that skips time when it is told to, on which a shop's workflow is nobody else's."""
    async with own_time_skipping_temporal(*flags) as environment:
        with environment.with_time_skipping_disabled():
            yield environment


@pytest.fixture(scope="module")
async def environment() -> AsyncIterator[WorkflowEnvironment]:
    async with own_temporal() as environment:
        yield environment


@pytest.fixture(scope="module")
async def _alerting(
    postgres: EmbeddedPostgres, migrated_template: str, environment: WorkflowEnvironment
) -> AsyncIterator[Alerting]:
    with database_on(postgres, migrated_template) as database:
        async with alerting_on(database, environment.client, environment) as product:
            yield product


@pytest.fixture(scope="module")
async def _collecting(
    postgres: EmbeddedPostgres, migrated_template: str, environment: WorkflowEnvironment
) -> AsyncIterator[Alerting]:
    with database_on(postgres, migrated_template) as database:
        async with alerting_on(database, environment.client, environment, window=WINDOW) as product:
            yield product


@pytest.fixture
async def alerting(_alerting: Alerting) -> Alerting:
    """The product as new, which the tests of the module share."""
    await _alerting.renew()
    return _alerting


@pytest.fixture
async def collecting(_collecting: Alerting) -> Alerting:
    """The same of the product that collects alerts for ten minutes."""
    await _collecting.renew()
    return _collecting


async def test_many_items_that_fall_within_the_window_are_one_mail_one_post_and_one_workflow(
    collecting: Alerting,
) -> None:
    await collecting.put_many(166, on_hand=10)
    await collecting.put_many(166, on_hand=3)
    await collecting.noticed(166)
    await collecting.pass_time(WINDOW / 2)
    await collecting.stack.made(("TEE", 6))
    await collecting.noticed(167)
    assert collecting.box.mails == []

    await collecting.pass_time(WINDOW / 2)
    await collecting.box.until(1)
    await collecting.receiver.until(1)
    await collecting.pass_time(WINDOW)

    (mail,) = collecting.box.mails
    assert mail["Subject"] == "Low stock: 167 items in shop-1"
    text = mail.get_content()
    assert "- Mug no. 0 (SKU-000): 3 left (threshold 5)" in text
    assert "- TEE: 4 left (threshold 5), 6 more in open holds" in text
    assert "https://shop.example/shop-1/low-stock" in text
    (event,) = collecting.receiver.taken
    assert len(event["data"]["items"]) == 167
    assert event["data"]["items"][0]["name"] == "Mug no. 0"
    started: set[str] = set()

    async def found() -> set[str]:
        mine = f"TaskQueue = '{background_task_queue(collecting.stack.task_queue)}'"
        started.update([workflow.id async for workflow in collecting.stack.temporal.list_workflows(mine)])
        return started

    await until(found, "workflows are listed")
    assert {name for name in started if name.startswith("low-stock")} == {"low-stock-digest:shop-1"}


async def test_no_button_of_the_temporal_ui_loses_an_alert(collecting: Alerting) -> None:
    await collecting.put(4)
    await collecting.noticed(1)
    await collecting.run.signal(LowStockDigestWorkflow.fell, args=[])  # sent without data
    await collecting.run.cancel()

    await collecting.pass_time(WINDOW)
    await collecting.box.until(1)
    await collecting.pass_time(DAY + WINDOW)
    await collecting.run.result()


async def test_a_run_of_the_earlier_release_alerts_and_ends(alerting: Alerting) -> None:
    await alerting.put(4)
    await alerting.box.until(1)
    (event,) = await fetch(alerting.stack.engine, 'SELECT "lowStockAt" AS at FROM "InventoryItem"', {})
    fall = Fall("evt-1", 4, 0, THRESHOLD, event["at"], ["mail"])
    run = await alerting.stack.temporal.start_workflow(
        LowStockAlertWorkflow.run,
        LowItem(SHOP, "TEE", ""),
        id="low-stock:shop-1:TEE:",
        task_queue=background_task_queue(alerting.stack.task_queue),
        **start_signal(LowStockAlertWorkflow.fell, fall),
    )
    await alerting.box.until(2)
    assert alerting.environment is not None
    await alerting.environment.fast_forward(run, DAY + 60)
    await run.result()


async def test_a_hold_that_takes_an_item_to_its_threshold_sends_one_mail_and_one_signed_post(
    alerting: Alerting,
) -> None:
    await alerting.stack.made(("TEE", 4))
    await alerting.stack.made(("TEE", 1))
    await alerting.box.until(1)
    await alerting.receiver.until(1)

    (mail,) = alerting.box.mails
    assert mail["To"] == "buyer@example.com, second@example.com"
    assert mail["Subject"] == "Low stock: TEE in shop-1, 5 left"
    (event,) = alerting.receiver.taken
    assert event["type"] == "stock.low"
    assert event["data"] == {
        "shopId": SHOP,
        "sku": "TEE",
        "variantKey": "",
        "quantity": 5,
        "held": 5,
        "lowStockThreshold": 5,
        "items": [
            {"sku": "TEE", "variantKey": "", "name": "", "quantity": 5, "held": 5, "lowStockThreshold": 5},
        ],
        "unlisted": 0,
        "link": "https://shop.example/shop-1/low-stock",
    }


async def test_a_correction_by_count_alerts_too(alerting: Alerting) -> None:
    await alerting.put(3)
    await alerting.box.until(1)
    assert alerting.box.mails[0]["Subject"] == "Low stock: TEE in shop-1, 3 left"


async def test_a_correction_by_hand_in_sql_alerts_too(alerting: Alerting) -> None:
    await fetch(alerting.stack.engine, 'UPDATE "InventoryItem" SET quantity = 2', {})
    await alerting.box.until(1)


async def test_an_item_without_a_threshold_never_alerts(alerting: Alerting) -> None:
    await alerting.put(10, threshold=None)
    await alerting.stack.made(("TEE", 10))
    await alerting.put(10)
    await alerting.noticed(0)
    assert await fetch(alerting.stack.engine, 'SELECT FROM "InventoryOutbox"', {}) == []


async def test_an_item_that_was_put_low_alerts_when_it_falls_further(alerting: Alerting) -> None:
    await alerting.put(10, threshold=20)
    assert await fetch(alerting.stack.engine, 'SELECT FROM "InventoryOutbox"', {}) == []
    await alerting.stack.made(("TEE", 1))
    await alerting.box.until(1)


async def test_an_item_that_falls_again_within_a_day_alerts_once(alerting: Alerting) -> None:
    stack = alerting.stack
    for count in range(1, 4):
        hold = await stack.made(("TEE", 5))
        await alerting.noticed(count)
        await alerting.box.until(1)
        await alerting.receiver.until(1)
        await stack.post(hold["holdId"], "release")
    await alerting.pass_time(DAY - 60)

    assert (len(alerting.box.mails), len(alerting.receiver.taken)) == (1, 1)


async def test_after_a_day_an_item_that_has_recovered_is_forgotten_and_alerts_anew(alerting: Alerting) -> None:
    stack = alerting.stack
    hold = await stack.made(("TEE", 5))
    await alerting.box.until(1)
    await alerting.receiver.until(1)
    await stack.post(hold["holdId"], "release")
    await alerting.pass_time(DAY + 60)
    await alerting.run.result()

    await stack.made(("TEE", 5))
    await alerting.box.until(2)


async def test_an_item_that_stays_low_is_not_alerted_again(alerting: Alerting) -> None:
    await alerting.put(4)
    await alerting.box.until(1)
    await alerting.receiver.until(1)
    await alerting.stack.made(("TEE", 2))

    await alerting.pass_time(DAY + 60)
    await alerting.run.result()

    assert (len(alerting.box.mails), len(alerting.receiver.taken)) == (1, 1)


async def test_an_item_that_recovered_and_fell_within_the_day_is_alerted_at_its_end(alerting: Alerting) -> None:
    await alerting.put(4)
    await alerting.box.until(1)
    await alerting.receiver.until(1)
    await alerting.put(10)
    await alerting.put(2)
    await alerting.noticed(2)

    await alerting.pass_time(DAY + 60)
    await alerting.box.until(2)
    await alerting.receiver.until(2)

    assert alerting.box.mails[1]["Subject"] == "Low stock: TEE in shop-1, 2 left"


async def test_a_fall_that_has_recovered_by_the_end_of_the_day_is_not_alerted(alerting: Alerting) -> None:
    await alerting.put(4)
    await alerting.box.until(1)
    await alerting.receiver.until(1)
    await alerting.put(10)
    await alerting.put(2)
    await alerting.noticed(2)
    await alerting.put(10)

    await alerting.pass_time(DAY + 60)
    await alerting.run.result()

    assert len(alerting.box.mails) == 1


async def test_an_unavailable_mail_server_delays_no_hold_and_gets_its_mail_later(alerting: Alerting) -> None:
    alerting.box.answer = "451 not now"
    hold = await alerting.stack.made(("TEE", 6))
    assert (await alerting.stack.post(hold["holdId"], "commit")).json()["status"] == "committed"
    await alerting.receiver.until(1)  # the POST does not wait for the mail
    await until(lambda: alerting.box.attempts >= 2, "the mail is tried twice")
    assert alerting.box.mails == []

    alerting.box.answer = "250 OK"
    await alerting.box.until(1)
    assert alerting.stack.counted("inventory_alert_error") >= 2


async def test_a_fall_that_is_signalled_twice_is_alerted_once(alerting: Alerting) -> None:
    await alerting.put(4)
    await alerting.box.until(1)
    await alerting.receiver.until(1)
    (event_id,) = alerting.receiver.ids
    again = """
    INSERT INTO "InventoryOutbox" ("eventId", type, "shopId", sku, "variantKey", data, "createdAt")
    SELECT %(id)s::uuid, 'stock.low', 'shop-1', 'TEE', '', '{"quantity": 4, "held": 0, "threshold": 5}',
           "lowStockAt" - interval '1 second'  -- when the entry that was handed over before was written
    FROM "InventoryItem"
    """
    await fetch(alerting.stack.engine, again, {"id": event_id})
    await alerting.noticed(2)

    await alerting.pass_time(DAY + 60)
    await alerting.run.result()

    assert len(alerting.box.mails) == 1


async def test_many_falls_in_a_day_do_not_end_the_quiet_period(database: str) -> None:
    short = "--dynamic-config-value=limit.historyCount.suggestContinueAsNew=60"
    async with own_temporal(short) as environment, alerting_on(database, environment.client, environment) as alerting:
        await alerting.put(4)
        await alerting.box.until(1)
        first = (await alerting.run.describe()).run_id
        for count in range(2, 20):
            await alerting.put(10)
            await alerting.put(4)
            await alerting.noticed(count)
        while (described := await alerting.run.describe()).run_id == first:
            await asyncio.sleep(0.02)

        assert described.status is WorkflowExecutionStatus.RUNNING
        assert len(alerting.box.mails) == 1
        assert len(alerting.receiver.taken) == 1


async def test_a_release_is_no_fall_and_re_arms_the_item(alerting: Alerting) -> None:
    hold = await alerting.stack.made(("TEE", 5))
    await alerting.box.until(1)
    await end(alerting.stack.engine, hold["holdId"], HoldStatus.RELEASED)

    rows = await fetch(alerting.stack.engine, 'SELECT "lowStockAt" FROM "InventoryItem"', {})

    assert rows[0]["lowStockAt"] is None
