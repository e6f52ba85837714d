"""Record a history of each way that a hold or a late payment can go: `python -m tests.replay.record`.

Run it once for each released version of the workflows; histories of earlier versions stay and go on being replayed.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from prometheus_client import CollectorRegistry
from temporalio.client import Client, WorkflowHandle

from activities.payments import PaymentActivities
from activities.stock import StockActivities
from cli.migrate import migrate
from core.data_converter import data_converter
from core.database import create_engine
from core.metrics import Telemetry
from core.settings import Settings
from dev.postgres import EmbeddedPostgres
from dev.temporal import EmbeddedTemporal
from domain.holds import Line
from domain.payments import Payment
from inventory.counts import ItemCount, count_items
from payments.accounts import open_accounts
from payments.session_params import Order, PaidLine, session_params
from tests.simulated import API_KEY, Simulated, simulated
from tests.stack import SHOP, environment
from worker import make_worker
from workflows.hold import HoldWorkflow
from workflows.late_payment import LatePaymentWorkflow
from workflows.messages import (
    Amend,
    AmendAnswer,
    Attach,
    Cancel,
    Checkout,
    CheckoutAnswer,
    Commit,
    Extend,
    HoldInput,
    MakeWay,
    hold_workflow_id,
)
from workflows.payment_messages import (
    CheckoutOpened,
    CloseCase,
    LatePayment,
    PaymentFailed,
    PaymentProcessing,
    late_payment_workflow_id,
)

HISTORIES = Path(__file__).parent / "histories"
CARD, DEBIT = Payment("pi_card", "cs_1"), Payment("pi_debit", "cs_2")
UPDATES = {"commit", "commit_as_told", "release", "extend", "attach", "amend", "make_way"}


@dataclass
class Teller:
    """Tells one story: acts as callers, Stripe and shopper."""

    client: Client
    stripe: Simulated
    task_queue: str
    handle: WorkflowHandle[Any, Any]
    hold: HoldInput

    async def page(self) -> str:
        """Return the id of the hold's Checkout Session once it is open."""
        answer = await self.handle.execute_update("checkout_opened", result_type=CheckoutAnswer)
        assert isinstance(answer.checkout, CheckoutOpened)
        return answer.checkout.session_id

    async def paid_on_the_page(self, how: str = "card") -> Payment:
        """Let the shopper pay, and return the payment. Nobody tells the workflow of it."""
        session_id = await self.page()
        await self.stripe.control(f"/sessions/{session_id}/pay", how=how)
        return Payment((await self.stripe.books(session_id))["payment_intent"], session_id)

    async def paid(self) -> Payment:
        """Return a payment that no page made."""
        intent = await self.stripe.stripe.v1.payment_intents.create_async({"amount": 1999, "currency": "eur"})
        await self.stripe.control(f"/payment_intents/{intent.id}/pay", how="card")
        return Payment(intent.id)


Act = Callable[[Teller], Awaitable[object]]
Step = tuple[str, object] | Literal["look", "cancel the run"] | Act
STORIES: dict[str, tuple[HoldInput, list[Step]]] = {}
LATE: dict[str, Callable[[Teller], Awaitable[LatePayment]]] = {}


def _by_update(name: str, message: object) -> Act:
    """Return the step that sends the message of a signal by the update of the same name."""
    return lambda teller: teller.handle.execute_update(name, message)


def _story(
    name: str,
    *story: Step,
    sku: str = "TEE",
    ttl: int = 1200,
    window: int = 60_000,
    replaces: str | None = None,
    warn: int | None = None,
    **page: Any,
) -> None:
    lines = (Line(sku, "size:M", 2), Line("MUG", "", 1))
    checkout = None
    if page:
        order = Order(
            SHOP,
            name,
            [PaidLine(1, name="Cart", unit_amount=4900, currency="eur")],
            success_url="https://shop.example/paid",
            cancel_url=None,
            **page,
        )
        checkout = Checkout(session_params(order))
    hold = HoldInput(SHOP, name, lines, ttl, 3600, window, request_hash="hash", reference=f"order-{name}")
    STORIES[name] = replace(hold, checkout=checkout, replaces=replaces, warn_before_seconds=warn), list(story)


