"""Both clients against a running Holdfast."""

import asyncio
import uuid
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from api.app import create_app
from core.settings import Settings
from holdfast_client import (
    AsyncInventoryAuthorityClient,
    AuthenticationError,
    CheckoutItem,
    CheckoutRefusedError,
    ExceededLimit,
    Hold,
    HoldExistsError,
    HoldExtendLimitError,
    HoldNotActiveError,
    HoldNotFoundError,
    HoldStatus,
    IdempotencyConflictError,
    InsufficientStockError,
    InvalidRequestError,
    InventoryBusyError,
    InventoryUnavailableError,
    Item,
    LimitExceededError,
    Mode,
    NotHeld,
    PaymentNotMadeError,
    PaymentOpenError,
    ShortItem,
    Validated,
)
from tests.api.asking import locked
from tests.client.conftest import Connect
from tests.paying import Shop
from tests.payments.own_payments import own_intent
from tests.stack import SHOP, environment, serving
from tests.waiting import until

PAID = "https://shop.example/paid"


def fresh(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex}"


def priced(corner: Shop, quantity: int = 1) -> CheckoutItem:
    return CheckoutItem(sku=corner.item, quantity=quantity, name="T-shirt", unit_amount=1999, currency="eur")


async def held(holdfast: AsyncInventoryAuthorityClient, corner: Shop, quantity: int = 1, **fields: str) -> Hold:
    hold = await holdfast.create_hold(
        SHOP, [Item(corner.item, quantity)], hold_id=fields.get("hold_id"), reference=fields.get("reference")
    )
    assert isinstance(hold, Hold)
    return hold


async def test_health_is_returned(holdfast: AsyncInventoryAuthorityClient) -> None:
    async def is_known() -> bool:
        return (await holdfast.health_check()).status == "ok"

    await until(is_known, "the API knows of the worker")
    health = await holdfast.health_check()
    assert (health.status, health.mode, health.bypassed) == ("ok", Mode.RESERVE_TTL, False)
    assert {check.status for check in health.checks.values()} == {"ok"}


async def test_a_cart_is_held_extended_and_sold(holdfast: AsyncInventoryAuthorityClient, corner: Shop) -> None:
    items = [Item(corner.item, 2), Item(corner.item, 1)]
    assert await holdfast.validate(SHOP, items) == Validated(bypassed=False)
    hold = await holdfast.create_hold(SHOP, items, ttl_seconds=600, reference=fresh("order"))
    assert isinstance(hold, Hold)
    assert hold.items == (Item(corner.item, 3),)
    assert (hold.expires_at - hold.created_at).total_seconds() == 600
    longer = await holdfast.extend(SHOP, hold.hold_id, 60)
    assert (longer.expires_at - hold.expires_at).total_seconds() == 60
    sold = await holdfast.commit(SHOP, hold.hold_id, reason="paid")
    assert (sold.status, sold.reason) == (HoldStatus.COMMITTED, "paid")
    assert await holdfast.commit(SHOP, hold.hold_id) == await holdfast.get_hold(SHOP, hold.hold_id) == sold
    assert await corner.stock() == (7, 0)
    with pytest.raises(HoldNotActiveError) as refused:
        await holdfast.release(SHOP, hold.hold_id)
    assert (refused.value.status, refused.value.hold_id) == ("committed", hold.hold_id)


async def test_a_hold_is_released(holdfast: AsyncInventoryAuthorityClient, corner: Shop) -> None:
    hold = await held(holdfast, corner)
    ended = await holdfast.release(SHOP, hold.hold_id, reason="changed their mind")
    assert (ended.status, ended.reason, ended.ending) == (HoldStatus.RELEASED, "changed their mind", None)
    assert await corner.stock() == (10, 0)
    with pytest.raises(HoldNotActiveError):
        await holdfast.commit(SHOP, hold.hold_id)


