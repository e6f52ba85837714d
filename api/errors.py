"""Every error that the API answers with, in one table, and their one shape: `{error, code?, message, ...}`."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.dependencies import context_of
from api.validation_messages import UNREADABLE, field_problems, not_json
from core.database import DatabaseBusyError, DatabaseUnavailableError

RETRY_MS = {429: 250, 503: 1000, 504: 1000}
"""When to ask again, by status, in milliseconds: locks are held for moments, what is out of reach comes back later."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One kind of error: its HTTP status, its cause, and whether asking again can help."""

    status: int
    cause: str
    retry: str
    code: str | None = None


class Problem(Enum):
    """The kinds of errors, by the name that stands in `error`. docs/errors.md lists the same, and a test compares."""

    invalid_json = Refusal(400, "The body is not JSON.", "No; mend the request.")
    invalid_signature = Refusal(
        400,
        "The webhook's signature is missing, too old, or not made with a secret of STRIPE_WEBHOOK_SECRET.",
        "No; compare the secret with the endpoint's.",
    )
    invalid_event = Refusal(400, "The body is signed, and is no event of Stripe's.", "No.")
    unauthorized = Refusal(401, "No token, or one that is not known.", "No; mend the token.")
    forbidden = Refusal(
        403, "The authority token was given where the admin token is needed.", "No; use the admin token."
    )
    not_found = Refusal(404, "There is no such route.", "No.")
    hold_not_found = Refusal(404, "The shop has no hold with this id.", "No.")
    item_not_found = Refusal(404, "The shop has no such item; `items` names each.", "No; count it first, with PUT.")
    method_not_allowed = Refusal(405, "The route does not know this method.", "No.")
    insufficient_stock = Refusal(
        409,
        "Less can be sold than was asked for; `items` has every short item with its true figure.",
        "When there is stock again; the same key is judged anew.",
        "inventory_insufficient",
    )
    hold_exists = Refusal(
        409,
        "Another active hold of the shop has this `reference`; `holdId` names it.",
        'With `"replace": true`, which ends that hold first, or after it ended.',
    )
    hold_not_active = Refusal(
        409, "The hold has ended otherwise than was asked for; `status` says how.", "No; the end is final."
    )
    hold_extend_limit = Refusal(
        409, "The hold already lives as long as it can (INVENTORY_HOLD_MAX_TTL_SECONDS).", "No; make a new hold."
    )
    idempotency_conflict = Refusal(
        409, "The hold id or Idempotency-Key was used before with another body.", "Not with this key."
    )
    count_below_held = Refusal(
        409,
        "An item was counted lower than what active holds have of it; `items` names each, with its holds.",
        "After the holds ended.",
    )
    payment_already_attached = Refusal(
        409,
        "The hold has a payment that can still be made; `checkoutSessionId` or `paymentIntentId` names it.",
        "After that one was expired or cancelled.",
    )
    payment_not_payable = Refusal(409, "The payment can no longer be made.", "No; open another one.")
    payment_of_another_hold = Refusal(
        409, "The payment names another hold, in its metadata or because it is attached there.", "No."
    )
    stock_below_zero = Refusal(
        409,
        "More was to be taken away than can be sold; `items` names each, with what holds have of it.",
        "When there is more, or once holds were released.",
    )
    stock_above_limit = Refusal(
        409, "An item would have more than 1,000,000,000 units on hand; `items` names each.", "No; mend the figures."
    )
    restock_above_committed = Refusal(
        409, "More was to come back than the hold sold; `items` names each with what came back before.", "No; mend it."
    )
    body_too_large = Refusal(
        413, "The body is over 256 KiB, or that of an import over 64 MiB.", "No; send less at once."
    )
    invalid_request = Refusal(
        422, "A field is missing, unknown, of the wrong type or out of range; `fields` names each.", "No; mend it."
    )
    checkout_refused = Refusal(
        422,
        "Stripe refuses the session that was asked for; `message` has its words, `param` its name of the parameter. "
        "The hold is released (the answer may come a moment before).",
        "With a new key, when it is mended.",
    )
    invalid_import = Refusal(
        422, "The stock file is not one that can be imported; `problems` names line and column.", "No; mend the file."
    )
    inventory_busy = Refusal(
        429,
        "Too many want the same at this moment: the rows could not be locked within INVENTORY_LOCK_TIMEOUT_MS, "
        "one hold got more than ten messages at once, or another import runs. Nothing was changed.",
        "Yes, after `retryAfter` milliseconds (header Retry-After, in seconds), with the same key.",
    )
    internal_error = Refusal(500, "A fault of Holdfast; the log has it.", "Yes, with the same key.")
    payment_provider_refused = Refusal(
        502,
        "Stripe refuses Holdfast's key or the shop's account; `message` has its words. "
        "The hold is released (the answer may come a moment before).",
        "When operations have mended it.",
    )
    payments_not_configured = Refusal(503, "STRIPE_API_KEY is not set.", "When operations have set it.")
    webhook_not_configured = Refusal(
        503, "STRIPE_WEBHOOK_SECRET is not set, so nobody can be believed.", "When operations have set it; Stripe does."
    )
    payment_provider_unavailable = Refusal(
        503, "Stripe is out of reach.", "Yes, after `retryAfter`, with the same key."
    )
    inventory_unavailable = Refusal(
        503, "Postgres or Temporal is out of reach. It is never a silent yes.", "Yes, with the same key or `holdId`."
    )
    inventory_timeout = Refusal(
        504,
        "No answer within INVENTORY_REQUEST_TIMEOUT_MS. What was asked may still happen.",
        "Yes, with the same key or the `holdId` of the answer: it tells what became of it.",
    )


