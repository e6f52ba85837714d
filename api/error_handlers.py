"""The answer to each expected error of the layers below, in one table, and the handlers that send it."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.access_log import REQUEST_ID
from api.dependencies import resources_of
from api.errors import ApiError, closed_page, insufficient, invalid
from api.problems import Problem
from api.responses import LimitOut
from api.stock_responses import BelowHeldOut, BelowZeroOut, FileProblemOut, NameOut, TooManyOut
from api.validation_messages import UNREADABLE, field_problems, not_json
from core.database import DatabaseBusyError, DatabaseUnavailableError
from core.json_model import Record
from core.request_context import current_request
from domain.holds import Hold, HoldKey
from holds import errors
from holds.hold_json import HoldOut
from inventory import errors as stock
from payments.errors import UnknownFeeError


def _not_active(error: errors.HoldNotActiveError) -> ApiError:
    return ApiError(Problem.hold_not_active, str(error), holdId=error.key.hold_id, status=error.status.value)


def _already_attached(error: errors.PaymentAlreadyAttachedError) -> ApiError:
    return ApiError(Problem.payment_already_attached, holdId=error.hold.hold_id, **_payment_ids(error.hold))


def _in_progress(error: errors.PaymentInProgressError) -> ApiError:
    hold = HoldOut.of(error.hold).model_dump(mode="json", include={"hold_id", "status", "expires_at"})
    return ApiError(Problem.payment_in_progress, **hold, **_payment_ids(error.hold))


def _payment_open(error: errors.PaymentOpenError) -> ApiError:
    return ApiError(Problem.payment_open, holdId=error.hold.hold_id, **_payment_ids(error.hold))


def _not_made(error: errors.PaymentNotMadeError) -> ApiError:
    state = {} if error.state is None else {"paymentState": error.state}
    return ApiError(
        Problem.payment_not_made, str(error), holdId=error.hold.hold_id, **state, **_payment_ids(error.hold)
    )


def _over_limit(error: errors.LimitExceededError) -> ApiError:
    limits = [LimitOut.of(limit).dump() for limit in error.limits]
    return ApiError(Problem.limit_exceeded, str(error), limits=limits, **closed_page(error.closed_session))


def _unknown_payment(error: errors.UnknownPaymentError) -> ApiError:
    field = "checkoutSessionId" if error.payment.session_id else "paymentIntentId"
    return invalid(field, "Stripe has none with this id")


def _checkout_refused(error: errors.CheckoutRefusedError) -> ApiError:
    problem = Problem.checkout_refused if error.callers_fault else Problem.payment_provider_refused
    details = {"stripeCode": error.code, "param": error.param, "holdId": error.hold_id}
    return ApiError(problem, str(error), **{name: value for name, value in details.items() if value is not None})


def _unknown_fee(error: UnknownFeeError) -> ApiError:
    allowed = "must be name, unitAmount and currency instead: the shop's application fee is a percentage"
    return invalid(f"{error.place}.price", allowed)


def _payments_not_configured(error: errors.PaymentsNotConfiguredError) -> ApiError:
    return ApiError(Problem.payments_not_configured, str(error), **_hold_id(error.hold_id))


def _invalid_file(error: stock.InvalidFileError) -> ApiError:
    first = error.problems[0]
    column = f", column {first.column}" if first.column else ""
    problems = [FileProblemOut.of(problem).dump() for problem in error.problems]
    return ApiError(Problem.invalid_import, f"Line {first.line}{column}: {first.message}", problems=problems)


def _not_committed(error: stock.HoldNotCommittedError) -> ApiError:
    message = f"The hold is {error.status}, not committed: it sold no units."
    return ApiError(Problem.hold_not_active, message, holdId=error.hold_id, status=error.status)


def _of_items(problem: Problem, shape: type[Record]) -> Callable[[Any], ApiError]:
    return lambda error: ApiError(problem, items=[shape.of(item).dump() for item in error.items])


_ANSWERS: dict[type[Exception], Callable[[Any], ApiError]] = {
    errors.InsufficientStockError: insufficient,
    errors.LimitExceededError: _over_limit,
    errors.HoldExistsError: lambda error: ApiError(Problem.hold_exists, holdId=error.hold_id),
    errors.IdempotencyConflictError: lambda error: ApiError(Problem.idempotency_conflict, **_hold_id(error.hold_id)),
    errors.HoldNotFoundError: lambda _: ApiError(Problem.hold_not_found),
    errors.OrderNotFoundError: lambda _: ApiError(Problem.order_not_found),
    errors.HoldNotActiveError: _not_active,
    errors.NotInHoldError: lambda error: invalid("items", str(error)),
    errors.ExtendLimitError: lambda _: ApiError(Problem.hold_extend_limit),
    errors.PaymentAlreadyAttachedError: _already_attached,
    errors.PaymentInProgressError: _in_progress,
    errors.PaymentOpenError: _payment_open,
    errors.PaymentNotMadeError: _not_made,
    errors.PaymentNotPayableError: lambda _: ApiError(Problem.payment_not_payable),
    errors.PaymentOfAnotherHoldError: lambda _: ApiError(Problem.payment_of_another_hold),
    errors.UnknownPaymentError: _unknown_payment,
    errors.CheckoutRefusedError: _checkout_refused,
    UnknownFeeError: _unknown_fee,
    errors.PaymentsNotConfiguredError: _payments_not_configured,
    errors.PaymentProviderUnavailableError: lambda error: ApiError(Problem.payment_provider_unavailable, str(error)),
    stock.UnknownItemsError: _of_items(Problem.item_not_found, NameOut),
    stock.CountBelowHeldError: _of_items(Problem.count_below_held, BelowHeldOut),
    stock.StockBelowZeroError: _of_items(Problem.stock_below_zero, BelowZeroOut),
    stock.StockAboveLimitError: _of_items(Problem.stock_above_limit, NameOut),
    stock.ReturnAboveCommittedError: _of_items(Problem.restock_above_committed, TooManyOut),
    stock.HoldNotCommittedError: _not_committed,
    stock.KeyReusedError: lambda _: ApiError(Problem.idempotency_conflict),
    stock.InvalidFileError: _invalid_file,
    errors.StockBusyError: lambda _: ApiError(Problem.inventory_busy),
    errors.TemporalBusyError: lambda _: ApiError(Problem.inventory_busy),
    DatabaseBusyError: lambda _: ApiError(Problem.inventory_busy),
    errors.UnavailableError: lambda error: ApiError(Problem.inventory_unavailable, str(error), **_key(error.key)),
    # Its text names hosts and users: that is for the log.
    DatabaseUnavailableError: lambda _: ApiError(Problem.inventory_unavailable, "Postgres cannot be reached."),
    errors.RequestTimeoutError: lambda error: ApiError(Problem.inventory_timeout, **_key(error.key)),
}
"""The answer to each expected failure of the layers below; subclasses count as their base."""

_CLIENT_CLOSED_REQUEST = 499
"""For the metrics only, as nginx has it: nobody receives the answer."""


def answer_to(error: Exception) -> ApiError | None:
    """Return the answer to a domain error, or None for an error that is not expected."""
    if isinstance(error, ApiError):
        return error
    for kind in type(error).__mro__:
        if (make := _ANSWERS.get(kind)) is not None:
            answer = make(error)
            answer.__cause__ = error.__cause__ if isinstance(error, errors.HoldsError) else error
            return answer
    return None


def _key(key: HoldKey | None) -> dict[str, str]:
    return _hold_id(None if key is None else key.hold_id)


def _hold_id(hold_id: str | None) -> dict[str, str]:
    return {} if hold_id is None else {"holdId": hold_id}


def _payment_ids(hold: Hold) -> dict[str, str]:
    named = {"checkoutSessionId": hold.payment_session_id, "paymentIntentId": hold.payment_intent_id}
    return {name: value for name, value in named.items() if value is not None}


def install_error_handlers(app: FastAPI) -> None:
    """Make every failure of the app answer in the one shape, without a stack trace."""

    async def expected(request: Request, error: Exception) -> JSONResponse:
        answer = answer_to(error)
        assert answer is not None  # noqa: S101 - it is registered for what has an answer
        _record(request, error, answer)
        return answer.response()

    expected_kinds: list[type[Exception]] = [ApiError, *_ANSWERS]
    for kind in expected_kinds:
        app.add_exception_handler(kind, expected)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - narrows the type
        problems = error.errors()
        if (broken := not_json(problems)) is not None:
            return ApiError(Problem.invalid_json, broken).response()
        fields = field_problems(problems, content_type=request.headers.get("content-type"))
        message = "; ".join(f"{field['field']}: {field['message']}" for field in fields[:3])
        return ApiError(Problem.invalid_request, message, fields=fields).response()

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - narrows the type
        match error.__cause__:  # FastAPI wraps what reading the body raises
            case ApiError() as refusal:
                return refusal.response()
            case ClientDisconnect():
                return Response(status_code=_CLIENT_CLOSED_REQUEST)
        return _http_answer(request, error)

    @app.exception_handler(ClientDisconnect)
    async def _gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        resources_of(request).telemetry.fail("inventory_hold_error", problem=repr(error), status=500)
        return _named(ApiError(Problem.internal_error).response())


def _named(response: JSONResponse) -> JSONResponse:
    """Return the answer with the request's id: it is sent from outside of the middleware that adds it to all others."""
    request = current_request.get()
    if request is not None:
        response.headers[REQUEST_ID] = request.request_id
    return response


