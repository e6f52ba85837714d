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


@pytest.mark.parametrize("alert", sorted({alert["alert"] for alert in alerts()}))
def test_an_alert_has_a_rule_test_in_which_it_fires_and_one_in_which_it_does_not(alert: str) -> None:
    cases = [
        bool(case["exp_alerts"])
        for file in (ROOT / "ops" / "prometheus" / "tests").glob("*.yml")
        for test in yaml.safe_load(file.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == alert
    ]
    assert {True, False} <= set(cases)


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