class ApiError(Exception):
    """An answer other than success. `details` are further fields of the body."""

    def __init__(self, problem: Problem, message: str | None = None, **details: Any) -> None:  # noqa: ANN401 - JSON
        super().__init__(message or problem.value.cause)
        self.problem = problem
        self.message = message or problem.value.cause
        self.details = details

    def response(self) -> JSONResponse:
        """Return the error as an answer."""
        body: dict[str, Any] = {"error": self.problem.name}
        if self.problem.value.code:
            body["code"] = self.problem.value.code
        body |= {"message": self.message, **self.details}
        headers = {}
        retry_ms = RETRY_MS.get(self.problem.value.status)
        if retry_ms is not None and self.problem.value.retry.startswith("Yes"):
            body["retryAfter"] = retry_ms
            headers["Retry-After"] = str(-(-retry_ms // 1000))
        if self.problem is Problem.unauthorized:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(body, status_code=self.problem.value.status, headers=headers)


class CrowdedError(Exception):
    """Too many messages to Temporal at once, to one hold or in all; nothing was changed."""


def invalid(field: str, message: str) -> ApiError:
    """Return the 422 for one field."""
    return ApiError(Problem.invalid_request, f"{field}: {message}", fields=[{"field": field, "message": message}])


def install_error_handlers(app: FastAPI) -> None:
    """Make every failure of the app answer in the one shape, without a stack trace."""

    @app.exception_handler(ApiError)
    async def _api_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)  # noqa: S101 - narrows the type
        if error.problem.value.status >= 500:  # noqa: PLR2004
            context_of(request).telemetry.fail(
                "inventory_hold_error",
                problem=error.problem.name,
                detail=f"{error.message} {error.__cause__ or ''}".strip(),
                path=request.url.path,
            )
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        problems = error.errors()
        if (broken := not_json(problems)) is not None:
            return ApiError(Problem.invalid_json, broken).response()
        fields = field_problems(problems, content_type=request.headers.get("content-type"))
        message = "; ".join(f"{field['field']}: {field['message']}" for field in fields[:3])
        return ApiError(Problem.invalid_request, message, fields=fields).response()

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        known = {
            400: Problem.invalid_json,
            404: Problem.not_found,
            405: Problem.method_not_allowed,
            413: Problem.body_too_large,
        }
        problem = known.get(error.status_code, Problem.invalid_request)
        response = ApiError(problem, UNREADABLE if problem is Problem.invalid_json else None).response()
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(CrowdedError)
    @app.exception_handler(DatabaseBusyError)
    async def _busy(request: Request, error: Exception) -> JSONResponse:
        context_of(request).telemetry.warn("inventory_hold_busy", path=request.url.path, detail=str(error))
        return ApiError(Problem.inventory_busy).response()

    @app.exception_handler(DatabaseUnavailableError)
    async def _unavailable(request: Request, error: Exception) -> JSONResponse:
        # Its text names hosts and users: that is for the log.
        away = ApiError(Problem.inventory_unavailable, "Postgres is out of reach.")
        away.__cause__ = error
        return await _api_error(request, away)

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
        context_of(request).telemetry.fail("inventory_hold_error", problem=repr(error), path=request.url.path)
        return ApiError(Problem.internal_error).response()
