"""Every field of every dashboard is one that the Grafana of docker-compose.yml has, with a value that it takes."""

import functools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.dashboards import DASHBOARDS
from tests.documents import ROOT

TYPES = Path(__file__).parent / "manifests"
PACKAGES = TYPES / "node_modules"

pytestmark = pytest.mark.skipif(
    not (PACKAGES / "@grafana").is_dir(), reason="`make test-system` has not installed Grafana's types"
)


@functools.cache
def schema() -> dict[str, Any]:
    """Return the JSON schema of the type in `manifests/dashboard.ts`; it has no fields but those named."""
    command = [str(PACKAGES / ".bin" / "ts-json-schema-generator"), "--path", "dashboard.ts"]
    options = ["--type", "HoldfastDashboard", "--no-type-check", "--expose", "none", "--jsDoc", "none"]
    ran = subprocess.run([*command, *options], cwd=TYPES, capture_output=True, text=True, timeout=120, check=True)
    made: dict[str, Any] = json.loads(ran.stdout)["definitions"]["HoldfastDashboard"]
    return made


@functools.cache
def validators() -> dict[str, jsonschema_rs.Validator]:
    """Return that of a panel, by its type."""
    branches = schema()["properties"]["panels"]["items"]["anyOf"]
    return {each["properties"]["type"]["const"]: jsonschema_rs.validator_for(each) for each in branches}


def problems(validator: jsonschema_rs.Validator, value: object, name: str) -> list[str]:
    return [f"{name} {'/'.join(map(str, each.instance_path))}: {each.message}" for each in validator.iter_errors(value)]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_grafana_knows_every_field_of_a_dashboard(name: str) -> None:
    board = DASHBOARDS[name]
    found = problems(jsonschema_rs.validator_for(schema()), {**board, "panels": []}, name)
    for panel in board["panels"]:
        found += problems(validators()[panel["type"]], panel, panel["title"])
    assert found == []


def test_the_types_are_those_of_the_grafana_that_is_deployed() -> None:
    (deployed,) = re.findall(r"image: grafana/grafana:(.*)", (ROOT / "docker-compose.yml").read_text())
    assert json.loads((TYPES / "package.json").read_text())["dependencies"]["@grafana/schema"] == deployed
