"""Every alert says what to do, and what an operator's page names is there."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry
from temporalio.bridge import temporal_sdk_bridge

from api.app import create_app
from api.gauges import HoldGauges
from api.problems import Problem
from cli.main import app
from core.database import create_engine
from core.metrics import Telemetry
from core.settings import Settings
from tests.stack import environment

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
RULES_TEXT = (ROOT / "ops" / "prometheus" / "rules.yml").read_text()
BASE = "{{ $externalLabels.runbooks }}/"
"""Prometheus puts the operator's address there."""


def alerts() -> list[dict[str, Any]]:
    rules = yaml.safe_load(RULES_TEXT)
    return [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_has_a_severity_a_summary_and_a_page_that_names_it(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"]["summary"]
    base, page = alert["annotations"]["runbook_url"].rsplit("/", 1)
    assert f"{base}/" == BASE
    assert alert["alert"] in (RUNBOOKS / page).read_text()


def rule_tests(alert: str) -> list[list[tuple[int, list[dict[str, str]]]]]:
    """Return, of each rule test about the alert, the minutes at which it looks and the labels of what fires then."""
    tests = [
        test
        for file in (ROOT / "ops" / "prometheus" / "tests").glob("*.yml")
        for test in yaml.safe_load(file.read_text())["tests"]
    ]
    return [
        sorted(
            (minutes(case["eval_time"]), [fires["exp_labels"] for fires in case["exp_alerts"]])
            for case in test["alert_rule_test"]
            if case["alertname"] == alert
        )
        for test in tests
    ]


def minutes(time: str) -> int:
    amount, unit = int(time[:-1]), time[-1]
    return amount * {"m": 1, "h": 60}[unit]


RULES = [pytest.param(alert, id=" ".join([alert["alert"], *alert["labels"].values()])) for alert in alerts()]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_has_a_test_in_which_it_fires_and_later_clears(rule: dict[str, Any]) -> None:
    def fires(cases: list[tuple[int, list[dict[str, str]]]]) -> list[bool]:
        return [any(rule["labels"].items() <= labels.items() for labels in firing) for _, firing in cases]

    assert any(True in (seen := fires(cases)) and not seen[-1] for cases in rule_tests(rule["alert"]))


ALERT_PAGES = sorted({alert["annotations"]["runbook_url"].rpartition("/")[2] for alert in alerts()})


@pytest.mark.parametrize("page", ALERT_PAGES)
def test_the_page_of_an_alert_says_what_to_see_to_do_and_to_expect(page: str) -> None:
    text = (RUNBOOKS / page).read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[:4] == ["Symptom", "Look here", "Do this", "How you know it worked"]


@pytest.mark.parametrize("page", sorted(page.name for page in RUNBOOKS.glob("*.md")))
def test_every_command_of_a_page_is_run_by_a_test(page: str) -> None:
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", (RUNBOOKS / page).read_text(), re.MULTILINE | re.DOTALL)
    tests = "".join(test.read_text() for test in (ROOT / "tests" / "rollout").glob("*.py"))
    commands = [line.strip() for block in blocks for line in block.splitlines()]
    assert [command for command in commands if command not in tests] == []


def test_every_page_is_in_the_index() -> None:
    index = (RUNBOOKS / "README.md").read_text()
    assert not [page.name for page in RUNBOOKS.glob("*.md") if page.name != "README.md" and page.name not in index]


# What the pages name

PAGES = {
    path.stem: path.read_text()
    for path in (
        *RUNBOOKS.glob("*.md"),
        *(ROOT / "docs" / f"{name}.md" for name in ("deployment-checklist", "monitoring", "operations", "support")),
        *(ROOT / "docs" / f"{name}.md" for name in ("production-readiness", "weekly-review", "quarterly-review")),
        *(ROOT / "docs" / f"{name}.md" for name in ("incident-template", "scaling")),
        ROOT / "SECURITY.md",
    )
}
every_page = pytest.mark.parametrize("text", PAGES.values(), ids=PAGES)
NO_SETTINGS = {"CRON_SECRET", "HOLDFAST_URL", "ALERTMANAGER_URL"}
"""What is gone, and the names that the pages have for addresses."""


@every_page
def test_the_alerts_that_a_page_names_exist(text: str) -> None:
    known = {alert["alert"] for alert in alerts()} | {"HoldfastTest"}  # the test alert of ops/alertmanager
    assert set(re.findall(r"\bHoldfast[A-Z]\w+", text)) <= known


@every_page
def test_the_metrics_that_a_page_names_are_counted(text: str) -> None:
    registry = CollectorRegistry()
    Telemetry(registry)
    census = HoldGauges(create_engine(Settings.read({"DATABASE_URL": "postgresql://localhost/holdfast"})))
    known = {family.name for source in (registry, census) for family in source.collect()}
    others = {problem.name for problem in Problem} | {p.value.code for p in Problem} | {"inventory_reservation_id"}
    named = {_family(name) for name in re.findall(r"\b(?:inventory|checkout)_[a-z_]+[a-z]", text)}
    assert named <= known | others


@pytest.fixture(scope="module")
def temporals_library() -> bytes:
    return Path(temporal_sdk_bridge.__file__).read_bytes()


@every_page
def test_the_metrics_of_temporal_that_a_page_names_are_in_its_library(text: str, temporals_library: bytes) -> None:
    named = {_family(name).encode() for name in re.findall(r"\btemporal_([a-z_]+[a-z])\b", text + RULES_TEXT)}
    assert not [name for name in named if name not in temporals_library]


def _family(name: str) -> str:
    return re.sub(r"_(?:total|bucket|count|sum)$", "", name)


@every_page
def test_the_settings_that_a_page_names_are_described(text: str) -> None:
    described = "".join(
        (ROOT / page).read_text() for page in ("docs/configuration.md", "docs/cluster.md", "clients/python/README.md")
    )
    named = set(re.findall(r"\b[A-Z]{2,}(?:_[A-Z]{2,})+\b", text)) - NO_SETTINGS
    assert not [name for name in named if f"`{name}`" not in described]


@pytest.fixture(scope="module")
def paths() -> list[str]:
    """The API's paths, as patterns."""
    api = create_app(Settings.read(environment("postgresql://localhost/holdfast")), registry=CollectorRegistry())
    return [re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)) for path in api.openapi()["paths"]]


