"""Reads JSON bodies: UTF-8 only, and no field twice."""

import json
from typing import Any

from fastapi import Request

from api.errors import ApiError, invalid
from api.problems import Problem
from core.request_context import note_hold

_LONGEST_NAME = 120


class JsonRequest(Request):
    """A request whose JSON is read by the rules of this module."""

    async def json(self) -> Any:  # noqa: ANN401 - any JSON
        """Return the body's value. Raises ApiError or ValueError, both of which FastAPI makes the cause of a 400."""
        if not hasattr(self, "_json"):  # as in the base class: the door reads the shop, and the route the rest
            self._json = self._decoded(await self.body())
            if isinstance(self._json, dict):
                note_hold(self._json.get("shopId"), self._json.get("holdId"))
        return self._json

    @staticmethod
    def _decoded(body: bytes) -> Any:  # noqa: ANN401 - any JSON
        encoding = json.detect_encoding(body)
        if not encoding.startswith("utf-8"):
            raise ApiError(Problem.invalid_json, f"The body is in {encoding.upper()}, not in UTF-8.")
        return _DECODER.decode(body.decode("utf-8-sig"))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        if 0 < len(name) <= _LONGEST_NAME and name.isprintable():
            raise invalid(name, "must be given once")
        raise invalid("body", "must have each field once")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
