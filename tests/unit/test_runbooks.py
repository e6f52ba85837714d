"""Every alert has a rule test and a complete runbook section, and each command of a runbook is run by a test."""

import re
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.documents import ROOT, anchor

RUNBOOKS = ROOT / "docs" / "runbooks"
RULES_TEXT = (ROOT / "ops" / "prometheus" / "rules.yml").read_text()
BASE = "{{ $externalLabels.runbooks }}/"
"""Prometheus puts the operator's address there."""
WATCHDOG = "HoldfastWatchdog"
"""It always fires, and nobody is told of it but by its absence."""


def alerts() -> list[dict[str, Any]]:
    rules = yaml.safe_load(RULES_TEXT)
    return [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]


def sections(page: str) -> dict[str, str]:
    """Return a page's sections by the names by which they are linked to."""
    _, *parts = re.split(r"^## ", (RUNBOOKS / page).read_text(), flags=re.MULTILINE)
    return {anchor(heading): text for heading, _, text in (part.partition("\n") for part in parts)}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_has_a_severity_a_summary_and_a_complete_section_that_names_it(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in (("none",) if alert["alert"] == WATCHDOG else ("critical", "warning"))
    assert alert["annotations"]["summary"]
    base, link = alert["annotations"]["runbook_url"].rsplit("/", 1)
    assert f"{base}/" == BASE
    page, _, heading = link.partition("#")
    section = sections(page)[heading]
    assert f"`{alert['alert']}`" in section
    for part in ("Impact.", "Check.", "Fix.", "Resolved when"):
        assert f"**{part}**" in section


ALL_RULE_TESTS = [
    test
    for file in (ROOT / "ops" / "prometheus" / "tests").glob("*.yml")
    for test in yaml.load(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))["tests"]  # noqa: S506
]


def rule_tests(alert: str) -> list[list[tuple[int, list[dict[str, str]]]]]:
    """Return, of each rule test about the alert, the minutes at which it looks and the labels of what fires then."""
    return [
        sorted(
            (minutes(case["eval_time"]), [fires["exp_labels"] for fires in case["exp_alerts"]])
            for case in test.get("alert_rule_test", ())
            if case["alertname"] == alert
        )
        for test in ALL_RULE_TESTS
    ]


def minutes(time: str) -> int:
    amount, unit = int(time[:-1]), time[-1]
    return amount * {"m": 1, "h": 60}[unit]


RULES = [
    pytest.param(alert, id=" ".join([alert["alert"], *alert["labels"].values()]))
    for alert in alerts()
    if alert["alert"] != WATCHDOG
]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_has_a_test_in_which_it_fires_and_later_clears(rule: dict[str, Any]) -> None:
    def fires(cases: list[tuple[int, list[dict[str, str]]]]) -> list[bool]:
        return [any(rule["labels"].items() <= labels.items() for labels in firing) for _, firing in cases]

    assert any(True in (seen := fires(cases)) and not seen[-1] for cases in rule_tests(rule["alert"]))


def test_the_night_without_false_alarms_has_every_metric_that_a_rule_reads() -> None:
    """An alert on what is not there would be silent there for that reason."""
    night = (ROOT / "ops" / "prometheus" / "tests" / "quiet.yml").read_text()
    expressions = [rule["expr"] for group in yaml.safe_load(RULES_TEXT)["groups"] for rule in group["rules"]]
    bare = re.sub(r'"[^"]*"', "", "\n".join(expressions))
    read = set(re.findall(r"\b(?:checkout|holdfast|inventory|node|pg|temporal)_\w+|\bup\b", bare))
    assert {metric for metric in read if f"'{metric}{{" not in night} == set()


@pytest.mark.parametrize("page", sorted(page.name for page in RUNBOOKS.glob("*.md")))
def test_every_command_of_a_page_is_run_by_a_test(page: str) -> None:
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", (RUNBOOKS / page).read_text(), re.MULTILINE | re.DOTALL)
    tests = "".join(test.read_text() for test in (ROOT / "tests" / "rollout").glob("*.py"))
    commands = [line.strip() for block in blocks for line in block.splitlines()]
    assert [command for command in commands if command not in tests] == []


def test_every_page_and_every_alert_is_in_the_index() -> None:
    index = (RUNBOOKS / "README.md").read_text()
    assert not [page.name for page in RUNBOOKS.glob("*.md") if page.name != "README.md" and page.name not in index]
    linked = dict(re.findall(r"^\| `(\w+)` \| \w+ \| \[.*\]\((.*)\) \|$", index, re.MULTILINE))
    assert linked == {each["alert"]: each["annotations"]["runbook_url"].removeprefix(BASE) for each in alerts()}
