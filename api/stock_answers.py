"""What callers are told of a correction that cannot be made: each item, or each place of a file."""

from typing import Annotated, Any, Self

from pydantic import Field

from api.schemas import Model
from inventory.corrections import BelowZero, ItemName
from inventory.counts import BelowHeld
from inventory.imports import LineBelowHeld
from inventory.restock import TooMany
from inventory.stockfile import FileProblem

Holds = Annotated[list[str], Field(description="The oldest of its active holds, ten at most.")]


class _Detail(Model):
    def dump(self) -> dict[str, Any]:
        """Return the JSON, without what is not there."""
        return self.model_dump(by_alias=True, exclude_none=True)


class NameOut(_Detail):
    """An item by its name."""

    sku: str
    variant_key: str

    @classmethod
    def of(cls, name: ItemName) -> Self:
        """Translate."""
        return cls(sku=name.sku, variantKey=name.variant_key)


class BelowHeldOut(_Detail):
    """An item that was counted lower than what active holds have of it; of an import, with shop and line."""

    line: int | None = None
    shop_id: str | None = None
    sku: str
    variant_key: str
    on_hand: Annotated[int, Field(description="The count that was sent.")]
    held: int
    holds: Holds

    @classmethod
    def of(cls, item: BelowHeld, *, line: int | None = None, shop_id: str | None = None) -> Self:
        """Translate."""
        return cls(
            line=line,
            shopId=shop_id,
            sku=item.sku,
            variantKey=item.variant_key,
            onHand=item.on_hand,
            held=item.held,
            holds=list(item.holds),
        )

    @classmethod
    def of_line(cls, below: LineBelowHeld) -> Self:
        """Translate a line of a stock file."""
        return cls.of(below.item, line=below.line, shop_id=below.shop_id)


class BelowZeroOut(_Detail):
    """An item of which more was to be taken away than can be sold, its `quantity`."""

    sku: str
    variant_key: str
    delta: int
    quantity: int
    held: int
    holds: Holds

    @classmethod
    def of(cls, item: BelowZero) -> Self:
        """Translate."""
        return cls(
            sku=item.sku,
            variantKey=item.variant_key,
            delta=item.delta,
            quantity=item.quantity,
            held=item.held,
            holds=list(item.holds),
        )


class TooManyOut(_Detail):
    """An item of which more was to come back than was sold, less what has come back before."""

    sku: str
    variant_key: str
    requested: int
    committed: int
    restocked: int

    @classmethod
    def of(cls, item: TooMany) -> Self:
        """Translate."""
        return cls(
            sku=item.sku,
            variantKey=item.variant_key,
            requested=item.requested,
            committed=item.committed,
            restocked=item.restocked,
        )


class FileProblemOut(_Detail):
    """What is wrong in a stock file. The header is line 1; without a column it concerns the line as a whole."""

    line: int
    column: str | None = None
    message: str

    @classmethod
    def of(cls, problem: FileProblem) -> Self:
        """Translate."""
        return cls(line=problem.line, column=problem.column, message=problem.message)
