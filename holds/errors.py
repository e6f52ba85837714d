"""Every expected failure of a use case, in one tree. The API maps each to an answer, the command line to an exit code.

A database that is busy raises `core.database.DatabaseBusyError`; nothing was changed then.
"""

from collections.abc import Sequence

from domain.holds import Hold, HoldKey, HoldStatus, Line, ShortageReason, ShortItem
from domain.limits import ExceededLimit
from domain.payments import Payment


class HoldsError(Exception):
    """Base of all. The message is for people."""


class InsufficientStockError(HoldsError):
    """Fewer units are available than were requested."""

    def __init__(self, shop_id: str, items: Sequence[ShortItem], closed_session: str | None = None) -> None:
        sentences: dict[ShortageReason, str] = {
            "insufficient": "Not enough stock of {}.",
            "unknown_item": f"The shop {shop_id} has no item {{}}.",
            "retired": "No new hold can have {}.",
        }
        named = {reason: _names([item for item in items if item.reason == reason]) for reason in sentences}
        super().__init__(" ".join(sentences[reason].format(names) for reason, names in named.items() if names))
        self.shop_id = shop_id
        self.items = tuple(items)
        self.closed_session = closed_session
        """The page that was closed for the change before it was refused."""


def _names(items: Sequence[ShortItem]) -> str:
    names = ", ".join(f"{item.sku} {item.variant_key}".strip() for item in items[:5])
    return names + (" and others" if len(items) > 5 else "")  # noqa: PLR2004 - a readable sentence


class LimitExceededError(HoldsError):
    """The request would pass a limit of an order or of a buyer."""

    def __init__(self, shop_id: str, limits: Sequence[ExceededLimit], closed_session: str | None = None) -> None:
        super().__init__(" ".join(map(_limit_sentence, limits[:5])))
        self.shop_id = shop_id
        self.limits = tuple(limits)
        self.closed_session = closed_session
        """The page that was closed for the change before it was refused."""


def _limit_sentence(limit: ExceededLimit) -> str:
    item = f"{limit.sku} {limit.variant_key or ''}".strip()
    match limit.limit:
        case "maxPerOrder":
            return f"An order can have {limit.most} of {item}."
        case "maxPerBuyer":
            return f"A buyer can have {limit.most} of {item}; this one has {limit.has}."
        case "maxUnitsPerBuyer":
            return f"A buyer can have {limit.most} units; this one has {limit.has}."
        case "maxActiveHoldsPerBuyer":
            return f"A buyer can have {limit.most} active holds; this one has {limit.has}."


class HoldExistsError(HoldsError):
    """Another active hold of the shop has the reference."""

    def __init__(self, hold_id: str) -> None:
        super().__init__(f"The active hold {hold_id} has this reference.")
        self.hold_id = hold_id


class IdempotencyConflictError(HoldsError):
    """The hold id or idempotency key was used before with another request."""

    def __init__(self, hold_id: str | None = None) -> None:
        super().__init__("The hold id or Idempotency-Key was used before with another body.")
        self.hold_id = hold_id


class HoldNotFoundError(HoldsError):
    """The shop has no hold with this id."""

    def __init__(self, key: HoldKey) -> None:
        super().__init__(f"{key.shop_id} has no hold {key.hold_id}.")
        self.key = key


class OrderNotFoundError(HoldsError):
    """No hold of the shop has this reference."""

    def __init__(self, shop_id: str, reference: str) -> None:
        super().__init__(f"No hold of {shop_id} has the reference {reference}.")


class HoldNotActiveError(HoldsError):
    """The hold has ended, or is ending, otherwise than requested."""

    def __init__(self, key: HoldKey, status: HoldStatus, message: str | None = None) -> None:
        ending = status is HoldStatus.ACTIVE
        super().__init__(message or ("The hold is ending." if ending else f"The hold is {status}."))
        self.key = key
        self.status = status


class NotInHoldError(HoldsError):
    """Units are to be sold that the hold does not have."""

    def __init__(self, line: Line, has: int) -> None:
        super().__init__(f"the hold has {has} of {f'{line.sku} {line.variant_key}'.strip()}, not {line.quantity}")


class ExtendLimitError(HoldsError):
    """The deadline is already at the ceiling of the hold's life."""

    def __init__(self) -> None:
        super().__init__("The hold already lives as long as it can (INVENTORY_HOLD_MAX_TTL_SECONDS).")


