"""JSON in camelCase outside, snake_case inside; unknown fields are refused, so that a typing error is reported."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """Base of every JSON object of the API and the command line."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=False,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
    )


class Record(Model):
    """Base of every JSON object whose fields are the attributes of one value, under the same names."""

    @classmethod
    def of(cls, value: object) -> Self:
        """Build it from the value's attributes."""
        return cls.model_validate(value, from_attributes=True, by_name=True)

    def dump(self) -> dict[str, Any]:
        """Return the JSON, without the fields that are None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