async def _pay_and_tell(teller: Teller) -> None:
    payment = await teller.paid_on_the_page()
    await teller.handle.signal(HoldWorkflow.payment_succeeded, payment)


async def _authorise_and_tell(teller: Teller) -> None:
    payment = await teller.paid_on_the_page()
    await teller.handle.signal(
        "payment_succeeded", Payment(payment.payment_intent_id, payment.session_id, needs_capture=True)
    )


async def _pay_in_silence(teller: Teller) -> None:
    await teller.paid_on_the_page()


async def _debit_that_fails(teller: Teller) -> None:
    payment = await teller.paid_on_the_page("debit")
    await teller.handle.signal(HoldWorkflow.payment_processing, PaymentProcessing(payment))
    await teller.handle.execute_update("extend", Extend(60))
    await teller.stripe.control(f"/payment_intents/{payment.payment_intent_id}/settle", ok=False)
    await teller.handle.signal(HoldWorkflow.cancel, Cancel("stripe", "checkout_session_async_payment_failed", payment))


async def _attach_own(teller: Teller) -> None:
    intent = await teller.stripe.stripe.v1.payment_intents.create_async({"amount": 1999, "currency": "eur"})
    await teller.handle.execute_update("attach", Attach(Payment(intent.id)))


def _amend(request_id: str, *lines: Line, page: str | None = None) -> Amend:
    price = PaidLine(1, name="Cart", unit_amount=1900, currency="eur")
    order = Order(SHOP, page or "", [price], success_url="https://shop.example/paid", cancel_url=None, page=request_id)
    checkout = None if page is None else Checkout(session_params(order))
    return Amend(request_id, request_id, "shop", lines=lines or None, checkout=checkout)


async def _pay_on_another_page(teller: Teller) -> None:
    await teller.page()
    request = _amend("another", Line("MUG", "", 3), page=teller.hold.hold_id)
    answer = await teller.handle.execute_update("amend", request, result_type=AmendAnswer)
    assert isinstance(answer.checkout, CheckoutOpened)
    await teller.stripe.control(f"/sessions/{answer.checkout.session_id}/pay", how="card")
    payment = Payment((await teller.stripe.books(answer.checkout.session_id))["payment_intent"], None)
    await teller.handle.signal(HoldWorkflow.payment_succeeded, payment)


async def _pay_for_the_old_cart(teller: Teller) -> None:
    page = await teller.page()
    await teller.handle.execute_update("amend", _amend("fewer", Line("MUG", "", 1)))
    await teller.stripe.control(f"/sessions/{page}/pay", how="card", late="expired")
    await teller.handle.signal(
        HoldWorkflow.payment_succeeded, Payment((await teller.stripe.books(page))["payment_intent"])
    )
    copy = (await teller.stripe.control(f"/sessions/{page}/recover"))["session"]
    await teller.stripe.control(f"/sessions/{copy}/pay", how="card")
    intent = (await teller.stripe.books(copy))["payment_intent"]
    await teller.handle.signal(HoldWorkflow.payment_succeeded, Payment(intent, copy, recovered_from=page))
    await teller.handle.query(HoldWorkflow.snapshot)


async def _paid_elsewhere(teller: Teller) -> None:
    await teller.page()
    await teller.handle.execute_update("commit_as_told", Commit("shop", paid_elsewhere=True))


async def _make_way(teller: Teller) -> None:
    await teller.page()
    await teller.handle.execute_update("make_way", MakeWay("way"))


