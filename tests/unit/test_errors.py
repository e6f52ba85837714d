"""Every answer of the API's error table has the one shape."""

import json

import pytest

from api.errors import ApiError
from api.problems import Problem


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
    waits_for_a_person = problem in {
        Problem.payments_not_configured,
        Problem.webhook_not_configured,
        Problem.approval_not_configured,
    }
    again = problem.value.status in {429, 503, 504} and not waits_for_a_person
    assert (problem.value.retry_after_ms is not None) == again
