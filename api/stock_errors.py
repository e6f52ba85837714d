"""Answers to the errors of `inventory.errors`, in one table."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from api.errors import ApiError
from api.problems import Problem
from api.stock_responses import BelowHeldOut, BelowZeroOut, FileProblemOut, NameOut, TooManyOut
from core.json_model import Record
from inventory.errors import (
    CountBelowHeldError,
    HoldNotCommittedError,
    InvalidFileError,
    KeyReusedError,
    ReturnAboveCommittedError,
    StockAboveLimitError,
    StockBelowZeroError,
    StockError,
    UnknownItemsError,
)

PROBLEMS: dict[type[StockError], tuple[Problem, type[Record] | None]] = {
    UnknownItemsError: (Problem.item_not_found, NameOut),
    CountBelowHeldError: (Problem.count_below_held, BelowHeldOut),
    StockBelowZeroError: (Problem.stock_below_zero, BelowZeroOut),
    StockAboveLimitError: (Problem.stock_above_limit, NameOut),
    ReturnAboveCommittedError: (Problem.restock_above_committed, TooManyOut),
    HoldNotCommittedError: (Problem.hold_not_active, None),
    KeyReusedError: (Problem.idempotency_conflict, None),
    InvalidFileError: (Problem.invalid_import, None),
}
"""The problem that answers each error, and the shape of its `items`."""


def answer_to(error: StockError) -> ApiError:
    """Return the answer to a change of stock that was refused."""
    problem, item = PROBLEMS[type(error)]
    match error:
        case InvalidFileError():
            first = error.problems[0]
            column = f", column {first.column}" if first.column else ""
            problems = [FileProblemOut.of(each).dump() for each in error.problems]
            return ApiError(problem, f"Line {first.line}{column}: {first.message}", problems=problems)
        case HoldNotCommittedError():
            message = f"The hold is {error.status}, not committed: it sold no units."
            return ApiError(problem, message, holdId=error.hold_id, status=error.status)
    return ApiError(problem) if item is None else ApiError(problem, items=[item.of(i).dump() for i in error.items])


def install_stock_errors(app: FastAPI) -> None:
    """Answer every StockError that a route raises."""

    @app.exception_handler(StockError)
    async def _stock_error(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, StockError)  # noqa: S101 - narrows the type
        return answer_to(error).response()
