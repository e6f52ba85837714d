"""Stock files: import and export. They rest on disk while callers send or take them: no slow one holds a connection."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import ExitStack
from typing import IO, Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from api.auth import Admin, Authority, KnownCallersRoute
from api.dependencies import resources_of
from api.errors import ApiError, invalid
from api.openapi import FORBIDDEN, errors, stock_file, stock_report
from api.problems import Problem
from api.stock_requests import ExportQuery, ImportQuery
from api.stock_responses import BelowHeldOut, FileProblemOut
from core.timeouts import run_with_timeout
from inventory.stock_file import InvalidFileError, transcribe
from inventory.stock_import import ImportBelowHeldError, export_stock, import_stock

router = APIRouter(prefix="/api/inventory", tags=["stock"], route_class=KnownCallersRoute)

_SECONDS = 60.0
"""How long the database may work on a file; 100,000 rows take it some seconds. The sending is not counted."""
_IN_MEMORY = 1024 * 1024
_BLOCK = 64 * 1024
_AWAY = (Problem.unauthorized, Problem.inventory_busy, Problem.inventory_unavailable, Problem.inventory_timeout)


@router.post(
    "/import",
    summary="Import a stock file (admin)",
    response_class=StreamingResponse,
    responses={
        200: stock_report(),
        **errors(Problem.count_below_held, Problem.body_too_large, Problem.invalid_request, Problem.invalid_import),
        **errors(*_AWAY),
        **FORBIDDEN,
    },
    openapi_extra=stock_file(),
)
async def import_items(request: Request, caller: Admin, query: Annotated[ImportQuery, Query()]) -> StreamingResponse:
    """Set the items that the file names to its counts, all rows or none, or with `dryRun` only tell what would change.

    The file is CSV in UTF-8 of up to 100,000 rows and 64 MiB. The answer has a line of JSON for each row: what was,
    what is then, and the `result`: `created`, `changed` or `unchanged`. Items not in the file are left alone.
    """
    _require_csv(request.headers.get("content-type"))
    with ExitStack() as files:
        sent, rows, report = (files.enter_context(_spool()) for _ in range(3))
        try:
            async for block in request.stream():
                await asyncio.to_thread(sent.write, block)
        except ClientDisconnect as error:  # the part that came is no file
            raise ApiError(Problem.invalid_import, "The file broke off.", problems=[]) from error
        sent.seek(0)
        engine = resources_of(request).engine
        try:
            await asyncio.to_thread(transcribe, sent, rows)
            await _in_time(import_stock(engine, rows, report, actor=caller.actor, dry_run=query.dry_run))
        except InvalidFileError as error:
            raise _unreadable(error) from error
        except ImportBelowHeldError as error:
            lines = [BelowHeldOut.of_line(line).dump() for line in error.lines]
            raise ApiError(Problem.count_below_held, items=lines) from error
        return StreamingResponse(_blocks(report, files.pop_all()), media_type="application/x-ndjson")


@router.get(
    "/export",
    summary="Export a shop's stock",
    response_class=StreamingResponse,
    responses={
        200: {"description": "A stock file, which can be imported.", "content": stock_file()["requestBody"]["content"]},
        **errors(Problem.invalid_request, *_AWAY),
    },
)
async def export_items(
    request: Request, _caller: Authority, query: Annotated[ExportQuery, Query()]
) -> StreamingResponse:
    """Write all items of a shop as a stock file, by sku and variant. Imported at once it changes nothing.

    A text that a spreadsheet would take for a formula begins with an apostrophe here, which an import takes away.
    """
    with ExitStack() as files:
        out = files.enter_context(_spool())
        await _in_time(export_stock(resources_of(request).engine, query.shop_id, out))
        name = f'attachment; filename="stock-{query.shop_id}.csv"'
        blocks = _blocks(out, files.pop_all())
        return StreamingResponse(blocks, media_type="text/csv", headers={"Content-Disposition": name})


def _spool() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(_IN_MEMORY)


def _require_csv(content_type: str | None) -> None:
    media, _, parameters = (content_type or "").partition(";")
    charset = parameters.lower().partition("charset=")[2].strip(' "')
    if media.strip().lower() != "text/csv" or charset not in ("", "utf-8", "utf8"):
        raise invalid("Content-Type", "must be text/csv, in UTF-8")


async def _in_time(work: Coroutine[Any, Any, None]) -> None:
    try:
        await run_with_timeout(_SECONDS, work)
    except TimeoutError:
        raise ApiError(Problem.inventory_timeout) from None


def _unreadable(error: InvalidFileError) -> ApiError:
    problems = [FileProblemOut.of(problem).dump() for problem in error.problems]
    first = error.problems[0]
    place = f"Line {first.line}" + (f", column {first.column}" if first.column else "")
    return ApiError(Problem.invalid_import, f"{place}: {first.message}", problems=problems)


async def _blocks(file: IO[bytes], files: ExitStack) -> AsyncIterator[bytes]:
    with files:
        file.seek(0)
        while block := await asyncio.to_thread(file.read, _BLOCK):
            yield block
