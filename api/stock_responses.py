"""The details of stock errors: an item each, or a line of a stock file."""

from typing import Annotated

from pydantic import Field

from core.json_model import Record

Holds = Annotated[list[str], Field(description="Its oldest active holds, at most ten.")]


class NameOut(Record):
    """The name of an item."""

    sku: str
    variant_key: str


class BelowHeldOut(Record):
    """An item whose count is below the units in active holds; of an import, with shop and line."""

    line: int | None = None
    shop_id: str | None = None
    sku: str
    variant_key: str
    on_hand: Annotated[int, Field(description="The count that was sent.")]
    held: int
    holds: Holds


class BelowZeroOut(Record):
    """An item whose `delta` removes more units than are available (`quantity`)."""

    sku: str
    variant_key: str
    delta: int
    quantity: int
    held: int
    holds: Holds


class TooManyOut(Record):
    """An item of which more units were to be returned than were sold and not returned before."""

    sku: str
    variant_key: str
    requested: int
    committed: int
    restocked: int


class FileProblemOut(Record):
    """An error in a stock file. The header is line 1; without a column, the error concerns the whole line."""

    line: int
    column: str | None = None
    message: str
