"""Why stock was not changed. Each error means that nothing was changed, of no item."""

from collections.abc import Sequence
from dataclasses import dataclass

from domain.holds import HoldStatus
from inventory.items import ItemName


class StockError(Exception):
    """The stock cannot be changed as requested."""

    items: tuple[object, ...] = ()
    """The items that prevent it."""


class UnknownItemsError(StockError):
    """The shop has no such items."""

    def __init__(self, items: Sequence[ItemName]) -> None:
        super().__init__("the shop has no such items")
        self.items: tuple[ItemName, ...] = tuple(items)


class CountBelowHeldError(StockError):
    """Items were counted lower than the units that their active holds have."""

    def __init__(self, items: Sequence["BelowHeld"]) -> None:
        super().__init__("counted fewer units than are held")
        self.items: tuple[BelowHeld, ...] = tuple(items)


class StockBelowZeroError(StockError):
    """More units were to be taken away than are available."""

    def __init__(self, items: Sequence["BelowZero"]) -> None:
        super().__init__("more units to take away than are available")
        self.items: tuple[BelowZero, ...] = tuple(items)


class StockAboveLimitError(StockError):
    """Items would have more than MAX_ON_HAND units on hand."""

    def __init__(self, items: Sequence[ItemName]) -> None:
        super().__init__("more units on hand than are allowed")
        self.items: tuple[ItemName, ...] = tuple(items)


class ReturnAboveCommittedError(StockError):
    """More units were to be returned than the hold sold and nobody returned yet."""

    def __init__(self, items: Sequence["ReturnAboveCommitted"]) -> None:
        super().__init__("more units to return than were sold")
        self.items: tuple[ReturnAboveCommitted, ...] = tuple(items)


class HoldNotCommittedError(StockError):
    """The hold was not sold, so none of its units can be returned."""

    def __init__(self, hold_id: str, status: HoldStatus) -> None:
        super().__init__(f"hold {hold_id} is {status}")
        self.hold_id = hold_id
        self.status = status


class KeyReusedError(StockError):
    """The shop used the idempotency key before, with another adjustment or return."""

    def __init__(self) -> None:
        super().__init__("the idempotency key was used before, with another adjustment or return")


class InvalidFileError(StockError):
    """The stock file cannot be imported. `problems` has the first 100, by line."""

    def __init__(self, problems: Sequence["FileProblem"]) -> None:
        super().__init__(f"{len(problems)} problems in the stock file")
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class BelowHeld:
    """An item that was to have fewer units than its active holds have."""

    sku: str
    variant_key: str
    on_hand: int
    """The count that was requested."""
    held: int
    holds: tuple[str, ...]
    """The ids of its oldest active holds, NAMED_HOLDS at most."""
    line: int | None = None
    """The line of the stock file, None where the count did not come from a file."""
    shop_id: str | None = None
    """The shop on that line."""


@dataclass(frozen=True, slots=True)
class BelowZero:
    """An item of which more units were to be taken away (`-delta`) than are available (`quantity`)."""

    sku: str
    variant_key: str
    delta: int
    quantity: int
    held: int
    holds: tuple[str, ...]
    """The ids of its oldest active holds, NAMED_HOLDS at most."""


@dataclass(frozen=True, slots=True)
class ReturnAboveCommitted:
    """An item of which more units were to be returned (`requested`) than `committed` less `restocked`."""

    sku: str
    variant_key: str
    requested: int
    committed: int
    """The units that the hold sold."""
    restocked: int
    """The units that were returned before."""


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A problem at one place of a stock file. The header is line 1; `column` is None where it is the whole line."""

    line: int
    column: str | None
    message: str
