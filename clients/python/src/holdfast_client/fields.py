"""JSON that may lie: every field is looked at before it is believed, and what is not as promised is an error."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NoReturn, TypeVar

from holdfast_client.errors import MalformedAnswerError

Choice = TypeVar("Choice", bound=StrEnum)
Value = TypeVar("Value")


def parsed(status: int, body: bytes | bytearray) -> "Fields":
    """Return the answer's fields. Raises MalformedAnswerError unless it is a JSON object."""
    try:
        value = json.loads(body.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise MalformedAnswerError(
            f"Holdfast's answer ({status}) is not JSON: {bytes(body[:80])!r}. Is INVENTORY_AUTHORITY_URL right?"
        ) from None
    return Fields(value, f"Holdfast's answer ({status})")


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


class Fields:
    """An object of the answer. Each method returns the field of that name, or raises MalformedAnswerError.

    Further fields are left alone: answers grow by them.
    """

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise MalformedAnswerError(f"{where} is no JSON object.")
        self._value: dict[str, Any] = value
        self._where = where

    def wrong(self, name: str, what: str) -> MalformedAnswerError:
        """Return the error about a field."""
        shown = repr(self._value[name])[:80] if name in self._value else "missing"
        return MalformedAnswerError(f"{self._where}: {name} must be {what}, and is {shown}.")

    def _of_type(self, name: str, kind: type[Value], what: str) -> Value:
        value = self._value.get(name)
        if not isinstance(value, kind):
            raise self.wrong(name, what)
        return value

    def optional(self, read: Callable[[str], Value], name: str) -> Value | None:
        """Return None where the field is missing or null."""
        return None if self._value.get(name) is None else read(name)

    def is_null(self, name: str) -> bool:
        """Tell whether the field is there, and null."""
        return name in self._value and self._value[name] is None

    def text(self, name: str) -> str:
        """Return a text."""
        return self._of_type(name, str, "a text")

    def exactly(self, name: str, expected: str) -> str:
        """Return the one text that it may be."""
        if self.text(name) != expected:
            raise self.wrong(name, repr(expected))
        return expected

    def flag(self, name: str) -> bool:
        """Return true or false; false where it is missing."""
        return name in self._value and self._of_type(name, bool, "true or false")

    def number(self, name: str, least: int = 0) -> int:
        """Return a whole number."""
        value = self._of_type(name, int, "a whole number")
        if isinstance(value, bool) or value < least:
            raise self.wrong(name, f"a whole number, {least} or more")
        return value

    def choice(self, name: str, kind: type[Choice]) -> Choice:
        """Return one of the kind."""
        try:
            return kind(self.text(name))
        except ValueError:
            raise self.wrong(name, "one of " + ", ".join(kind)) from None

    def time(self, name: str) -> datetime:
        """Return a time, in UTC."""
        try:
            moment = datetime.fromisoformat(self.text(name))
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        raise self.wrong(name, "a time with its zone, in ISO 8601")

    def url(self, name: str) -> str:
        """Return a web address."""
        if not re.fullmatch(r"https?://[\x21-\x7e]+", self.text(name)):
            raise self.wrong(name, "a web address")
        return self.text(name)

    def each(self, name: str) -> "Iterator[Fields]":
        """Return the objects of a list."""
        for index, value in enumerate(self._of_type(name, list, "a list")):
            yield Fields(value, f"{self._where}: {name}[{index}]")

    def by_name(self, name: str) -> "dict[str, Fields]":
        """Return the objects of an object."""
        values = self._of_type(name, dict, "an object")
        return {key: Fields(value, f"{self._where}: {name}.{key}"[:120]) for key, value in values.items()}
