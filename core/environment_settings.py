"""Reads settings from environment variables into pydantic models, and reports invalid ones as data."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from core.secret_files import with_secret_files
from core.setting_errors import SettingConflictError, SettingProblem, SettingsError

_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://\S+")


def set_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are set: an empty one is not, nor one that Kubernetes made from a service's name.

    For a service `holdfast-api` it sets HOLDFAST_API_PORT to an address such as `tcp://10.43.0.11:8000`.
    """
    return {
        name: value
        for name, value in environment.items()
        if value.strip() and not (name.endswith("_PORT") and _SERVICE_LINK.fullmatch(value))
    }


@dataclass(frozen=True, slots=True)
class Allowed:
    """Annotates a setting with its allowed values, in Markdown, where its type does not say them."""

    text: str


class EnvironmentSettings(BaseModel):
    """Settings whose aliases are environment variables. `read` is the way to create one.

    Each field has a description in Markdown, from which docs/configuration.md is generated.
    """

    model_config = ConfigDict(frozen=True)

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings from the given variables, by default those of the process.

        Raises SettingsError with every invalid variable and what is allowed.
        """
        complete = with_secret_files(set_variables(os.environ if environment is None else environment), cls.secrets())
        try:
            return cls.model_validate(complete)
        except ValidationError as error:
            fields = {field.alias: field for field in cls.model_fields.values()}
            raise SettingsError(*(_problem(details, fields) for details in error.errors())) from None

    @classmethod
    def secrets(cls) -> list[str]:
        """Return the variables that contain secrets. Each can come from a file instead: `NAME_FILE`."""
        return [str(field.alias) for field in cls.model_fields.values() if is_secret(field)]


def is_secret(field: FieldInfo) -> bool:
    """Whether the field is a SecretStr, or contains them, as a tuple or an optional does."""
    return _contains_secret(field.annotation)


def _contains_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(_contains_secret(part) for part in get_args(annotation))


def allowed_values(field: FieldInfo) -> str:
    """Return the allowed values of a field in Markdown: as annotated, else from its type; empty if neither says."""
    for part in field.metadata:
        if isinstance(part, Allowed):
            return part.text
    annotation = field.annotation
    if annotation is bool:
        return "`0`, `1`"
    if annotation is int:
        bounds = {name: getattr(part, name) for part in field.metadata for name in ("ge", "le") if hasattr(part, name)}
        return f"{bounds['ge']} to {bounds['le']}" if "le" in bounds else f"{bounds['ge']} or more"
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return ", ".join(f"`{value}`" for value in annotation)
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    return ""


def _problem(details: ErrorDetails, fields: Mapping[str | None, FieldInfo]) -> SettingProblem:
    raised = details.get("ctx", {}).get("error")
    if isinstance(raised, SettingConflictError):
        return raised.problem
    variable = str(details["loc"][0])
    if details["type"] == "missing":
        return SettingProblem(variable, "is required and is not set")
    if isinstance(raised, ValueError):  # by one of our validators, as the end of a sentence
        return SettingProblem(variable, str(raised))
    field = fields[variable]
    shown = "" if is_secret(field) else f"{details['input']!r} is not allowed; "
    return SettingProblem(variable, f"{shown}allowed: {allowed_values(field)}")
