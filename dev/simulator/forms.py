"""Stripe's request parameters: `a[b][0]=c` as nested values, read and validated by name."""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from dev.simulator.errors import StripeError, invalid

_NAME = re.compile(r"^([^\[\]]+)((?:\[[^\[\]]*\])*)$")
_LONGEST_TEXT = 5_000
_MOST_METADATA = 50
_LONGEST_METADATA_KEY = 40
_LONGEST_METADATA_VALUE = 500


def decode(encoded: str) -> dict[str, Any]:
    """Nest the fields of a form or query. A list is a mapping of its indices."""
    values: dict[str, Any] = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True, max_num_fields=5_000):
        match = _NAME.match(name)
        if match is None:
            raise _unknown(name)
        at = values
        path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        for part in path[:-1]:
            at = at.setdefault(part or str(len(at)), {})
            if not isinstance(at, dict):
                raise invalid(f"Invalid parameter: {name}", param=name)
        at[path[-1] or str(len(at))] = value
    return values


def _unknown(name: str) -> StripeError:
    return invalid(f"The simulator does not know the parameter {name}; Stripe may.", param=name)


@dataclass
class Params:
    """The parameters of a request or of one mapping in it. `refuse_unknown` refuses those that were not read."""

    values: dict[str, Any]
    path: str = ""
    raw: str = ""
    """The body that they were read from, of a whole request."""
    _read: set[str] = field(default_factory=set)
    _nested: list["Params"] = field(default_factory=list)

    def named(self, name: str) -> str:
        """Return the name as the caller wrote it."""
        return f"{self.path}[{name}]" if self.path else name

    def given(self, name: str) -> bool:
        """Return whether the caller sent it."""
        return name in self.values

    def text(self, name: str) -> str | None:
        """Read a string; None if it was not sent."""
        self._read.add(name)
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise invalid(f"Invalid string: {self.named(name)}", param=self.named(name))
        if not value:
            message = f"You passed an empty string for '{self.named(name)}'; leave it out instead."
            raise invalid(message, param=self.named(name), code="parameter_invalid_empty")
        if len(value) > _LONGEST_TEXT:
            raise invalid(f"{self.named(name)} must be at most {_LONGEST_TEXT} characters", param=self.named(name))
        return value

    def required(self, name: str) -> str:
        """Read a string that must be sent."""
        value = self.text(name)
        if value is None:
            raise self.absent(name)
        return value

    def absent(self, name: str) -> StripeError:
        """Return the error for a parameter that must be sent."""
        name = self.named(name)
        return invalid(f"Missing required param: {name}.", param=name, code="parameter_missing")

    def integer(self, name: str, *, least: int | None = None) -> int | None:
        """Read a whole number; None if it was not sent."""
        value = self.text(name)
        if value is None:
            return None
        if not re.fullmatch(r"-?\d{1,15}", value):
            name = self.named(name)
            raise invalid(f"Invalid integer: {value}", param=name, code="parameter_invalid_integer")
        if least is not None and int(value) < least:
            name = self.named(name)
            raise invalid(
                f"This value must be greater than or equal to {least}.", param=name, code="parameter_invalid_integer"
            )
        return int(value)

    def flag(self, name: str) -> bool | None:
        """Read true or false; None if it was not sent."""
        value = self.choice(name, "true", "false")
        return None if value is None else value == "true"

    def choice(self, name: str, *allowed: str) -> str | None:
        """Read one of the allowed strings; None if it was not sent."""
        value = self.text(name)
        if value is not None and value not in allowed:
            name = self.named(name)
            raise invalid(f"Invalid {name}: must be one of {', '.join(allowed)}", param=name)
        return value

    def currency(self) -> str:
        """Read a currency, which must be sent, in small letters."""
        value = self.required("currency").lower()
        if not re.fullmatch("[a-z]{3}", value):
            raise invalid(f"Invalid currency: {value}", param=self.named("currency"))
        return value

    def url(self, name: str) -> str | None:
        """Read an absolute http(s) address; None if it was not sent."""
        value = self.text(name)
        if value is not None and not re.match(r"https?://[^/\s]+", value):
            raise invalid("Not a valid URL", param=self.named(name), code="url_invalid")
        return value

    def texts(self, name: str) -> list[str]:
        """Read a list of strings; empty if it was not sent."""
        listed = self.nested(name)
        return [] if listed is None else [listed.required(index) for index in listed.indices()]

    def nested(self, name: str) -> "Params | None":
        """Read a mapping; None if it was not sent."""
        self._read.add(name)
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise invalid(f"Invalid object: {self.named(name)}", param=self.named(name))
        nested = Params(value, self.named(name))
        self._nested.append(nested)
        return nested

    def each(self, name: str) -> list["Params"]:
        """Read a list of mappings; empty if it was not sent."""
        listed = self.nested(name)
        if listed is None:
            return []
        return [entry for index in listed.indices() if (entry := listed.nested(index)) is not None]

    def indices(self) -> list[str]:
        """Return the indices of a list in their order."""
        if not all(index.isdigit() for index in self.values):
            raise invalid(f"Invalid array: {self.path}", param=self.path)
        return sorted(self.values, key=int)

    def take_all(self) -> None:
        """Count everything here as read."""
        self._read.update(self.values)

    def ignore(self, name: str) -> None:
        """Count the parameter as read."""
        self._read.add(name)

    def metadata(self) -> dict[str, str]:
        """Read `metadata` within Stripe's limits; an empty value leaves its key out."""
        given = self.nested("metadata")
        if given is None:
            return {}
        given.take_all()
        if len(given.values) > _MOST_METADATA:
            raise invalid(f"You can have at most {_MOST_METADATA} metadata keys.", param=given.path)
        for key, value in given.values.items():
            if not isinstance(value, str):
                raise invalid("Metadata values must be strings.", param=given.named(key))
            if len(key) > _LONGEST_METADATA_KEY or len(value) > _LONGEST_METADATA_VALUE:
                raise invalid("Metadata keys have up to 40 characters, values up to 500.", param=given.named(key))
        return {key: value for key, value in given.values.items() if value}

    def refuse_unknown(self, tolerated: frozenset[str] = frozenset()) -> None:
        """Raise for parameters that were not read, here or deeper, apart from `tolerated`, which are ignored."""
        for name in self.values:
            if name not in self._read and name not in tolerated:
                raise _unknown(self.named(name))
        for nested in self._nested:
            nested.refuse_unknown()
