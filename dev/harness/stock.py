"""Stock and requests to hold it, straight on the database."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from domain.holds import Held, HoldStatus, Line, ReserveRequest
from inventory.settle import Settlement, settle

SHOP = "shop-1"

_PUT = """
WITH item AS (
  INSERT INTO "InventoryItem" ("shopId", sku, "variantKey", quantity) VALUES (%(shop)s, %(sku)s, %(variant)s, %(n)s)
)
INSERT INTO "InventoryMovement" ("shopId", sku, "variantKey", kind, delta, "onHand", actor)
VALUES (%(shop)s, %(sku)s, %(variant)s, 'count', %(n)s, %(n)s, 'test')
"""

_ITEM = (
    'SELECT quantity, held FROM "InventoryItem" WHERE "shopId" = %(shop)s AND sku = %(sku)s AND "variantKey" = %(v)s'
)

_WAITING = """
SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def put_item(engine: AsyncEngine, sku: str, on_hand: int, variant: str = "", shop: str = SHOP) -> None:
    """Create an item with that many units on hand."""
    await fetch(engine, _PUT, {"shop": shop, "sku": sku, "variant": variant, "n": on_hand})


async def stock_of(engine: AsyncEngine, sku: str, variant: str = "", shop: str = SHOP) -> tuple[int, int]:
    """Return the item's available and held units."""
    rows = await fetch(engine, _ITEM, {"shop": shop, "sku": sku, "v": variant})
    return rows[0]["quantity"], rows[0]["held"]


def request(
    hold_id: str, *lines: tuple[str, int] | Line, reference: str | None = None, shop: str = SHOP
) -> ReserveRequest:
    """Return a request for the lines, (sku, quantity) each, with a deadline in 20 minutes."""
    now = datetime.now(UTC)
    return ReserveRequest(
        shop_id=shop,
        hold_id=hold_id,
        lines=tuple(line if isinstance(line, Line) else Line(line[0], "", line[1]) for line in lines),
        created_at=now,
        expires_at=now + timedelta(minutes=20),
        reserve_before=now + timedelta(minutes=1),
        reference=reference,
        request_hash=None,
    )


def too_late(wanted: ReserveRequest) -> ReserveRequest:
    """Return the request with its time to reserve already over."""
    return replace(wanted, reserve_before=datetime.now(UTC) - timedelta(seconds=1))


async def end(
    engine: AsyncEngine,
    hold_id: str,
    to: HoldStatus,
    *,
    shop: str = SHOP,
    payment: str | None = None,
    sold: Sequence[Line] | None = None,
) -> Settlement | None:
    """Settle the hold with that status; of a commit, sell only `sold` if it is given."""
    return await settle(
        engine,
        shop_id=shop,
        hold_id=hold_id,
        to=to,
        reason="test",
        actor="tester",
        payment_intent_id=payment,
        sold=sold,
    )


async def until_waiting(engine: AsyncEngine, count: int) -> None:
    """Return when that many sessions of the database wait for a lock."""
    while (await fetch(engine, _WAITING, {}))[0]["n"] < count:
        await asyncio.sleep(0.005)


def is_new(outcome: object) -> bool:
    """Return whether this reserve made the hold."""
    return isinstance(outcome, Held) and outcome.created