_story(
    "amended",
    ("amend", _amend("fewer", Line("MUG", "", 1))),
    ("amend", Amend("longer", "longer", "shop", reference="order-other", buyer="b-1", ttl_seconds=3000)),
    ("amend", _amend("too-many", Line("MUG", "", 1000))),
    ("commit", Commit("shop")),
)
_story("amended-beside-a-page", ("amend", _amend("more", Line("MUG", "", 2))), ("release", Cancel("shop")), locale="de")
_story("paid-on-another-page", _pay_on_another_page, locale="de")
_story("paid-for-the-old-cart", _pay_for_the_old_cart, ("release", Cancel("shop")), locale="de")
_story("paid-elsewhere", _paid_elsewhere, locale="de")
_story("made-way", _make_way, ("release", Cancel("shop")), locale="de")
_story("takes-over", ("commit", Commit("shop")), replaces="nobody")
_story("committed", ("commit", Commit("shop")))
_story("sold-in-part", ("commit_as_told", Commit("shop", items=(Line("MUG", "", 1),))))
_story(
    "sold-in-part-then-paid",
    ("record_commit", Commit("shop", items=(Line("MUG", "", 1),))),
    ("payment_succeeded", CARD),
)
_story("warned-and-expired", ttl=3, warn=2)
_story("paid", ("payment_succeeded", CARD))
_story("paid-twice", ("payment_succeeded", CARD), ("payment_succeeded", DEBIT))  # both before the first task ends
_story("released", ("release", Cancel("shopper", "changed their mind")))
_story("cancelled", ("cancel", Cancel("stripe", "session expired", CARD)), ("cancel", Cancel("shopper")))
_story("cancelled-in-the-ui", "cancel the run")
_story("expired", ttl=1)
_story("looked-at-while-reserving", "look", ("commit", Commit("shop")))
_story("extended-and-committed", ("extend", Extend(600, "key")), ("extend", Extend(600)), ("commit", Commit("shop")))
_story(
    "processing-failed-and-released",
    ("payment_failed", PaymentFailed(CARD, "evt_1")),
    ("payment_processing", PaymentProcessing(DEBIT, 86_400)),
    ("cancel", Cancel("shopper")),
    ("cancel", Cancel("stripe", "payment failed", DEBIT)),
)
_story(
    "told-again-and-committed",  # looked at in between, so that each message has a task of its own
    "look",
    ("payment_processing", PaymentProcessing(DEBIT, 86_400)),
    "look",
    ("payment_processing", PaymentProcessing(DEBIT, 86_400)),
    "look",
    ("payment_processing", PaymentProcessing(DEBIT, 86_400)),
    "look",
    ("commit", Commit("shop")),
)
_story(
    "told-by-updates-and-paid",
    _by_update("payment_failed", PaymentFailed(CARD, "evt_1")),
    _by_update("payment_failed", PaymentFailed(CARD, "evt_2")),
    _by_update("payment_processing", PaymentProcessing(DEBIT, 86_400)),
    _by_update("payment_succeeded", CARD),
)
_story("rejected", sku="NONE")
_story("too-late", window=0)
_story("checkout-paid", _pay_and_tell, locale="de")
_story("checkout-captured", _authorise_and_tell, capture_method="manual")
_story("checkout-expired", ttl=1, locale="de")
_story("checkout-paid-in-silence", _pay_in_silence, ttl=2, locale="de")
_story("checkout-released", ("release", Cancel("shopper")), locale="de")
_story("checkout-debit-failed", _debit_that_fails, payment_method_types=["sepa_debit"])
_story("checkout-refused", payment_method_types=["barter"])
_story("attached-and-released", _attach_own, ("release", Cancel("shopper")))


def _late(name: str) -> Callable[[Callable[[Teller], Awaitable[LatePayment]]], None]:
    def keep(tell: Callable[[Teller], Awaitable[LatePayment]]) -> None:
        LATE[name] = tell

    return keep


@_late("late-reacquired")
async def _reacquired(teller: Teller) -> LatePayment:
    return LatePayment(SHOP, "expired", await teller.paid())


@_late("late-refunded")
async def _refunded(teller: Teller) -> LatePayment:
    return LatePayment(SHOP, "paid", await teller.paid())