def _http_answer(request: Request, error: HTTPException) -> Response:
    """Return the answer to what the framework refuses by itself."""
    known = {
        400: Problem.invalid_json,
        404: Problem.not_found,
        405: Problem.method_not_allowed,
        413: Problem.body_too_large,
    }
    problem = known.get(error.status_code, Problem.invalid_request)
    response = ApiError(problem, UNREADABLE if problem is Problem.invalid_json else None).response()
    response.headers.update(error.headers or {})
    if problem is Problem.method_not_allowed:
        response.headers["Allow"] = _allowed_methods(request)
    return response


def _allowed_methods(request: Request) -> str:
    """Return the methods of all routes of the path; the framework knows of the first one only."""
    matching = (route for route in iter_route_contexts(request.app.routes) if route.path_regex.match(request.url.path))
    return ", ".join(sorted({method for route in matching for method in route.methods or ()}))


def _record(request: Request, error: Exception, answer: ApiError) -> None:
    """Count and log an answer that operations watch."""
    telemetry = resources_of(request).telemetry
    if answer.problem.value.status >= 500:  # noqa: PLR2004
        detail = f"{answer.message} {answer.__cause__ or ''}".strip()
        status = answer.problem.value.status
        telemetry.fail("inventory_hold_error", problem=answer.problem.name, detail=detail, status=status)
    elif isinstance(error, (DatabaseBusyError, errors.TemporalBusyError)):  # the worker counts its own StockBusyError
        telemetry.warn("inventory_hold_busy", status=answer.problem.value.status, detail=str(error))
    elif isinstance(error, errors.LimitExceededError):
        telemetry.count("inventory_hold_over_limit", shop_id=error.shop_id)
    elif isinstance(error, errors.InsufficientStockError):
        telemetry.count("inventory_hold_insufficient", shop_id=error.shop_id)
        telemetry.rejected(error.shop_id, [(item.sku, item.known) for item in error.items])