async def test_every_short_item_is_named(holdfast: AsyncInventoryAuthorityClient, corner: Shop) -> None:
    for call in (holdfast.validate, holdfast.create_hold):
        with pytest.raises(InsufficientStockError) as short:
            await call(SHOP, [Item(corner.item, 11), Item("UNKNOWN", 1, "size:M")])
        assert set(short.value.items) == {
            ShortItem(corner.item, "", 11, 10, "insufficient"),
            ShortItem("UNKNOWN", "size:M", 1, 0, "unknown_item"),
        }


async def test_the_shoppers_own_hold_does_not_sell_the_cart_out(
    holdfast: AsyncInventoryAuthorityClient, corner: Shop
) -> None:
    reference = fresh("cart")
    hold = await held(holdfast, corner, quantity=10, reference=reference)
    with pytest.raises(InsufficientStockError):
        await holdfast.validate(SHOP, [Item(corner.item, 10)])
    await holdfast.validate(SHOP, [Item(corner.item, 10)], reference=reference)
    await holdfast.validate(SHOP, [Item(corner.item, 10)], hold_id=hold.hold_id)


async def test_a_key_holds_once_and_is_rejected_for_another_cart(
    holdfast: AsyncInventoryAuthorityClient, corner: Shop
) -> None:
    key = fresh("key ü")
    repeated = [holdfast.create_hold(SHOP, [Item(corner.item, 1)], idempotency_key=key) for _ in range(3)]
    holds = await asyncio.gather(*repeated)
    assert len({hold.hold_id for hold in holds}) == 1
    assert await corner.stock() == (9, 1)
    with pytest.raises(IdempotencyConflictError):
        await holdfast.create_hold(SHOP, [Item(corner.item, 2)], idempotency_key=key)


async def test_the_key_of_a_released_hold_does_not_create_another(
    holdfast: AsyncInventoryAuthorityClient, corner: Shop
) -> None:
    sold, released = [await held(holdfast, corner, hold_id=fresh("h")) for _ in range(2)]
    await holdfast.commit(SHOP, sold.hold_id)
    await holdfast.release(SHOP, released.hold_id)
    assert (await held(holdfast, corner, hold_id=sold.hold_id)).status is HoldStatus.COMMITTED
    with pytest.raises(HoldNotActiveError) as refused:
        await held(holdfast, corner, hold_id=released.hold_id)
    assert refused.value.status == "released"


async def test_a_reference_has_one_active_hold_and_replace_releases_it(
    holdfast: AsyncInventoryAuthorityClient, corner: Shop
) -> None:
    order, cart = fresh("order"), [Item(corner.item, 10)]
    first = await holdfast.create_hold(SHOP, cart, reference=order)
    with pytest.raises(HoldExistsError) as refused:
        await holdfast.create_hold(SHOP, cart, reference=order)
    assert refused.value.existing_hold_id == first.hold_id != refused.value.hold_id
    second = await holdfast.create_hold(SHOP, cart, reference=order, replace=True)
    assert isinstance(second, Hold)
    assert (await holdfast.get_hold(SHOP, str(first.hold_id))).status is HoldStatus.RELEASED


async def test_each_rejection_raises_its_own_error(
    holdfast: AsyncInventoryAuthorityClient, corner: Shop, connect: Connect
) -> None:
    hold = await held(holdfast, corner)
    with pytest.raises(HoldNotFoundError):
        await holdfast.get_hold(SHOP, "nowhere")
    with pytest.raises(HoldExtendLimitError):
        await _extend_until_rejected(holdfast, hold)
    with pytest.raises(InvalidRequestError) as wrong:
        await holdfast.create_hold(SHOP, [Item(corner.item, 0)], ttl_seconds=7)
    assert {problem.field for problem in wrong.value.fields} == {"items[0].quantity", "ttlSeconds"}
    async with connect(corner.stack.url, token="x" * 40) as unauthorized:
        with pytest.raises(AuthenticationError):
            await unauthorized.validate(SHOP, [Item(corner.item, 1)])


