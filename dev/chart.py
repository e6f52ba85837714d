"""Generates the parts of the Helm chart that repeat others: the alert rules, and which settings its values may have."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from core.environment_settings import allowed_values
from core.settings import Settings
from core.worker_settings import WorkerSettings

ROOT = Path(__file__).parents[1]
RULES = "deploy/helm/holdfast/files/rules.yml"
SCHEMA = "deploy/helm/holdfast/values.schema.json"
NOT_A_VALUE = {
    "HOLDFAST_API_PORT": "inside it is always the same; outside it is api.service.port",
    "HOLDFAST_WORKER_METRICS_HOST": "always the same: the probes and Prometheus come to it",
    "HOLDFAST_WORKER_METRICS_PORT": "the same",
    "HOLDFAST_HOME": "of `holdfast up`",
    "HOLDFAST_TEMPORAL_PORT": "of `holdfast up`",
    "HOLDFAST_TEMPORAL_UI_PORT": "of `holdfast up`",
    "HOLDFAST_SIMULATOR_PORT": "of `holdfast up`",
    "HOLDFAST_SHOP": "of commands, which have --shop",
    "OTEL_EXPORTER_OTLP_HEADERS": "a secret that cannot be read from a file: extraEnv, with a secretKeyRef",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "without effect",
    "OTEL_SERVICE_NAME": "API and worker each have their own",
    "TEMPORAL_CONFIG_FILE": "a file; what it says is set one by one",
    "TEMPORAL_PROFILE": "of that file",
}
"""The documented settings that the chart's `settings` do not take, and why."""


def documented_settings() -> list[str]:
    """Return the variables that the page of settings names, in its order."""
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    named = re.findall(r"`([A-Z][A-Z0-9_]*[A-Z0-9])`", page)
    return [name for name in dict.fromkeys(named) if "_" in name and name != "NAME_FILE"]


def rules() -> str:
    """Return the chart's alert rules, which are those of ops/prometheus."""
    return (ROOT / "ops" / "prometheus" / "rules.yml").read_text(encoding="utf-8")


def values_schema() -> str:
    """Return the schema of the chart's values with the settings and secrets of docs/configuration.md filled in."""
    schema: dict[str, Any] = json.loads((ROOT / SCHEMA).read_text(encoding="utf-8"))
    properties = schema["properties"]
    secrets = Settings.secrets()
    fields = dict(_fields())
    properties["settings"]["properties"] = {
        name: _allowed(fields.get(name))
        for name in documented_settings()
        if name not in secrets and name not in NOT_A_VALUE
    }
    properties["secrets"]["properties"]["keys"]["properties"] = {name: {"type": "string"} for name in secrets}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _fields() -> Iterator[tuple[str, FieldInfo]]:
    for model in (Settings, WorkerSettings):
        for field in model.model_fields.values():
            yield str(field.alias), field


def _allowed(field: FieldInfo | None) -> dict[str, Any]:
    """Return the schema of a value. Holdfast itself checks it further, at start."""
    if field is None:  # read by a library
        return {"type": ["string", "number", "boolean", "null"]}
    described = {"description": field.description}
    values = re.findall(r"`([a-z_0-9]+)`", allowed_values(field))
    if field.annotation is bool:
        return {"enum": [0, 1, "0", "1", False, True, None], **described}
    if values and allowed_values(field) == ", ".join(f"`{value}`" for value in values):
        return {"enum": [*values, None], **described}
    return {"type": ["string", "integer", "null"], **described}
