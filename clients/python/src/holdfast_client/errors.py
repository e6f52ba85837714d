"""The client's exceptions. Whoever catches `InventoryAuthorityError` fails closed.

InventoryAuthorityError
├── ConfigurationError
├── InvalidRequestError
├── AuthenticationError
├── InventoryUnavailableError
│   └── PaymentsUnavailableError
├── InventoryTimeoutError
├── InventoryBusyError
├── InsufficientStockError
├── HoldNotFoundError
├── ConflictError
│   ├── HoldNotActiveError
│   ├── HoldExistsError
│   ├── PaymentInProgressError
│   ├── PaymentNotMadeError
│   ├── HoldExtendLimitError
│   └── IdempotencyConflictError
├── CheckoutRefusedError
└── MalformedAnswerError
"""

from holdfast_client.models import ExceededLimit, FieldProblem, ShortItem


class InventoryAuthorityError(Exception):
    """The call failed: do not sell.

    `hold_id` and `idempotency_key` are those of the request, generated if none were given. A repeat with the same
    values finds the hold if the request was carried out after all. `request_id` is what the log lines of Holdfast name
    this call by.
    """

    hold_id: str | None = None
    idempotency_key: str | None = None
    request_id: str | None = None


class ConfigurationError(InventoryAuthorityError):
    """An argument of the client or an environment variable is missing or not valid; the message names it."""


class InvalidRequestError(InventoryAuthorityError):
    """The request is not valid and a repeat cannot succeed; `fields` names each invalid field."""

    def __init__(self, message: str, fields: tuple[FieldProblem, ...] = ()) -> None:
        super().__init__(message)
        self.fields = fields


class AuthenticationError(InventoryAuthorityError):
    """The token is missing, unknown, or not allowed to make this call."""


class InventoryUnavailableError(InventoryAuthorityError):
    """Holdfast or its database cannot be reached; the request may have been carried out: repeat it to find out."""


class PaymentsUnavailableError(InventoryUnavailableError):
    """Holdfast cannot open a session or check a payment: Stripe is unreachable, not configured, or rejects its key."""


class InventoryTimeoutError(InventoryAuthorityError):
    """No answer in time; the request may have been or may still be carried out: repeat it to find out."""


class InventoryBusyError(InventoryAuthorityError):
    """More requests than Holdfast can answer, or than can lock the same items; nothing was changed.

    Repeat after `retry_after` seconds.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InsufficientStockError(InventoryAuthorityError):
    """Less stock is available than was requested, nothing was held; `items` has every short item once."""

    def __init__(self, message: str, items: tuple[ShortItem, ...] = ()) -> None:
        super().__init__(message)
        self.items = items


class HoldNotFoundError(InventoryAuthorityError):
    """The shop has no hold with this id."""


class ConflictError(InventoryAuthorityError):
    """The request conflicts with the current state: one of the subclasses, or a conflict unknown to this version."""


class HoldNotActiveError(ConflictError):
    """The hold has ended, or is about to end, in another way than requested; `status` is its status."""

    def __init__(self, message: str, status: str = "") -> None:
        super().__init__(message)
        self.status = status


class HoldExistsError(ConflictError):
    """The hold `existing_hold_id` is active with the same reference; `replace=True` takes over its units."""

    def __init__(self, message: str, existing_hold_id: str = "") -> None:
        super().__init__(message)
        self.existing_hold_id = existing_hold_id


class PaymentInProgressError(ConflictError):
    """A payment of the hold `existing_hold_id`, which `replace=True` would end, is in progress; it stays held."""

    def __init__(self, message: str, existing_hold_id: str = "") -> None:
        super().__init__(message)
        self.existing_hold_id = existing_hold_id


class PaymentNotMadeError(ConflictError):
    """Stripe does not call the hold's payment made, so it was not sold; `state` is the payment's, such as `open`."""

    def __init__(self, message: str, state: str = "") -> None:
        super().__init__(message)
        self.state = state


class PaymentOpenError(ConflictError):
    """A payment that the shop opened itself can still be made for the items that the hold has; nothing was changed."""


class LimitExceededError(ConflictError):
    """The request would pass a limit of an order or a buyer, nothing was held or changed; `limits` has each."""

    def __init__(self, message: str, limits: tuple[ExceededLimit, ...] = ()) -> None:
        super().__init__(message)
        self.limits = limits


class HoldExtendLimitError(ConflictError):
    """The hold already has the longest allowed time to live; create a new hold."""


class IdempotencyConflictError(ConflictError):
    """The hold id or idempotency key was used before with another request."""


class CheckoutRefusedError(InventoryAuthorityError):
    """Stripe rejects the requested checkout session and the hold is released; the message is Stripe's."""


class MalformedAnswerError(InventoryAuthorityError):
    """The response is not a valid answer to this call; the request may have been carried out all the same."""
