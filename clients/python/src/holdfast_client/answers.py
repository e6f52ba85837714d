"""Reads the JSON of successful answers. A wrong field, or an answer that does not fit the request, raises an error.

Unknown fields are ignored, so that answers may gain fields.
"""

import json
import logging
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar

from holdfast_client.errors import HoldNotActiveError, InventoryUnavailableError, MalformedAnswerError
from holdfast_client.models import (
    Check,
    CheckoutSession,
    Health,
    Hold,
    HoldPage,
    HoldStatus,
    Item,
    LineResult,
    Mode,
    NotHeld,
    Order,
    Validated,
)

MAX_BYTES = 1024 * 1024
"""Of an answer. The largest hold that a request of 256 KiB can create is shorter."""

Json: TypeAlias = dict[str, Any]
Value = TypeVar("Value")
_log = logging.getLogger("holdfast_client")


def parse(body: bytes | bytearray) -> Json:
    """Return the JSON object. Raises MalformedAnswerError if it is none, or longer than MAX_BYTES."""
    try:
        data = json.loads(body.decode()) if len(body) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise MalformedAnswerError(
            f"Holdfast's answer is not a JSON object of at most {MAX_BYTES} bytes: {body[:80]!r}"
        )
    return data


def field(data: Json, name: str, kind: type[Value]) -> Value:
    """Return the field, of a JSON type, an enumeration of strings, or a time with a zone (returned in UTC)."""
    value: Any = data.get(name)
    try:
        if issubclass(kind, StrEnum):
            return kind(value)
        if kind is datetime:
            value = datetime.fromisoformat(value or "")
            value = value.astimezone(UTC) if value.tzinfo is not None else None
    except (TypeError, ValueError, OverflowError):
        raise _invalid(data, name) from None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _invalid(data, name)
    return value


def optional(data: Json, name: str, kind: type[Value]) -> Value | None:
    """Return the field, or None if it is missing or null."""
    return None if data.get(name) is None else field(data, name, kind)


def objects(data: Json, name: str) -> list[Json]:
    """Return the objects of a list."""
    values = field(data, name, list)
    if not all(isinstance(value, dict) for value in values):
        raise _invalid(data, name)
    return values


def health(data: Json) -> Health:
    """Read a health report. Raises InventoryUnavailableError unless Holdfast works."""
    status, checks = field(data, "status", str), field(data, "checks", dict)
    if status not in ("ok", "degraded"):
        raise InventoryUnavailableError(f"Holdfast is {status[:40]!r}.")
    return Health(
        status="ok" if status == "ok" else "degraded",
        mode=field(data, "mode", Mode),
        bypassed=_bypassed(data),
        version=field(data, "version", str),
        checks={
            name: Check(field(check, "status", str), optional(check, "detail", str))
            for name, check in ((name, field(checks, name, dict)) for name in checks)
        },
    )


def validated(data: Json) -> Validated:
    """Read the answer to a validation, which has no other success than true."""
    if data.get("ok") is not True:
        raise _invalid(data, "ok")
    return Validated(_bypassed(data))


def hold(data: Json, shop_id: str, hold_id: str | None) -> Hold:
    """Read a hold of this shop, with this id unless that is None."""
    ending = optional(data, "ending", str)
    if ending not in (None, "release"):
        raise _invalid(data, "ending")
    return Hold(
        hold_id=_hold_id(data, hold_id),
        shop_id=_shop_id(data, shop_id),
        status=field(data, "status", HoldStatus),
        expires_at=field(data, "expiresAt", datetime),
        created_at=field(data, "createdAt", datetime),
        items=tuple(
            Item(field(item, "sku", str), field(item, "quantity", int), field(item, "variantKey", str))
            for item in objects(data, "items")
        ),
        reference=optional(data, "reference", str),
        committed_at=optional(data, "committedAt", datetime),
        released_at=optional(data, "releasedAt", datetime),
        expired_at=optional(data, "expiredAt", datetime),
        reason=optional(data, "reason", str),
        checkout_session_id=optional(data, "checkoutSessionId", str),
        payment_intent_id=optional(data, "paymentIntentId", str),
        ending="release" if ending else None,
        hold_token=optional(data, "holdToken", str),
        buyer=optional(data, "buyer", str),
        revision=optional(data, "revision", int) or 0,
        closed_checkout_session_id=optional(data, "closedCheckoutSessionId", str),
        metadata=_texts(data, "metadata"),
        warn_before_seconds=optional(data, "warnBeforeSeconds", int),
        archived_at=optional(data, "archivedAt", datetime),
        amount_total=optional(data, "amountTotal", int),
        currency=optional(data, "currency", str),
        paid_elsewhere=optional(data, "paidElsewhere", bool) or False,
        results=tuple(_line_result(item) for item in objects(data, "items") if "sold" in item),
    )


def hold_page(data: Json, shop_id: str) -> HoldPage:
    """Read a page of this shop's holds."""
    holds = tuple(hold(each, shop_id, None) for each in objects(data, "holds"))
    return HoldPage(holds=holds, cursor=optional(data, "nextCursor", str))


def order(data: Json, shop_id: str) -> Order:
    """Read an order of this shop."""
    stories = objects(data, "holds")
    return Order(holds=tuple(hold(field(each, "hold", dict), shop_id, None) for each in stories), story=data)