@every_page
def test_the_routes_that_a_page_names_exist(text: str, paths: list[str]) -> None:
    named = re.findall(r"/(?:api/(?:inventory|checkout|webhooks)/[\w/{}.-]*\w}?|livez|readyz|metrics)", text)
    assert not [path for path in named if not any(re.fullmatch(one, path) for one in paths)]


@every_page
def test_the_commands_that_a_page_names_exist_with_their_options(text: str) -> None:
    lines = re.findall(r"`(holdfast [^`]*)`|^ *(holdfast .*)$", text, re.MULTILINE)
    unknown = []
    for line in ("".join(pair) for pair in lines):
        command: Any = typer.main.get_command(app)
        words = shlex.split(line.replace("[", "").replace("]", ""), comments=True)[1:]
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        parameters = command.make_context(command.name, [], resilient_parsing=True).command.params
        options = {option for parameter in parameters for option in parameter.opts} | {"--help"}
        unfinished = words and hasattr(command, "commands")
        if unfinished or not {word for word in words if word.startswith("--")} <= options:
            unknown.append(line)
    assert not unknown


@every_page
def test_the_targets_and_files_that_a_page_names_exist(text: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert not [name for name in re.findall(r"`make ([a-z-]+)", text) if f"\n{name}:" not in makefile]
    named = re.findall(r"\b(?:ops|docs|tests|bench)/[\w./*-]*\w", text)
    assert not [path for path in named if not list(ROOT.glob(path))]
