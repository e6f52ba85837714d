"""The Helm chart against the repository: it takes every setting, and repeats nothing that can differ."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from core.settings import Settings
from core.temporal import SHUTDOWN_GRACE
from dev import chart
from tests.documents import ROOT
from tests.unit.test_deployment import COMPOSE, SERVICES, documented

CHART = ROOT / "deploy" / "helm" / "holdfast"
TEMPLATES = {path.name: path.read_text() for path in (CHART / "templates").glob("*.*")}
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())["properties"]


def test_every_documented_setting_is_a_value_or_has_a_reason_not_to_be_one() -> None:
    settings, secrets = SCHEMA["settings"]["properties"], SCHEMA["secrets"]["properties"]["keys"]["properties"]
    assert documented() - set(settings) - set(secrets) == set(chart.NOT_A_VALUE)
    assert set(settings) | set(secrets) <= documented()
    assert set(secrets) == set(Settings.secrets())


def test_the_values_in_the_repository_name_only_what_the_schema_has() -> None:
    for file in (CHART / "values.yaml", *(CHART / "ci").glob("*.yaml")):
        _check_names(yaml.safe_load(file.read_text()), {"properties": SCHEMA, "additionalProperties": False}, file)


def _check_names(values: dict[str, Any], schema: dict[str, Any], file: Path) -> None:
    properties = schema.get("properties", {})
    if schema.get("additionalProperties") is False:
        assert set(values) <= set(properties), file
    for name, value in values.items():
        if isinstance(value, dict) and name in properties:
            _check_names(value, properties[name], file)


def test_the_chart_has_the_version_of_the_release() -> None:
    release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    written = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (written["version"], written["appVersion"]) == (release, release)


def test_the_chart_runs_what_the_image_and_compose_run() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    (user,) = re.findall(r"^USER (\d+):\1$", dockerfile, re.MULTILINE)
    assert {f"{name}: {user}" in TEMPLATES["_helpers.tpl"] for name in ("runAsUser", "runAsGroup", "fsGroup")} == {True}
    for name, port in (("api", 8000), ("worker", 9464)):  # ready by the same answer
        assert f"http://127.0.0.1:{port}/readyz" in SERVICES[name]["healthcheck"]["test"][-1]
        assert re.search(r"readinessProbe:\s+httpGet: {path: /readyz, port: \w+}", TEMPLATES[f"{name}.yaml"])
    api_only = re.findall(r'"(\w+)"', re.findall(r"\$apiOnly := list (.*?) -", TEMPLATES["_helpers.tpl"])[0])
    given = {name: set(SERVICES[name]["secrets"]) for name in ("api", "worker")}
    for file in (ROOT / "deploy" / "compose").glob("*.yml"):
        for name, service in yaml.safe_load(file.read_text())["services"].items():
            given.setdefault(name, set()).update(each for each in service.get("secrets", ()) if isinstance(each, str))
    variables = {**COMPOSE["secrets"], **dict.fromkeys(given["api"])}
    assert {name.removeprefix("inventory_").removeprefix("holdfast_") for name in map(str.lower, api_only)} == {
        each for each in given["api"] - given["worker"] if each in variables
    }


def test_a_stop_fits_into_the_time_that_the_chart_reckons_with() -> None:
    (reckoned,) = re.findall(r"\$least := add \(index \. 3\) (\d+)", TEMPLATES["_helpers.tpl"])
    assert int(reckoned) == SHUTDOWN_GRACE.total_seconds() + 5  # what a supervisor waits for its processes
    stops = [SCHEMA[name]["properties"]["terminationGracePeriodSeconds"]["minimum"] for name in ("api", "worker")]
    assert stops == [int(reckoned)] * 2


def test_every_component_that_goes_on_running_has_a_network_policy() -> None:
    running = {
        component
        for template in TEMPLATES.values()
        if "kind: Deployment" in template
        for component in re.findall(r'\$at := list \. "([\w-]+)"', template)
    }
    listed = re.findall(r"\$components :?= (.*?) }}", TEMPLATES["network-policy.yaml"])
    assert running == {"api", "worker", "periodic-smoke"}
    assert running <= set(re.findall(r'"([\w-]+)"', " ".join(listed)))
