"""docs/errors.md lists what the API answers, all of it and nothing else; each answer has the one shape."""

import json
from pathlib import Path

import pytest

from api.errors import ApiError
from api.problems import Problem

_PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def rows() -> dict[str, list[str]]:
    """Return the page's table by the error's name."""
    lines = [line for line in _PAGE.read_text().splitlines() if line.startswith("| ") and line[2:5].isdigit()]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[1].strip("`"): row for row in cells}


def test_the_page_lists_every_error_and_no_other() -> None:
    assert list(rows()) == [problem.name for problem in Problem]


@pytest.mark.parametrize("problem", Problem)
def test_the_page_says_of_an_error_what_the_api_does(problem: Problem) -> None:
    status, _, code, _, _ = rows()[problem.name]
    assert int(status) == problem.value.status
    assert code.strip("`") == (problem.value.code or "")


@pytest.mark.parametrize("problem", Problem)
def test_each_error_has_the_one_shape(problem: Problem) -> None:
    answer = ApiError(problem, holdId="h").response()
    body = json.loads(bytes(answer.body))
    assert answer.status_code == problem.value.status
    assert body["error"] == problem.name
    assert body.get("code") == problem.value.code
    assert body["message"] == problem.value.message
    assert body["holdId"] == "h"


@pytest.mark.parametrize("problem", Problem)
def test_what_is_worth_another_try_says_when(problem: Problem) -> None:
    answer = ApiError(problem).response()
    body = json.loads(bytes(answer.body))
    assert body.get("retryAfter") == problem.value.retry_after_ms
    assert ("Retry-After" in answer.headers) == (problem.value.retry_after_ms is not None)
    if problem.value.status in {429, 504}:
        assert problem.value.retry_after_ms is not None
