"""Stock files: import and export.

A file is kept on disk while its caller sends or receives it, so that a slow caller occupies no database connection.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import IO, Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from api.auth import Admin, Authority, KnownCallersRoute
from api.dependencies import EngineDep
from api.errors import invalid
from api.openapi import FORBIDDEN, errors, stock_file, stock_report
from api.problems import Problem
from api.stock_requests import ExportQuery, ImportQuery
from holds.request_timeout import run_for_caller
from inventory.stock_file import convert_stock_file
from inventory.stock_import import export_stock, import_stock

router = APIRouter(prefix="/api/inventory", tags=["stock"], route_class=KnownCallersRoute)

_MILLISECONDS = 60_000
"""The time-out of the database's work on a file; 100,000 rows take some seconds. Sending the file is not included."""
_CHARSETS = ("", "utf-8", "utf8", "utf-16", "windows-1252")
"""Of the header. The encoding is found from the file itself."""
_IN_MEMORY = 1024 * 1024
_BLOCK = 64 * 1024
_COMMON_ERRORS = (
    Problem.unauthorized,
    Problem.inventory_busy,
    Problem.inventory_unavailable,
    Problem.inventory_timeout,
)


@router.post(
    "/import",
    summary="Import a stock file (admin)",
    response_class=StreamingResponse,
    responses={
        200: stock_report(),
        **errors(Problem.count_below_held, Problem.body_too_large, Problem.invalid_request, Problem.invalid_import),
        **errors(*_COMMON_ERRORS),
        **FORBIDDEN,
    },
    openapi_extra=stock_file(),
)
async def import_items(
    *, request: Request, engine: EngineDep, caller: Admin, query: Annotated[ImportQuery, Query()]
) -> StreamingResponse:
    """Set the items of the file to its counts, all rows or none. With `dryRun`, only report what would change.

    The file is CSV as spreadsheets save it, up to 100,000 rows and 64 MiB. The answer has a line of JSON for each row:
    the values before and after, the `result` (`created`, `changed` or `unchanged`) and, for the first hundred new
    items, the `nearest` existing one. A last line with `notes` says what was assumed or ignored, if anything was. Items
    not in the file do not change.
    """
    _require_csv(request.headers.get("content-type"))
    with ExitStack() as files:
        sent, rows, report = (files.enter_context(_spool()) for _ in range(3))
        async for block in request.stream():
            await asyncio.to_thread(sent.write, block)
        sent.seek(0)
        converted = await asyncio.to_thread(convert_stock_file, sent, rows, shop_id=query.shop_id)
        work = import_stock(
            engine, rows, report, actor=caller.actor, dry_run=query.dry_run, update_only=query.update_only
        )
        await run_for_caller(_MILLISECONDS, work)
        report.write(converted.last_line())
        return StreamingResponse(_blocks(report, files.pop_all()), media_type="application/x-ndjson")


@router.get(
    "/export",
    summary="Export a shop's stock",
    response_class=StreamingResponse,
    responses={
        200: {"description": "A stock file, which can be imported.", "content": stock_file()["requestBody"]["content"]},
        **errors(Problem.invalid_request, *_COMMON_ERRORS),
    },
)
async def export_items(
    *, engine: EngineDep, _caller: Authority, query: Annotated[ExportQuery, Query()]
) -> StreamingResponse:
    """Write all items of a shop as a stock file, by sku and variant. Importing that file changes nothing.

    Where a spreadsheet would read a formula in a text, an apostrophe is inserted, which an import removes.
    """
    with ExitStack() as files:
        out = files.enter_context(_spool())
        await run_for_caller(_MILLISECONDS, export_stock(engine, query.shop_id, out))
        name = f'attachment; filename="stock-{query.shop_id}.csv"'
        blocks = _blocks(out, files.pop_all())
        return StreamingResponse(blocks, media_type="text/csv", headers={"Content-Disposition": name})


def _spool() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(_IN_MEMORY)


def _require_csv(content_type: str | None) -> None:
    media, _, parameters = (content_type or "").partition(";")
    charset = parameters.lower().partition("charset=")[2].strip(' "')
    if media.strip().lower() != "text/csv" or charset not in _CHARSETS:
        raise invalid("Content-Type", "must be text/csv, in utf-8, utf-16 or windows-1252")


async def _blocks(file: IO[bytes], files: ExitStack) -> AsyncIterator[bytes]:
    with files:
        file.seek(0)
        while block := await asyncio.to_thread(file.read, _BLOCK):
            yield block
