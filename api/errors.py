"""An error that the API answers with, in the one shape of every error: `{error, code?, message, ...}`."""

from typing import Any

from fastapi.responses import JSONResponse

from api.problems import Problem
from api.responses import ShortOut
from holds.errors import InsufficientStockError


class ApiError(Exception):
    """An answer other than success. `details` are further fields of the body."""

    def __init__(self, problem: Problem, message: str | None = None, **details: Any) -> None:  # noqa: ANN401 - JSON
        super().__init__(message or problem.value.message)
        self.problem = problem
        self.message = message or problem.value.message
        self.details = details
        self.retry_after_ms = problem.value.retry_after_ms

    def response(self) -> JSONResponse:
        """Return the error as an answer."""
        kind = self.problem.value
        body: dict[str, Any] = {"error": self.problem.name}
        if kind.code:
            body["code"] = kind.code
        body |= {"message": self.message, **self.details}
        headers = {}
        if self.retry_after_ms is not None:
            body["retryAfter"] = self.retry_after_ms
            headers["Retry-After"] = str(-(-self.retry_after_ms // 1000))
        if self.problem is Problem.unauthorized:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(body, status_code=kind.status, headers=headers)


def invalid(field: str, message: str) -> ApiError:
    """Return the 422 for one field."""
    return ApiError(Problem.invalid_request, f"{field}: {message}", fields=[{"field": field, "message": message}])


def insufficient(error: InsufficientStockError) -> ApiError:
    """Return the 409 that names every short item once."""
    items = [ShortOut.of(item).dump() for item in error.items]
    return ApiError(Problem.insufficient_stock, str(error), items=items, **closed_page(error.closed_session))


def closed_page(session_id: str | None) -> dict[str, str]:
    """Return the field that names the page that was closed for a change before it was refused."""
    return {} if session_id is None else {"closedCheckoutSessionId": session_id}
