"""Types of the fields that callers send, with their limits: for the bodies of requests and the command line."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, core_schema

from domain.names import NAME_PATTERN

MAX_ON_HAND = 1_000_000_000
"""The most units of an item on hand. Far below what the integer column can store, so that no sum overflows it."""

MAX_UNITS = 1_000_000
"""The most units of an item in one line of a request."""

MAX_KEY_LENGTH = 255
"""The most characters of an idempotency key."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable characters")
    return text


def _without_blanks_around(text: str) -> str:
    if text != text.strip():
        raise ValueError("must not begin or end with a blank")
    return text


def _not_zero(number: int) -> int:
    if number == 0:
        raise ValueError("must not be 0")
    return number


@dataclass(frozen=True, slots=True)
class Matching:
    """Annotates a text that has to match a pattern as a whole; `rule` tells the caller what is allowed."""

    pattern: str
    rule: str

    def _check(self, text: str) -> str:
        surrogate = any("\ud800" <= character <= "\udfff" for character in text)  # which UTF-8 cannot encode
        if surrogate or re.fullmatch(self.pattern, text) is None:
            raise ValueError(self.rule)
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": f"^{self.pattern}$"}


Printable = AfterValidator(_printable)
Trimmed = AfterValidator(_without_blanks_around)
"""Of an identifier: one with a blank that nobody sees would be another one."""
ShopId = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$", examples=["demo"])]
Sku = Annotated[str, StringConstraints(min_length=1, max_length=200), Printable, Trimmed, Field(examples=["TEE"])]
VariantKey = Annotated[
    str,
    StringConstraints(max_length=200),
    Printable,
    Trimmed,
    Field(examples=["size:M"], description="'' for a product without variants."),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200), Printable]
Identifier = Annotated[Text, Trimmed]
ProductName = Annotated[
    Identifier,
    Field(description="The product, in words for people: low-stock alerts show it.", examples=["T-shirt, white"]),
]
Buyer = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128),
    Printable,
    Trimmed,
    Field(description="Your opaque id of who buys, for limits; no personal data.", examples=["b_7Fq2"]),
]
Reason = Annotated[Text, Field(description="The reason, for the records.", examples=["changed their mind"])]
IdempotencyKey = Annotated[str, StringConstraints(min_length=1, max_length=MAX_KEY_LENGTH), Printable]
OnHand = Annotated[int, Field(strict=True, ge=0, le=MAX_ON_HAND, examples=[100])]
Delta = Annotated[
    int,
    Field(
        strict=True,
        ge=-MAX_ON_HAND,
        le=MAX_ON_HAND,
        description="The change of the units on hand, negative if there are fewer. Not 0.",
        examples=[-2],
    ),
    AfterValidator(_not_zero),
]