class PaymentAlreadyAttachedError(HoldsError):
    """The hold has another payment that can still be made."""

    def __init__(self, hold: Hold) -> None:
        super().__init__("The hold has another payment that can still be made.")
        self.hold = hold


class PaymentOpenError(HoldsError):
    """A payment of the shop's own can still be made for the items that the hold has."""

    def __init__(self, hold: Hold) -> None:
        super().__init__("A payment for the hold can still be made.")
        self.hold = hold


class PaymentInProgressError(HoldsError):
    """A payment of the hold that has to make way is in progress, which takes days. The hold stays."""

    def __init__(self, hold: Hold) -> None:
        super().__init__("A payment of the hold is in progress.")
        self.hold = hold


class PaymentNotMadeError(HoldsError):
    """The hold is to be sold and Stripe does not call its attached payment made. Nothing was changed."""

    def __init__(self, hold: Hold, state: str | None = None) -> None:
        super().__init__(_NOT_MADE.get(state or "", "The payment of the hold has not been made."))
        self.hold = hold
        self.state = state
        """The payment's state at Stripe; None if it was attached a moment ago."""


_NOT_MADE = {
    "processing": "The payment of the hold is processing: it may still fail.",
    "unpayable": "The payment of the hold was not made, and can no longer be made.",
    "refunded": "The payment of the hold was made and refunded.",
    "unknown": "Stripe has no such payment as the one of the hold.",
}


class PaymentNotPayableError(HoldsError):
    """The payment can no longer be made."""

    def __init__(self) -> None:
        super().__init__("The payment can no longer be made.")


class PaymentOfAnotherHoldError(HoldsError):
    """The payment belongs to another hold, by its metadata or because it is attached there."""

    def __init__(self) -> None:
        super().__init__("The payment belongs to another hold.")


class UnknownPaymentError(HoldsError):
    """Stripe has no payment with this id."""

    def __init__(self, payment: Payment) -> None:
        super().__init__(f"Stripe has no payment {payment.id}.")
        self.payment = payment


class CheckoutRefusedError(HoldsError):
    """Stripe refuses to open the Checkout Session; the message is Stripe's."""

    def __init__(
        self, message: str, *, code: str | None, param: str | None, callers_fault: bool, hold_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        """The parameter at fault, by Stripe's name."""
        self.callers_fault = callers_fault
        """Whether the request is at fault; else the shop's Stripe account or key is."""
        self.hold_id = hold_id


class PaymentsNotConfiguredError(HoldsError):
    """STRIPE_API_KEY is not set, in this process or in the worker."""

    def __init__(self, message: str = "STRIPE_API_KEY is not set.", hold_id: str | None = None) -> None:
        super().__init__(message)
        self.hold_id = hold_id


class PaymentProviderUnavailableError(HoldsError):
    """Stripe did not answer."""

    def __init__(self, message: str = "Stripe cannot be reached.") -> None:
        super().__init__(message)


class StockBusyError(HoldsError):
    """The rows could not be locked in time. Nothing was changed."""

    def __init__(self) -> None:
        super().__init__("The stock is locked by other requests; nothing was changed.")


class TemporalBusyError(HoldsError):
    """Temporal takes no more messages now, for one hold or in all. Nothing was changed."""


class UnavailableError(HoldsError):
    """Postgres or Temporal cannot be reached. Whether the request took effect is unknown."""

    def __init__(self, message: str, key: HoldKey | None = None) -> None:
        super().__init__(message)
        self.key = key


class TemporalUnavailableError(UnavailableError):
    """Temporal cannot be reached, or refuses every request."""


class OlderWorkerError(TemporalUnavailableError):
    """The hold's run is on a worker of an earlier release, which does not know the request."""


class NamespaceMissingError(TemporalUnavailableError):
    """Temporal serves, but does not have the namespace of TEMPORAL_NAMESPACE: every hold would be refused."""


class RequestTimeoutError(HoldsError):
    """No answer within INVENTORY_REQUEST_TIMEOUT_MS. The request may still take effect."""

    def __init__(self, key: HoldKey | None = None) -> None:
        super().__init__("No answer within INVENTORY_REQUEST_TIMEOUT_MS. The request may still take effect.")
        self.key = key
