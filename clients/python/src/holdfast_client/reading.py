"""What Holdfast's answers say, believed only where they answer what was asked."""

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

from holdfast_client.answers import (
    Check,
    CheckoutSession,
    Health,
    Hold,
    HoldStatus,
    Item,
    Mode,
    NotHeld,
    Validated,
)
from holdfast_client.errors import HoldNotActiveError, InventoryUnavailableError, MalformedAnswerError
from holdfast_client.fields import Fields

_log = logging.getLogger("holdfast_client")

_KEPT = {HoldStatus.ACTIVE, HoldStatus.COMMITTED}
GIVEN_BACK = {HoldStatus.RELEASED, HoldStatus.EXPIRED}


def health(told: Fields) -> Health:
    """Read how Holdfast is. Raises InventoryUnavailableError unless it can do its work."""
    status = told.text("status")
    if status not in ("ok", "degraded"):
        raise InventoryUnavailableError(f"Holdfast is {status[:40]!r}.")
    return Health(
        status="ok" if status == "ok" else "degraded",
        mode=told.choice("mode", Mode),
        bypassed=told.flag("bypassed"),
        version=told.text("version"),
        checks={
            name: Check(check.text("status"), check.optional(check.text, "detail"))
            for name, check in told.by_name("checks").items()
        },
    )


def validated(told: Fields) -> Validated:
    """Read that the cart can be bought."""
    if told.flag("ok") is not True:
        raise told.wrong("ok", "true")
    return Validated(_bypassed(told))


def hold(told: Fields, shop_id: str, hold_id: str | None) -> Hold:
    """Read a hold of the shop: this one, where it is known which."""
    ending: Literal["release"] | None = None
    if told.optional(told.text, "ending") is not None:
        told.exactly("ending", "release")
        ending = "release"
    return Hold(
        hold_id=_hold_id(told, hold_id),
        shop_id=told.exactly("shopId", shop_id),
        status=told.choice("status", HoldStatus),
        expires_at=told.time("expiresAt"),
        created_at=told.time("createdAt"),
        items=tuple(
            Item(item.text("sku"), item.number("quantity", 1), item.text("variantKey")) for item in told.each("items")
        ),
        reference=told.optional(told.text, "reference"),
        committed_at=told.optional(told.time, "committedAt"),
        released_at=told.optional(told.time, "releasedAt"),
        expired_at=told.optional(told.time, "expiredAt"),
        reason=told.optional(told.text, "reason"),
        checkout_session_id=told.optional(told.text, "checkoutSessionId"),
        payment_intent_id=told.optional(told.text, "paymentIntentId"),
        ending=ending,
    )


def held(told: Fields, shop_id: str, hold_id: str | None, asked: Iterable[Item]) -> Hold | NotHeld:
    """Read what became of a request to hold: these items are the shop's, or nothing was to be held."""
    if told.is_null("holdId"):
        return NotHeld(mode=told.choice("mode", Mode), bypassed=_without_hold(told))
    made = hold(told, shop_id, hold_id)
    if _demand(made.items) != _demand(asked):
        raise MalformedAnswerError("Holdfast's answer is a hold of other items than were asked for.")
    _kept(made.hold_id, made.status)
    return made


def committed(told: Fields, shop_id: str, hold_id: str) -> Hold:
    """Read a hold that is sold."""
    return _ended(hold(told, shop_id, hold_id), {HoldStatus.COMMITTED})


def released(told: Fields, shop_id: str, hold_id: str) -> Hold:
    """Read a hold that has been given back, or is certain to be."""
    ended = hold(told, shop_id, hold_id)
    return ended if ended.ending == "release" and ended.status is HoldStatus.ACTIVE else _ended(ended, GIVEN_BACK)


def extended(told: Fields, shop_id: str, hold_id: str) -> Hold:
    """Read a hold that lives longer. Raises HoldNotActiveError where it ended before this answer was made."""
    longer = hold(told, shop_id, hold_id)
    if longer.status is not HoldStatus.ACTIVE:
        raise HoldNotActiveError(f"The hold is {longer.status}.", longer.status)
    return longer


def checkout(told: Fields, shop_id: str, hold_id: str | None) -> CheckoutSession:
    """Read where to pay, and for which hold."""
    page = CheckoutSession(
        shop_id=told.exactly("shopId", shop_id),
        hold_id=None if told.is_null("holdId") else _hold_id(told, hold_id),
        checkout_session_id=told.optional(told.text, "checkoutSessionId"),
        url=told.optional(told.url, "url"),
        expires_at=told.time("expiresAt"),
        status=None if told.is_null("holdId") else told.choice("status", HoldStatus),
        mode=Mode(told.choice("mode", Mode)) if told.is_null("holdId") else None,
        bypassed=told.is_null("holdId") and _without_hold(told),
    )
    if page.hold_id is not None and page.status is not None:
        _kept(page.hold_id, page.status)
    elif page.url is None:
        raise told.wrong("url", "a web address")
    return page


def _hold_id(told: Fields, asked: str | None) -> str:
    hold_id = told.text("holdId") if asked is None else told.exactly("holdId", asked)
    if not hold_id:
        raise told.wrong("holdId", "an id")
    return hold_id


def _bypassed(told: Fields) -> bool:
    if told.flag("bypassed"):
        _log.warning("Holdfast answers yes without looking at the stock: its SKIP_INVENTORY_VALIDATION is set.")
        return True
    return False


def _without_hold(told: Fields) -> bool:
    """Return whether Holdfast is bypassed. Raises MalformedAnswerError where nothing says why nothing is held."""
    bypassed = _bypassed(told)
    if not bypassed and told.choice("mode", Mode) is not Mode.VALIDATE_ONLY:
        raise told.wrong("holdId", "there in this mode")
    return bypassed


def _kept(hold_id: str, status: HoldStatus) -> None:
    """Raise HoldNotActiveError where what was made under this key has ended: its stock is no longer the shopper's."""
    if status not in _KEPT:
        raise HoldNotActiveError(f"The hold {hold_id} that was made with this key is {status}; take a new key.", status)


def _ended(ended: Hold, allowed: set[HoldStatus]) -> Hold:
    if ended.status not in allowed:
        raise MalformedAnswerError(f"Holdfast's answer says yes to it, and that the hold is {ended.status}.")
    return ended


def _demand(items: Iterable[Item]) -> Counter[Any]:
    demand: Counter[Any] = Counter()
    for item in items:
        demand[item.sku, item.variant_key] += item.quantity
    return demand
