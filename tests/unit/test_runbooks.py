"""Every alert says what to do, and what it says leads somewhere."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
BASE = "https://git.example.com/holdfast/blob/main/"


def alerts() -> list[dict[str, Any]]:
    rules = yaml.safe_load((ROOT / "ops" / "prometheus" / "rules.yml").read_text())
    return [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_has_a_severity_a_summary_and_a_page_that_names_it(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"]["summary"]
    page = ROOT / alert["annotations"]["runbook_url"].removeprefix(BASE)
    assert page.parent == RUNBOOKS
    assert alert["alert"] in page.read_text()


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


def test_every_page_is_in_the_index() -> None:
    index = (RUNBOOKS / "README.md").read_text()
    assert not [page.name for page in RUNBOOKS.glob("*.md") if page.name != "README.md" and page.name not in index]
