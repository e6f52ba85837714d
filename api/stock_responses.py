"""What callers are told of a correction that cannot be made: each item, or each place of a file."""

from typing import Annotated, Any, Self

from pydantic import Field

from core.json_model import Model

Holds = Annotated[list[str], Field(description="The oldest of its active holds, ten at most.")]


class Detail(Model):
    """Base of what an error names: an item, or a place of a file."""

    @classmethod
    def of(cls, found: object) -> Self:
        """Translate: what was found has the same names inside."""
        return cls.model_validate(found, from_attributes=True, by_name=True)

    def dump(self) -> dict[str, Any]:
        """Return the JSON, without what is not there."""
        return self.model_dump(by_alias=True, exclude_none=True)


class NameOut(Detail):
    """An item by its name."""

    sku: str
    variant_key: str


class BelowHeldOut(Detail):
    """An item that was counted lower than what active holds have of it; of an import, with shop and line."""

    line: int | None = None
    shop_id: str | None = None
    sku: str
    variant_key: str
    on_hand: Annotated[int, Field(description="The count that was sent.")]
    held: int
    holds: Holds


class BelowZeroOut(Detail):
    """An item of which more was to be taken away than can be sold, its `quantity`."""

    sku: str
    variant_key: str
    delta: int
    quantity: int
    held: int
    holds: Holds


class TooManyOut(Detail):
    """An item of which more was to come back than was sold, less what has come back before."""

    sku: str
    variant_key: str
    requested: int
    committed: int
    restocked: int


class FileProblemOut(Detail):
    """What is wrong in a stock file. The header is line 1; without a column it concerns the line as a whole."""

    line: int
    column: str | None = None
    message: str
