"""The calls that a shop can make: what is sent, and how its answer is read. No I/O."""

import logging
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

from holdfast_client import reading
from holdfast_client.answers import CheckoutItem, CheckoutSession, Health, Hold, Item, Mode, NotHeld, Validated
from holdfast_client.errors import FieldProblem, InvalidRequestError
from holdfast_client.exchange import Call, Known
from holdfast_client.fields import Fields
from holdfast_client.settings import Settings

_log = logging.getLogger("holdfast_client")
Answer = TypeVar("Answer")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LONGEST_KEY = 255
_MADE_OR_FOUND = frozenset({200, 201})


class Calls:
    """The calls of a client with these settings. What each says is what the client's method of that name does."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def health_check(self) -> Call[Health]:
        """Ask how Holdfast is, once: `ok`, or `degraded`, which still works.

        Raises InventoryUnavailableError where it cannot do its work, with what has failed.
        """
        return Call("GET", "/api/inventory/health", reading.health, repeat=False)

    def validate(self, shop_id: str, items: Iterable[Item]) -> Call[Validated] | Known[Validated]:
        """Ask whether the cart can be bought now. Nothing is held: two shoppers may both be told yes.

        Raises InsufficientStockError with every short item where it cannot.
        """
        if self.settings.bypass:
            return Known(Validated(bypassed=_unseen("validate", shop_id)))
        return self._look(shop_id, items, Validated)

    def create_hold(
        self,
        shop_id: str,
        items: Iterable[Item],
        *,
        ttl_seconds: int | None = None,
        hold_id: str | None = None,
        reference: str | None = None,
        replace: bool = False,
        idempotency_key: str | None = None,
    ) -> Call[Hold | NotHeld] | Known[Hold | NotHeld]:
        """Take the stock of every line, or of none, until the hold is committed, released or expires.

        Repeated with the same `hold_id` or `idempotency_key` it returns the hold that was made; where neither is given
        they are made up, and named by the error if there is no answer. What is returned is the shopper's: an active
        hold, or one that is sold already, or NotHeld where nothing is held by mode or bypass.

        `reference` is the order or cart, which has one active hold; with `replace` an earlier one makes way.
        Raises InsufficientStockError with every short item; HoldExistsError; HoldNotActiveError where the hold that
        was made with this key has ended; IdempotencyConflictError where it was used for something else.
        """
        wanted = list(items)
        if self.settings.bypass:
            return Known(NotHeld(mode=self.settings.mode, bypassed=_unseen("create_hold", shop_id)))
        if self.settings.mode is Mode.VALIDATE_ONLY:
            return self._look(shop_id, wanted, lambda bypassed: NotHeld(mode=Mode.VALIDATE_ONLY, bypassed=bypassed))
        hold_id, key = _identity(hold_id, idempotency_key)
        return Call(
            "POST",
            "/api/inventory/holds",
            partial(reading.held, shop_id=shop_id, hold_id=hold_id, asked=wanted),
            _MADE_OR_FOUND,
            _without_none(
                shopId=shop_id,
                items=[_line(item) for item in wanted],
                ttlSeconds=self.settings.ttl_seconds if ttl_seconds is None else ttl_seconds,
                holdId=hold_id,
                reference=reference,
                replace=replace,
            ),
            idempotency_key=key,
            hold_id=hold_id,
        )

    def get_hold(self, shop_id: str, hold_id: str) -> Call[Hold]:
        """Read the hold as the database has it. Raises HoldNotFoundError."""
        return Call(
            "GET", _path(shop_id, hold_id), partial(reading.hold, shop_id=shop_id, hold_id=hold_id), hold_id=hold_id
        )

    def commit(self, shop_id: str, hold_id: str, *, reason: str | None = None) -> Call[Hold]:
        """Sell the hold: its stock leaves the house. Of a committed hold it returns the same again.

        Raises HoldNotActiveError where it was released or has expired; HoldNotFoundError.
        """
        read = partial(reading.committed, shop_id=shop_id, hold_id=hold_id)
        return Call(
            "POST", _path(shop_id, hold_id, "/commit"), read, body=_without_none(reason=reason), hold_id=hold_id
        )

    def release(self, shop_id: str, hold_id: str, *, reason: str | None = None) -> Call[Hold]:
        """Give the hold's stock back. Of a released or expired hold it returns the same again.

        Where that takes longer than the call may, the hold is returned still active, with `ending` "release".
        Raises HoldNotActiveError where it is sold; HoldNotFoundError.
        """
        read = partial(reading.released, shop_id=shop_id, hold_id=hold_id)
        path, body = _path(shop_id, hold_id, "/release"), _without_none(reason=reason)
        return Call("POST", path, read, frozenset({200, 202}), body, hold_id=hold_id)

    def extend(self, shop_id: str, hold_id: str, ttl_seconds: int, *, idempotency_key: str | None = None) -> Call[Hold]:
        """Move the deadline by `ttl_seconds`, once for an `idempotency_key`, at most to the ceiling from its creation.

        Raises HoldExtendLimitError where nothing is gained; HoldNotActiveError where it has ended; HoldNotFoundError.
        """
        return Call(
            "POST",
            _path(shop_id, hold_id, "/extend"),
            partial(reading.extended, shop_id=shop_id, hold_id=hold_id),
            body={"ttlSeconds": ttl_seconds},
            idempotency_key=_key(idempotency_key),
            hold_id=hold_id,
        )

    def create_checkout_session(
        self,
        shop_id: str,
        items: Iterable[CheckoutItem],
        *,
        success_url: str,
        cancel_url: str | None = None,
        ttl_seconds: int | None = None,
        hold_id: str | None = None,
        reference: str | None = None,
        replace: bool = False,
        capture_method: Literal["automatic", "manual"] | None = None,
        payment_method_types: Sequence[str] | None = None,
        locale: str | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Call[CheckoutSession] | Known[CheckoutSession]:
        """Hold as `create_hold` does, and open a page of Stripe's to pay on.

        Under the shop's own bypass or `validate_only` no page is opened, and `url` is None. Raises what `create_hold`
        raises; CheckoutRefusedError where Stripe refuses such a page; PaymentsUnavailableError.
        """
        wanted = list(items)
        if self.settings.bypass:
            bypassed = _unseen("create_checkout_session", shop_id)
            return Known(CheckoutSession(shop_id=shop_id, mode=self.settings.mode, bypassed=bypassed))
        if (mode := self.settings.mode) is Mode.VALIDATE_ONLY:
            lines = [Item(item.sku, item.quantity, item.variant_key) for item in wanted]
            return self._look(
                shop_id, lines, lambda bypassed: CheckoutSession(shop_id=shop_id, mode=mode, bypassed=bypassed)
            )
        hold_id, key = _identity(hold_id, idempotency_key)
        return Call(
            "POST",
            "/api/checkout/sessions",
            partial(reading.checkout, shop_id=shop_id, hold_id=hold_id),
            _MADE_OR_FOUND,
            _without_none(
                shopId=shop_id,
                items=[_priced_line(item) for item in wanted],
                successUrl=success_url,
                cancelUrl=cancel_url,
                ttlSeconds=self.settings.ttl_seconds if ttl_seconds is None else ttl_seconds,
                holdId=hold_id,
                reference=reference,
                replace=replace,
                captureMethod=capture_method,
                paymentMethodTypes=None if payment_method_types is None else list(payment_method_types),
                locale=locale,
                metadata=None if metadata is None else dict(metadata),
            ),
            idempotency_key=key,
            hold_id=hold_id,
        )

    def _look(self, shop_id: str, items: Iterable[Item], answer: Callable[[bool], Answer]) -> Call[Answer]:
        def read(told: Fields) -> Answer:
            return answer(reading.validated(told).bypassed)

        return Call(
            "POST", "/api/inventory/validate", read, body={"shopId": shop_id, "items": [_line(item) for item in items]}
        )


def _unseen(call: str, shop_id: str) -> Literal[True]:
    _log.warning("SKIP_INVENTORY_VALIDATION is set: %s for shop %r is answered yes, unseen.", call, shop_id)
    return True


def _identity(hold_id: str | None, idempotency_key: str | None) -> tuple[str | None, str]:
    """Return by what a new hold is known. A key of the caller's determines the hold's id at Holdfast.

    Without either the id is made up here, so that it is known whatever becomes of the answer.
    """
    if hold_id is None and idempotency_key is None:
        hold_id = f"h_{uuid.uuid4().hex}"
    return hold_id, _key(idempotency_key)


def _key(given: str | None) -> str:
    key = uuid.uuid4().hex if given is None else given
    if not (1 <= len(key) <= _LONGEST_KEY and key.isprintable() and key.strip() == key):
        raise _invalid("Idempotency-Key", f"must be 1 to {_LONGEST_KEY} printable characters")
    return key


def _path(shop_id: str, hold_id: str, verb: str = "") -> str:
    """Return the path of a hold. Raises InvalidRequestError for an id that would lead to another path."""
    for field, name in (("shopId", shop_id), ("holdId", hold_id)):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _invalid(field, "must be 1 to 128 letters, digits, '.', '_' or '-', the first a letter or a digit")
    return f"/api/inventory/holds/{shop_id}/{hold_id}{verb}"


def _invalid(field: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(f"{field}: {message}", (FieldProblem(field, message),))


def _line(item: Item) -> dict[str, Any]:
    return {"sku": item.sku, "variantKey": item.variant_key, "quantity": item.quantity}


def _priced_line(item: CheckoutItem) -> dict[str, Any]:
    return _without_none(
        sku=item.sku,
        variantKey=item.variant_key,
        quantity=item.quantity,
        name=item.name,
        unitAmount=item.unit_amount,
        currency=item.currency,
        price=item.price,
    )


def _without_none(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {name: value for name, value in fields.items() if value is not None}
