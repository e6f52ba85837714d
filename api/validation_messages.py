"""Lists the invalid fields of a request, from the validation errors of FastAPI."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.validation_messages import explain

UNREADABLE = (
    "The body cannot be read as JSON: it is not UTF-8, is nested too deeply, or has a number of thousands of digits."
)

_MOST_FIELDS = 20
_LONGEST_PATH = 120


def not_json(problems: Sequence[Mapping[str, Any]]) -> str | None:
    """Return why the body is not JSON, and where, or None if it is JSON."""
    for problem in problems:
        if problem["type"] == "json_invalid":
            return f"The body is not JSON: {problem['ctx']['error']} at character {problem['loc'][-1]}."
    return None


def field_problems(problems: Sequence[Mapping[str, Any]], *, content_type: str | None) -> list[dict[str, str]]:
    """Return each invalid field with what is allowed there; at most the first 20."""
    return [_field_problem(problem, content_type) for problem in problems[:_MOST_FIELDS]]


def _field_problem(problem: Mapping[str, Any], content_type: str | None) -> dict[str, str]:
    location = tuple(problem["loc"])
    if location == ("body",) and isinstance(problem.get("input"), bytes):  # sent, and not taken for JSON
        sent = f"not {content_type[:_LONGEST_PATH]!r}" if content_type else "and was not sent"
        return {"field": "Content-Type", "message": f"must be application/json, {sent}"}
    return {"field": _path(location), "message": explain(problem)}


def _path(location: tuple[int | str, ...]) -> str:
    """Return the path of a field, as `items[0].sku`, without the part of the request that it is in."""
    path = ""
    for part in location[1:]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    path = path or str(location[0] if location else "body")
    return path if len(path) <= _LONGEST_PATH else path[: _LONGEST_PATH - 1] + "…"