def _texts(data: Json, name: str) -> Mapping[str, str]:
    """Return the object of texts, {} if it is missing or null."""
    texts: Json = optional(data, name, dict) or {}
    if not all(isinstance(text, str) for text in texts.values()):
        raise _invalid(data, name)
    return texts


def _line_result(item: Json) -> LineResult:
    return LineResult(
        sku=field(item, "sku", str),
        variant_key=field(item, "variantKey", str),
        quantity=field(item, "quantity", int),
        sold=field(item, "sold", int),
        given_back=field(item, "givenBack", int),
        restocked=field(item, "restocked", int),
    )


def created(data: Json, shop_id: str, hold_id: str | None, requested: Iterable[Item]) -> Hold | NotHeld:
    """Read a created hold. Raises HoldNotActiveError if it was created earlier and has been given back."""
    if _has_no_hold(data):
        return NotHeld(mode=field(data, "mode", Mode), bypassed=_bypassed(data))
    created = hold(data, shop_id, hold_id)
    if created.revision == 0 and _quantities(created.items) != _quantities(requested):
        raise _invalid(data, "items")
    _raise_if_given_back(created.hold_id, created.status)
    return created


def committed(data: Json, shop_id: str, hold_id: str, items: Sequence[Item] | None = None) -> Hold:
    """Read a hold that must be committed, and of which exactly these items must be sold, if they are given."""
    committed = hold(data, shop_id, hold_id)
    if committed.status is not HoldStatus.COMMITTED:
        raise _invalid(data, "status")
    if items is not None:
        sold = Counter({(each.sku, each.variant_key): each.sold for each in committed.results})
        if +sold != _quantities(items):
            raise _invalid(data, "items")
    return committed


def released(data: Json, shop_id: str, hold_id: str) -> Hold:
    """Read a hold that must have been given back, or have its release recorded."""
    released = hold(data, shop_id, hold_id)
    if released.status is HoldStatus.COMMITTED or (released.status is HoldStatus.ACTIVE and not released.ending):
        raise _invalid(data, "status")
    return released


def extended(data: Json, shop_id: str, hold_id: str) -> Hold:
    """Read an extended hold. Raises HoldNotActiveError if it has ended since."""
    extended = hold(data, shop_id, hold_id)
    if extended.status is not HoldStatus.ACTIVE:
        raise HoldNotActiveError(f"The hold is {extended.status}.", extended.status)
    return extended


def checkout_session(data: Json, shop_id: str, hold_id: str | None) -> CheckoutSession:
    """Read a checkout session. Raises HoldNotActiveError if its hold was created earlier and has been given back."""
    url = optional(data, "url", str)
    if url is not None and not re.fullmatch(r"https?://[\x21-\x7e]+", url):
        raise _invalid(data, "url")
    no_hold, client_secret = _has_no_hold(data), optional(data, "clientSecret", str)
    if no_hold and url is None and client_secret is None:
        raise _invalid(data, "url")
    session = CheckoutSession(
        shop_id=_shop_id(data, shop_id),
        hold_id=None if no_hold else _hold_id(data, hold_id),
        checkout_session_id=optional(data, "checkoutSessionId", str),
        url=url,
        expires_at=field(data, "expiresAt", datetime),
        status=None if no_hold else field(data, "status", HoldStatus),
        mode=field(data, "mode", Mode) if no_hold else None,
        bypassed=no_hold and _bypassed(data),
        hold_token=optional(data, "holdToken", str),
        client_secret=client_secret,
        amount_total=optional(data, "amountTotal", int),
        currency=optional(data, "currency", str),
    )
    _raise_if_given_back(session.hold_id, session.status)
    return session


def _has_no_hold(data: Json) -> bool:
    """Return whether the answer is that no hold is made. Raises MalformedAnswerError if it does not say why."""
    if "holdId" not in data or data["holdId"] is not None:
        return False
    if not optional(data, "bypassed", bool) and field(data, "mode", Mode) is not Mode.VALIDATE_ONLY:
        raise _invalid(data, "holdId")
    return True


def _hold_id(data: Json, expected: str | None) -> str:
    hold_id = field(data, "holdId", str)
    if not hold_id or expected not in (None, hold_id):
        raise _invalid(data, "holdId")
    return hold_id


def _shop_id(data: Json, expected: str) -> str:
    if data.get("shopId") != expected:
        raise _invalid(data, "shopId")
    return expected


def _bypassed(data: Json) -> bool:
    bypassed = optional(data, "bypassed", bool) or False
    if bypassed:
        _log.warning("Holdfast does not check the stock: its SKIP_INVENTORY_VALIDATION is set.")
    return bypassed


def _raise_if_given_back(hold_id: str | None, status: HoldStatus | None) -> None:
    if status in (HoldStatus.RELEASED, HoldStatus.EXPIRED):
        raise HoldNotActiveError(f"Hold {hold_id} was created with this key and is {status}; use a new key.", status)


def _quantities(items: Iterable[Item]) -> Counter[tuple[str, str]]:
    quantities: Counter[tuple[str, str]] = Counter()
    for item in items:
        quantities[item.sku, item.variant_key] += item.quantity
    return quantities


def _invalid(data: Json, name: str) -> MalformedAnswerError:
    found = reprlib.repr(data[name]) if name in data else "missing"
    return MalformedAnswerError(f"The field {name} of Holdfast's answer is not valid: {found}.")
