"""Explains one validation error of pydantic: what is allowed in the field."""

from collections.abc import Mapping
from typing import Any

from domain.names import NAME_PATTERN, NAME_RULE

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


def explain(problem: Mapping[str, Any]) -> str:
    """Return what the field of an error of `ValidationError.errors()` must be, as `must be a whole number`."""
    context = problem.get("ctx") or {}
    if problem["type"] == "string_pattern_mismatch" and context["pattern"] == f"^{NAME_PATTERN}$":
        return NAME_RULE
    if (sentence := _SENTENCES.get(problem["type"])) is not None:
        return sentence.format(**context)
    return str(problem["msg"]).removeprefix("Value error, ")
