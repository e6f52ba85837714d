"""Builds the request of each call and reads what came back. Nothing here does I/O.

The shop's own settings are applied here: a bypass answers a call without a request, and `validate_only` sends another.
"""

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote, urlencode

from holdfast_client import answers
from holdfast_client.answers import Json, parse
from holdfast_client.errors import InvalidRequestError, InventoryAuthorityError
from holdfast_client.failures import Failure, error_answer
from holdfast_client.models import (
    CheckoutItem,
    CheckoutSession,
    ExtraLine,
    FieldProblem,
    Health,
    Hold,
    HoldPage,
    Item,
    Mode,
    NotHeld,
    Order,
    Priced,
    Validated,
)
from holdfast_client.settings import Settings

Answer = TypeVar("Answer")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MAX_KEY = 255  # characters
_OK = frozenset({200})
_CREATED_OR_FOUND = frozenset({200, 201})
_OK_OR_RECORDED = frozenset({200, 202})


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """A request and the reader of its answer. Every request can be repeated: it reads, or is idempotent."""

    method: str
    path: str
    read: Callable[[Json], Answer]
    """Raises an InventoryAuthorityError if the answer does not fit the request."""
    body: Json | None = None
    success: frozenset[int] = _OK
    hold_id: str | None = None
    idempotency_key: str | None = None
    repeat: bool = True
    known_answer: Answer | None = None
    """The answer of a call that sends no request."""
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Of all attempts of the call, for the log of Holdfast."""

    def content(self) -> bytes | None:
        """Return the request's body. Raises InvalidRequestError if an argument is not valid in JSON."""
        try:
            return None if self.body is None else json.dumps(self.body, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequestError(f"The request is not valid JSON: {error}.") from error

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers of this request, beside those of every request."""
        headers = [(b"X-Request-ID", self.request_id.encode())]
        if self.body is not None:
            headers.append((b"Content-Type", b"application/json"))
        if self.idempotency_key is not None:
            headers.append((b"Idempotency-Key", self.idempotency_key.encode()))
        return headers

    def outcome(self, status: int, headers: Mapping[str, str], body: bytes | bytearray) -> Answer | Failure:
        """Return the answer, or why there is none."""
        if status in self.success:
            try:
                return self.read(parse(body))
            except InventoryAuthorityError as error:
                failure = Failure(error)
        else:
            failure = error_answer(status, headers, body)
        failure.error.request_id = headers.get("X-Request-ID")  # a proxy may have replaced the id
        return failure

    def error(self, failure: Failure) -> InventoryAuthorityError:
        """Return the error to raise, with the ids that the caller needs to repeat the call."""
        failure.error.hold_id = self.hold_id or failure.error.hold_id
        failure.error.idempotency_key = self.idempotency_key
        failure.error.request_id = failure.error.request_id or self.request_id
        return failure.error


def common_headers(token: str) -> dict[str, str]:
    """Return the headers of every request. A small compressed answer could expand to a huge one."""
    return {"Authorization": f"Bearer {token}", "Accept": "application/json", "Accept-Encoding": "identity"}


def health_check() -> Call[Health]:
    """Build the call for the health of Holdfast, the only one that is not repeated."""
    return Call("GET", "/api/inventory/health", answers.health, repeat=False)


def validate(
    settings: Settings, shop_id: str, items: Iterable[Item], *, hold_id: str | None, reference: str | None
) -> Call[Validated]:
    """Build the call that checks a cart."""
    if settings.bypasses("validate", shop_id):
        return _bypassed(Validated(bypassed=True))
    return _validation(shop_id, items, answers.validated, holdId=hold_id, reference=reference)


def create_hold(
    settings: Settings,
    shop_id: str,
    items: Iterable[Item],
    *,
    ttl_seconds: int | None,
    hold_id: str | None,
    reference: str | None,
    replace: bool,
    browser_extensions: int,
    buyer: str | None,
    metadata: Mapping[str, str] | None,
    warn_before_seconds: int | None,
    idempotency_key: str | None,
) -> Call[Hold | NotHeld]:
    """Build the call that holds a cart."""
    if settings.bypasses("create_hold", shop_id):
        return _bypassed(NotHeld(mode=settings.mode, bypassed=True))
    if settings.mode is Mode.VALIDATE_ONLY:
        return _validation(
            shop_id, items, lambda data: NotHeld(mode=Mode.VALIDATE_ONLY, bypassed=answers.validated(data).bypassed)
        )
    requested, (hold_id, key) = list(items), _identity(hold_id, idempotency_key)
    body = _without_none(
        shopId=shop_id,
        items=[_line(item) for item in requested],
        holdId=hold_id,
        ttlSeconds=settings.ttl_seconds if ttl_seconds is None else ttl_seconds,
        reference=reference,
        replace=replace,
        browserExtensions=browser_extensions or None,
        buyer=buyer,
        metadata=None if metadata is None else dict(metadata),
        warnBeforeSeconds=warn_before_seconds,
    )
    read = partial(answers.created, shop_id=shop_id, hold_id=hold_id, requested=requested)
    return Call("POST", "/api/inventory/holds", read, body, _CREATED_OR_FOUND, hold_id, key)


def create_checkout_session(
    settings: Settings,
    shop_id: str,
    items: Iterable[CheckoutItem],
    *,
    success_url: str | None,
    cancel_url: str | None,
    extra_lines: Iterable[ExtraLine],
    stripe: Mapping[str, Any] | None,
    ttl_seconds: int | None,
    hold_id: str | None,
    reference: str | None,
    replace: bool,
    browser_extensions: int,
    capture_method: Literal["automatic", "manual"] | None,
    payment_method_types: Sequence[str] | None,
    locale: str | None,
    metadata: Mapping[str, str] | None,
    buyer: str | None,
    idempotency_key: str | None,
) -> Call[CheckoutSession]:
    """Build the call that holds a cart and opens a checkout session."""
    if settings.bypasses("create_checkout_session", shop_id):
        return _bypassed(CheckoutSession(shop_id=shop_id, mode=settings.mode, bypassed=True))
    if settings.mode is Mode.VALIDATE_ONLY:
        return _validation(
            shop_id,
            items,
            lambda data: CheckoutSession(
                shop_id=shop_id, mode=Mode.VALIDATE_ONLY, bypassed=answers.validated(data).bypassed
            ),
        )
    hold_id, key = _identity(hold_id, idempotency_key)
    body = _without_none(
        shopId=shop_id,
        items=[_priced_line(item) for item in items],
        extraLines=[{"quantity": line.quantity, **_price(line)} for line in extra_lines] or None,
        stripe=None if stripe is None else dict(stripe),
        holdId=hold_id,
        successUrl=success_url,
        cancelUrl=cancel_url,
        ttlSeconds=settings.ttl_seconds if ttl_seconds is None else ttl_seconds,
        reference=reference,
        replace=replace,
        browserExtensions=browser_extensions or None,
        captureMethod=capture_method,
        paymentMethodTypes=None if payment_method_types is None else list(payment_method_types),
        locale=locale,
        metadata=None if metadata is None else dict(metadata),
        buyer=buyer,
    )
    read = partial(answers.checkout_session, shop_id=shop_id, hold_id=hold_id)
    return Call("POST", "/api/checkout/sessions", read, body, _CREATED_OR_FOUND, hold_id, key)


def get_hold(shop_id: str, hold_id: str) -> Call[Hold]:
    """Build the call that reads a hold."""
    read = partial(answers.hold, shop_id=shop_id, hold_id=hold_id)
    return Call("GET", _path(shop_id, hold_id), read, hold_id=hold_id)


def find_holds(shop_id: str, filters: Mapping[str, str | int | datetime | Sequence[str] | None]) -> Call[HoldPage]:
    """Build the call that reads a page of holds. `filters` are by the names of the query."""
    given = {"shopId": shop_id} | {name: _text(name, value) for name, value in filters.items() if value is not None}
    query = urlencode(given)
    return Call("GET", f"/api/inventory/holds?{query}", partial(answers.hold_page, shop_id=shop_id))


def get_order(shop_id: str, reference: str) -> Call[Order]:
    """Build the call that reads an order's story."""
    _path(shop_id, "any")  # raises for a shop that would lead to another path
    path = f"/api/inventory/orders/{shop_id}/{quote(reference, safe='')}"
    return Call("GET", path, partial(answers.order, shop_id=shop_id))


def _text(name: str, value: str | int | datetime | Sequence[str]) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise _invalid(name, "must have a timezone")
        return value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else ",".join(value)


def commit(
    shop_id: str, hold_id: str, reason: str | None, items: Iterable[Item] | None, *, paid_elsewhere: bool
) -> Call[Hold]:
    """Build the call that sells a hold, or some of its units."""
    sold = None if items is None else list(items)
    read = partial(answers.committed, shop_id=shop_id, hold_id=hold_id, items=sold)
    lines = None if sold is None else [_line(item) for item in sold]
    body = _without_none(reason=reason, items=lines, paidElsewhere=paid_elsewhere or None)
    return Call("POST", _path(shop_id, hold_id, "/commit"), read, body, hold_id=hold_id)


def release(shop_id: str, hold_id: str, reason: str | None) -> Call[Hold]:
    """Build the call that gives a hold's units back."""
    read, body = partial(answers.released, shop_id=shop_id, hold_id=hold_id), _without_none(reason=reason)
    return Call("POST", _path(shop_id, hold_id, "/release"), read, body, _OK_OR_RECORDED, hold_id)


def extend(shop_id: str, hold_id: str, ttl_seconds: int, idempotency_key: str | None) -> Call[Hold]:
    """Build the call that extends a hold's time to live."""
    read, key = partial(answers.extended, shop_id=shop_id, hold_id=hold_id), _key(idempotency_key)
    return Call("POST", _path(shop_id, hold_id, "/extend"), read, {"ttlSeconds": ttl_seconds}, _OK, hold_id, key)


def amend(
    shop_id: str,
    hold_id: str,
    *,
    items: Iterable[Item] | None,
    reference: str | None,
    ttl_seconds: int | None,
    buyer: str | None,
    idempotency_key: str | None,
) -> Call[Hold]:
    """Build the call that changes a hold."""
    body = _without_none(
        items=None if items is None else [_line(item) for item in items],
        reference=reference,
        ttlSeconds=ttl_seconds,
        buyer=buyer,
    )
    read = partial(answers.hold, shop_id=shop_id, hold_id=hold_id)
    return Call("PATCH", _path(shop_id, hold_id), read, body, _OK, hold_id, _key(idempotency_key))


def pay_for_hold(
    shop_id: str,
    hold_id: str,
    items: Iterable[CheckoutItem],
    *,
    success_url: str | None,
    cancel_url: str | None,
    extra_lines: Iterable[ExtraLine],
    stripe: Mapping[str, Any] | None,
    capture_method: Literal["automatic", "manual"] | None,
    payment_method_types: Sequence[str] | None,
    locale: str | None,
    metadata: Mapping[str, str] | None,
    idempotency_key: str | None,
) -> Call[CheckoutSession]:
    """Build the call that opens a checkout session for an existing hold."""
    body = _without_none(
        items=[_priced_line(item) for item in items],
        extraLines=[{"quantity": line.quantity, **_price(line)} for line in extra_lines] or None,
        stripe=None if stripe is None else dict(stripe),
        successUrl=success_url,
        cancelUrl=cancel_url,
        captureMethod=capture_method,
        paymentMethodTypes=None if payment_method_types is None else list(payment_method_types),
        locale=locale,
        metadata=None if metadata is None else dict(metadata),
    )
    read = partial(answers.checkout_session, shop_id=shop_id, hold_id=hold_id)
    path = _path(shop_id, hold_id, "/checkout")
    return Call("POST", path, read, body, _CREATED_OR_FOUND, hold_id, _key(idempotency_key))


def _validation(
    shop_id: str, items: Iterable[Item | CheckoutItem], read: Callable[[Json], Answer], **own_hold: str | None
) -> Call[Answer]:
    body = _without_none(shopId=shop_id, items=[_line(item) for item in items], **own_hold)
    return Call("POST", "/api/inventory/validate", read, body)


def _bypassed(answer: Answer) -> Call[Answer]:
    return Call("POST", "", lambda _: answer, known_answer=answer)


def _identity(hold_id: str | None, idempotency_key: str | None) -> tuple[str | None, str]:
    """Return the hold id and key of a create. The caller's key alone determines the hold's id at Holdfast."""
    if hold_id is None and idempotency_key is None:
        hold_id = f"h_{uuid.uuid4().hex}"  # so that it is known even without an answer
    return hold_id, _key(idempotency_key)


def _key(given: str | None) -> str:
    key = uuid.uuid4().hex if given is None else given
    if not (1 <= len(key) <= _MAX_KEY and key.isprintable() and key.strip() == key):
        raise _invalid("Idempotency-Key", f"must be 1 to {_MAX_KEY} printable characters")
    return key


def _path(shop_id: str, hold_id: str, action: str = "") -> str:
    """Return the path of a hold. Raises InvalidRequestError for an id that would lead to another path."""
    for named, name in (("shopId", shop_id), ("holdId", hold_id)):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _invalid(named, "must be 1 to 128 letters, digits, '.', '_' or '-', the first a letter or a digit")
    return f"/api/inventory/holds/{shop_id}/{hold_id}{action}"


def _invalid(field: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(f"{field}: {message}", (FieldProblem(field, message),))


def _line(item: Item | CheckoutItem) -> Json:
    return {"sku": item.sku, "variantKey": item.variant_key, "quantity": item.quantity}


def _priced_line(item: CheckoutItem) -> Json:
    return {**_line(item), **_price(item)}


def _price(line: Priced) -> Json:
    return _without_none(
        name=line.name,
        unitAmount=line.unit_amount,
        currency=line.currency,
        price=line.price,
        description=line.description,
        images=None if line.images is None else list(line.images),
        taxCode=line.tax_code,
        taxBehavior=line.tax_behavior,
        productData=None if line.product_data is None else dict(line.product_data),
    )


def _without_none(**fields: object) -> Json:
    return {name: value for name, value in fields.items() if value is not None}