async def _extend_until_rejected(holdfast: AsyncInventoryAuthorityClient, hold: Hold) -> None:
    while True:
        await holdfast.extend(SHOP, hold.hold_id, 3600)


async def test_locked_rows_raise_busy_with_the_time_to_wait(connect: Connect, corner: Shop) -> None:
    async with locked(corner.stack, corner.item), connect(corner.stack.url, seconds=8) as client:
        with pytest.raises(InventoryBusyError) as busy:
            await client.create_hold(SHOP, [Item(corner.item, 1)])
    assert busy.value.retry_after == 0.25
    assert await corner.stock() == (10, 0)


async def test_a_paid_checkout_session_commits_its_hold(holdfast: AsyncInventoryAuthorityClient, corner: Shop) -> None:
    key = fresh("attempt")
    pages = [
        await holdfast.create_checkout_session(SHOP, [priced(corner)], success_url=PAID, idempotency_key=key)
        for _ in range(2)
    ]
    assert pages[0] == pages[1]
    assert (pages[0].url or "").startswith(corner.stripe.url)
    assert pages[0].hold_id
    await corner.pay(str(pages[0].checkout_session_id))
    await corner.until_status(pages[0].hold_id, "committed")
    paid = await holdfast.create_checkout_session(SHOP, [priced(corner)], success_url=PAID, idempotency_key=key)
    assert (paid.status, paid.url) == (HoldStatus.COMMITTED, None)


async def test_a_checkout_session_needs_stock_and_stripes_consent(
    holdfast: AsyncInventoryAuthorityClient, corner: Shop
) -> None:
    with pytest.raises(InsufficientStockError):
        await holdfast.create_checkout_session(SHOP, [priced(corner, 11)], success_url=PAID)
    unknown = CheckoutItem(sku=corner.item, quantity=1, price="price_unknown")
    with pytest.raises(CheckoutRefusedError) as refused:
        await holdfast.create_checkout_session(SHOP, [unknown], success_url=PAID)
    await corner.until_status(str(refused.value.hold_id), "released")
    assert await corner.stock() == (10, 0)


@pytest.mark.parametrize(
    ("changes", "bypassed"),
    [({"INVENTORY_MODE": "validate_only"}, False), ({"SKIP_INVENTORY_VALIDATION": "1"}, True)],
)
async def test_the_mode_and_bypass_of_holdfast_are_returned(
    connect: Connect, corner: Shop, changes: dict[str, str], *, bypassed: bool
) -> None:
    payments = {"STRIPE_API_KEY": "sk_test_simulated", "STRIPE_API_BASE": corner.stripe.url}
    database = corner.stack.settings.database_url.get_secret_value()
    settings = Settings.read(environment(database, **payments, **changes))
    mode = Mode(settings.mode)
    app = create_app(settings, task_queue=corner.stack.task_queue, registry=CollectorRegistry())
    async with serving(app) as url, connect(f"{url}/api/inventory/") as holdfast:
        not_held = await holdfast.create_hold(SHOP, [Item(corner.item, 1)])
        assert not_held == NotHeld(mode=mode, bypassed=bypassed)
        page = await holdfast.create_checkout_session(SHOP, [priced(corner)], success_url=PAID)
        assert (page.hold_id, page.bypassed, page.mode) == (None, bypassed, mode)
        assert (page.url or "").startswith(corner.stripe.url)
        assert await holdfast.validate(SHOP, [Item(corner.item, 1)]) == Validated(bypassed=bypassed)
        assert (await holdfast.health_check()).status == ("degraded" if bypassed else "ok")
    assert await corner.stock() == (10, 0)


async def test_holdfast_without_its_database_is_unavailable(connect: Connect, corner: Shop) -> None:
    settings = Settings.read(environment("postgresql://postgres@127.0.0.1:9/none"))
    app = create_app(settings, task_queue=corner.stack.task_queue, registry=CollectorRegistry())
    async with serving(app) as url, connect(url, seconds=2) as holdfast:
        with pytest.raises(InventoryUnavailableError) as unavailable:
            await holdfast.create_hold(SHOP, [Item(corner.item, 1)])
        assert unavailable.value.hold_id
        assert unavailable.value.idempotency_key
        with pytest.raises(InventoryUnavailableError):
            await holdfast.health_check()


