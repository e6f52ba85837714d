"""Importing and exporting stock: a file of counts, made whole in one transaction or not at all.

All that takes long happens before an item is locked: the file is checked, copied into a temporary table and searched
for duplicates there. One statement then locks the rows that change, in key order, and changes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

import psycopg
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import DatabaseBusyError
from core.transactions import on_connection
from inventory.counts import BelowHeld, with_their_holds
from inventory.stock_file import FileProblem, InvalidFileError
from inventory.stock_import_statements import APPLY, DUPLICATES, EXPORT, INDEX, LIMITS, LOOK, MAKE, REPORT

_BLOCK = 256 * 1024
_LOCK_KEY = int.from_bytes(b"import")


@dataclass(frozen=True, slots=True)
class LineBelowHeld:
    """A line whose count is lower than what active holds have of its item."""

    line: int
    shop_id: str
    item: BelowHeld


class ImportBelowHeldError(Exception):
    """Counts were lower than what is held. Nothing was changed; `lines` has the first hundred."""

    def __init__(self, lines: Sequence[LineBelowHeld]) -> None:
        super().__init__("counted below what is held")
        self.lines = tuple(lines)


async def import_stock(
    engine: AsyncEngine, rows: IO[bytes], report: IO[bytes], *, actor: str, dry_run: bool = False
) -> None:
    """Set every item that `rows` names to its count, making those that are new, or with `dry_run` only look.

    `rows` is what `transcribe` wrote. Writes to `report` one JSON object a line, for each row in order: what was and
    what is (or would be) then. Items that the file does not name are left alone; variant attributes and whether an item
    is retired stay. May be repeated. Raises InvalidFileError for an item on two lines, ImportBelowHeldError,
    DatabaseBusyError (nothing was changed; also while another import runs) and DatabaseUnavailableError.
    """

    async def work(connection: AsyncConnection) -> None:
        raw = await _psycopg_connection(connection)
        rows.seek(0)
        report.seek(0)
        report.truncate()
        async with connection.begin():
            await _stage(connection, raw, rows)
            await _apply(connection, actor=actor, dry_run=dry_run)
        # The items' locks are gone: nobody waits while the report is written.
        async with connection.begin():
            for statement in (*LIMITS, "ANALYZE import_report"):
                await connection.exec_driver_sql(statement)
            await _copy_out(raw, sql.SQL(REPORT), report)
            await connection.exec_driver_sql("DROP TABLE import_row, import_report")

    try:
        await on_connection(engine, work)
    except ImportBelowHeldError as error:
        raise ImportBelowHeldError(await _with_holds(engine, error.lines)) from None


async def export_stock(engine: AsyncEngine, shop_id: str, out: IO[bytes]) -> None:
    """Write the shop's items to `out` as a stock file, retired ones too. Importing it at once changes nothing.

    A text that a spreadsheet would take for a formula gets an apostrophe in front, which an import takes away.
    Raises DatabaseBusyError and DatabaseUnavailableError.
    """
    statement = sql.SQL(EXPORT).format(
        shop=sql.Literal(shop_id),
        sku=_guarded("sku"),
        variant=_guarded("variantKey"),
        product=_guarded("productId"),
    )

    async def work(connection: AsyncConnection) -> None:
        raw = await _psycopg_connection(connection)
        out.seek(0)
        out.truncate()
        async with connection.begin():
            for limit in LIMITS:
                await connection.exec_driver_sql(limit)
            await _copy_out(raw, statement, out)

    await on_connection(engine, work)


def _guarded(column: str) -> sql.Composable:
    """Return the column's text as a cell; `transcribe` undoes it, so that whatever the text is, it comes back."""
    return sql.SQL("regexp_replace(i.{0}, {1}, {2})").format(
        sql.Identifier(column), sql.Literal(r"^('*[=+\-@])"), sql.Literal(r"'\1")
    )


async def _psycopg_connection(connection: AsyncConnection) -> psycopg.AsyncConnection[Any]:
    """Return psycopg's connection, which has COPY."""
    raw = (await connection.get_raw_connection()).driver_connection
    assert isinstance(raw, psycopg.AsyncConnection)  # noqa: S101 - narrows the type
    return raw


async def _stage(connection: AsyncConnection, raw: psycopg.AsyncConnection[Any], rows: IO[bytes]) -> None:
    found = await connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({_LOCK_KEY})")
    if not found.scalar_one():
        raise DatabaseBusyError("another import is under way")
    for statement in (*LIMITS, *MAKE):
        await connection.exec_driver_sql(statement)
    async with raw.cursor() as cursor, cursor.copy("COPY import_row FROM STDIN") as copy:
        while block := rows.read(_BLOCK):
            await copy.write(block)
    for statement in INDEX:
        await connection.exec_driver_sql(statement)
    duplicates = (await connection.exec_driver_sql(DUPLICATES)).all()
    if duplicates:
        raise InvalidFileError(
            [FileProblem(row.line, "sku", f"names the item of line {row.first} again") for row in duplicates]
        )


async def _apply(connection: AsyncConnection, *, actor: str, dry_run: bool) -> None:
    while True:
        savepoint = await connection.begin_nested()
        result = await connection.exec_driver_sql(LOOK if dry_run else APPLY, {} if dry_run else {"actor": actor})
        row = result.one()
        if row.below:
            raise ImportBelowHeldError(
                [
                    LineBelowHeld(
                        each["line"],
                        each["shopId"],
                        BelowHeld(each["sku"], each["variantKey"], each["onHand"], each["held"]),
                    )
                    for each in row.below
                ]
            )
        if not row.missed:
            return
        # Somebody made one of the new items meanwhile: begin again, now it is there to be locked.
        await savepoint.rollback()


async def _copy_out(raw: psycopg.AsyncConnection[Any], statement: sql.SQL | sql.Composed, out: IO[bytes]) -> None:
    async with raw.cursor() as cursor, cursor.copy(statement) as copy:
        async for block in copy:
            out.write(block)


async def _with_holds(engine: AsyncEngine, lines: Sequence[LineBelowHeld]) -> list[LineBelowHeld]:
    named: list[LineBelowHeld] = []
    for shop_id in dict.fromkeys(line.shop_id for line in lines):
        of_shop = [line for line in lines if line.shop_id == shop_id]
        items = await with_their_holds(engine, shop_id, [line.item for line in of_shop])
        named.extend(replace(line, item=item) for line, item in zip(of_shop, items, strict=True))
    return sorted(named, key=lambda line: line.line)