@_late("late-closed-by-person")
async def _closed(teller: Teller) -> LatePayment:
    late = LatePayment(SHOP, "expired", Payment("pi_unknown"))
    handle = await teller.client.start_workflow(
        LatePaymentWorkflow.run, late, id=late_payment_workflow_id("pi_unknown"), task_queue=teller.task_queue
    )
    await handle.signal(LatePaymentWorkflow.close, CloseCase("Ann", "called the shopper"))
    return late


async def _tell(client: Client, stripe: Simulated, task_queue: str, hold: HoldInput, story: list[Step]) -> str:
    handle = await client.start_workflow(
        HoldWorkflow.run,
        hold,
        id=hold_workflow_id(hold.shop_id, hold.hold_id),
        task_queue=task_queue,
    )
    for step in story:
        if step == "look":
            await handle.query(HoldWorkflow.snapshot)  # while the reserve runs, it splits the first task in pieces
        elif step == "cancel the run":
            await handle.cancel()
        elif callable(step):
            await step(Teller(client, stripe, task_queue, handle, hold))
        elif step[0] in UPDATES:
            await handle.execute_update(*step)
        else:
            assert not isinstance(step, str)
            await handle.signal(*step)
    await handle.result()
    return (await handle.fetch_history()).to_json()


async def _tell_late(client: Client, stripe: Simulated, task_queue: str, name: str) -> str:
    hold, _ = STORIES["expired"]
    handle = client.get_workflow_handle(hold_workflow_id(SHOP, "expired"))
    late = await LATE[name](Teller(client, stripe, task_queue, handle, hold))
    case = client.get_workflow_handle(late_payment_workflow_id(late.payment.id))
    if late.payment.id != "pi_unknown":
        case = await client.start_workflow(LatePaymentWorkflow.run, late, id=case.id, task_queue=task_queue)
    await case.result()
    return (await case.fetch_history()).to_json()


def record(folder: Path) -> None:
    """Run every story on servers of their own and write its history, unless there is one already."""
    with tempfile.TemporaryDirectory() as scratch:
        postgres, temporal = EmbeddedPostgres(Path(scratch) / "pg"), EmbeddedTemporal(None, ui=False)
        postgres.start()
        temporal.start()
        try:
            migrate(postgres.url)
            histories = asyncio.run(_record_on(postgres.url, temporal.address))
        finally:
            temporal.stop()
            postgres.stop()
    folder.mkdir(parents=True, exist_ok=True)
    for name, history in histories.items():
        if not (file := folder / f"{name}.json").exists():
            file.write_text(history + "\n")


async def _record_on(database: str, address: str) -> dict[str, str]:
    async with simulated(seed=1) as stripe:
        payments = {"STRIPE_API_KEY": API_KEY, "STRIPE_API_BASE": stripe.url}
        return await _record_with(Settings.read(environment(database, **payments)), stripe, address)


async def _record_with(settings: Settings, stripe: Simulated, address: str) -> dict[str, str]:
    engine = create_engine(settings)
    counts = [ItemCount("TEE", "size:M", 100), ItemCount("MUG", "", 100)]
    await count_items(engine, SHOP, counts, actor="recorder")
    telemetry = Telemetry(CollectorRegistry())
    client = await Client.connect(address, data_converter=data_converter, identity="recorder")
    async with open_accounts(settings) as payment_accounts:
        stock, payments = StockActivities(engine, telemetry), PaymentActivities(engine, telemetry, payment_accounts)
        async with make_worker(client, stock, payments, task_queue="recording"):
            told = await asyncio.gather(
                *(_tell(client, stripe, "recording", hold, story) for hold, story in STORIES.values())
            )
            late = [await _tell_late(client, stripe, "recording", name) for name in LATE]
    await engine.dispose()
    return dict(zip([*STORIES, *LATE], [*told, *late], strict=True))


if __name__ == "__main__":
    record(HISTORIES / version("holdfast"))