async def test_a_hold_is_changed_and_paid_for_by_both_clients(
    holdfast: AsyncInventoryAuthorityClient, corner: Shop
) -> None:
    hold, key, wanted = await held(holdfast, corner, hold_id=fresh("hold")), fresh("key"), [Item(corner.item, 3)]
    for _ in range(2):
        changed = await holdfast.amend(SHOP, hold.hold_id, items=wanted, buyer="b-1", idempotency_key=key)
        assert (list(changed.items), changed.buyer, changed.revision) == (wanted, "b-1", 1)
    assert await holdfast.create_hold(SHOP, [Item(corner.item, 1)], hold_id=hold.hold_id) == replace(
        changed, closed_checkout_session_id=None
    )
    with pytest.raises(InsufficientStockError):
        await holdfast.amend(SHOP, hold.hold_id, items=[Item(corner.item, 11)])
    page = await holdfast.pay_for_hold(SHOP, hold.hold_id, [priced(corner, 2)], success_url=PAID)
    assert page.url is not None
    closed = await holdfast.amend(SHOP, hold.hold_id, items=[Item(corner.item, 1)])
    assert closed.closed_checkout_session_id == page.checkout_session_id
    await corner.stack.limit(corner.item, max_per_buyer=1)
    with pytest.raises(LimitExceededError) as refused:
        await holdfast.create_hold(SHOP, [Item(corner.item, 1)], buyer="b-1")
    assert refused.value.limits == (ExceededLimit("maxPerBuyer", 1, 1, 1, corner.item, ""),)
    await corner.stack.post(hold.hold_id, "payment", {"paymentIntentId": await own_intent(corner)})
    with pytest.raises(PaymentNotMadeError) as unpaid:
        await holdfast.commit(SHOP, hold.hold_id)
    assert unpaid.value.state == "open"
    with pytest.raises(PaymentOpenError):
        await holdfast.amend(SHOP, hold.hold_id, items=[Item(corner.item, 2)])
    assert (await holdfast.commit(SHOP, hold.hold_id, paid_elsewhere=True)).paid_elsewhere


async def test_a_part_of_a_hold_is_sold_and_the_hold_is_found(
    holdfast: AsyncInventoryAuthorityClient, corner: Shop
) -> None:
    order, metadata = fresh("order"), {"cart": "c-7"}
    lines = [Item(corner.item, 3)]
    hold = await holdfast.create_hold(SHOP, lines, reference=order, metadata=metadata, warn_before_seconds=60)
    assert isinstance(hold, Hold)
    assert (hold.metadata, hold.warn_before_seconds) == (metadata, 60)
    part = [Item(corner.item, 2)]
    for _ in range(2):
        sold = await holdfast.commit(SHOP, hold.hold_id, items=part)
        (result,) = sold.results
        assert (result.quantity, result.sold, result.given_back, result.restocked) == (3, 2, 1, 0)
    with pytest.raises(HoldNotActiveError) as other:
        await holdfast.commit(SHOP, hold.hold_id)
    assert other.value.status == HoldStatus.COMMITTED
    with pytest.raises(InvalidRequestError):
        await holdfast.commit(SHOP, hold.hold_id, items=[Item(corner.item, 4)])

    statuses = (HoldStatus.COMMITTED, HoldStatus.EXPIRED)
    page = await holdfast.find_holds(SHOP, reference=order, sku=corner.item, status=statuses, limit=1)
    assert (page.holds, page.cursor) == ((sold,), None)
    assert (await holdfast.find_holds(SHOP, created_to=hold.created_at, reference=order)).holds == ()
    story = await holdfast.get_order(SHOP, order)
    assert story.holds == (sold,)
    assert story.story["deliveries"] == []
