"""Whatever is not a yes. Catching `InventoryAuthorityError` is failing closed; each kind says what can be done."""

from dataclasses import dataclass


class InventoryAuthorityError(Exception):
    """There is no yes: nothing may be sold on the strength of this call.

    `hold_id` and `idempotency_key` are what the call went out with, made up where none were given: repeated with them
    it finds what was done all the same.
    """

    hold_id: str | None = None
    idempotency_key: str | None = None


class ConfigurationError(InventoryAuthorityError):
    """The client's address, token, time-out or environment is not one that it can work with; it names which."""


class InvalidRequestError(InventoryAuthorityError):
    """The request is at fault and would be again; `fields` names each part of it and what is allowed there."""

    def __init__(self, message: str, fields: "tuple[FieldProblem, ...]" = ()) -> None:
        super().__init__(message)
        self.fields = fields


class AuthenticationError(InventoryAuthorityError):
    """The token is missing, not known, or may not do this."""


class InventoryUnavailableError(InventoryAuthorityError):
    """Holdfast, or something that it needs, is out of reach; what was asked may have happened: repeat it to learn."""


class PaymentsUnavailableError(InventoryUnavailableError):
    """Holdfast can open no page to pay on: Stripe is out of reach, not set up, or refuses Holdfast's account."""


class InventoryTimeoutError(InventoryAuthorityError):
    """No answer in time; what was asked may have happened or may still happen: repeat it to learn."""


class InventoryBusyError(InventoryAuthorityError):
    """Too many want the same at this moment, and nothing was changed; ask again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InsufficientStockError(InventoryAuthorityError):
    """Less can be sold than was asked for, and nothing was held; `items` has every short item once."""

    def __init__(self, message: str, items: "tuple[ShortItem, ...]" = ()) -> None:
        super().__init__(message)
        self.items = items


class HoldNotFoundError(InventoryAuthorityError):
    """The shop has no hold with this id."""


class ConflictError(InventoryAuthorityError):
    """What was asked contradicts what is there: the kinds below, and those that this version does not know."""


class HoldNotActiveError(ConflictError):
    """The hold has ended otherwise than was asked for, or is about to; `status` says how it is."""

    def __init__(self, message: str, status: str = "") -> None:
        super().__init__(message)
        self.status = status


class HoldExistsError(ConflictError):
    """Another active hold has this reference: `existing_hold_id` names it, and `replace=True` ends it first."""

    def __init__(self, message: str, existing_hold_id: str = "") -> None:
        super().__init__(message)
        self.existing_hold_id = existing_hold_id


class HoldExtendLimitError(ConflictError):
    """The hold already lives as long as it can; make a new one."""


class IdempotencyConflictError(ConflictError):
    """The hold id or idempotency key was used before for something else."""


class CheckoutRefusedError(InventoryAuthorityError):
    """Stripe refuses the page that was asked for, in its words; the hold is given back."""


class MalformedAnswerError(InventoryAuthorityError):
    """What came back is no answer of Holdfast's to this call; what was asked may have happened all the same."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """A part of a request at fault, and what is allowed there."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class ShortItem:
    """An item of which less can be sold than was asked for, over all lines."""

    sku: str
    variant_key: str
    requested: int
    available: int
