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

    The file is CSV in UTF-8 of up to 100,000 rows and 64 MiB. The answer has a line of JSON for each row: the values
    before and after, and the `result`: `created`, `changed` or `unchanged`. Items not in the file do not change.
    """
    _require_csv(request.headers.get("content-type"))
    with ExitStack() as files:
        sent, rows, report = (files.enter_context(_spool()) for _ in range(3))
        async for block in request.stream():
            await asyncio.to_thread(sent.write, block)
        sent.seek(0)
        await asyncio.to_thread(convert_stock_file, sent, rows)
        await run_for_caller(
            _MILLISECONDS, import_stock(engine, rows, report, actor=caller.actor, dry_run=query.dry_run)
        )
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

    A text that a spreadsheet would read as a formula gets a leading apostrophe, which an import removes.
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
    if media.strip().lower() != "text/csv" or charset not in ("", "utf-8", "utf8"):
        raise invalid("Content-Type", "must be text/csv, in UTF-8")


async def _blocks(file: IO[bytes], files: ExitStack) -> AsyncIterator[bytes]:
    with files:
        file.seek(0)
        while block := await asyncio.to_thread(file.read, _BLOCK):
            yield block
