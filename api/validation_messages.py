"""Translates validation errors: the field, and what is allowed there."""

from collections.abc import Mapping, Sequence
from typing import Any

from domain.names import NAME_PATTERN, NAME_RULE

UNREADABLE = (
    "The body cannot be read as JSON: it is not UTF-8, is nested too deeply, or has a number of thousands of digits."
)

_MOST_FIELDS = 20
_LONGEST_PATH = 120

_SENTENCES = {
    "missing": "is missing",
    "extra_forbidden": "is not a field of this request",
    "string_type": "must be a text",
    "string_unicode": "must be a text of whole Unicode characters",
    "string_too_long": "must be at most {max_length} characters long",
    "string_too_short": "must not be empty",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "int_from_float": "must be a whole number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "too_long": "must have at most {max_length} entries, and has {actual_length}",
    "too_short": "must have at least {min_length} entry",
    "enum": "must be {expected}",
}


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
    return {"field": _path(location), "message": _sentence(problem)}


def _path(location: tuple[int | str, ...]) -> str:
    """Return the path of a field, as `items[0].sku`, without the part of the request that it is in."""
    path = ""
    for part in location[1:]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    path = path or str(location[0] if location else "body")
    return path if len(path) <= _LONGEST_PATH else path[: _LONGEST_PATH - 1] + "…"


def _sentence(problem: Mapping[str, Any]) -> str:
    context = problem.get("ctx") or {}
    if problem["type"] == "string_pattern_mismatch" and context["pattern"] == f"^{NAME_PATTERN}$":
        return NAME_RULE
    if (sentence := _SENTENCES.get(problem["type"])) is not None:
        return sentence.format(**context)
    return str(problem["msg"]).removeprefix("Value error, ")
