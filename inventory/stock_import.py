"""Importing and exporting stock. An import sets the counts of a file in one transaction, all or none.

Everything slow is done before an item is locked: the file is checked, copied into a temporary table and searched for
duplicates. One statement then locks the items that change, in key order, and changes them.
"""

from collections.abc import Mapping, Sequence
from typing import IO, Any

import psycopg
from psycopg import sql
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import DatabaseBusyError, behind_pooler
from core.transactions import on_connection
from inventory.blocking_holds import oldest_holds
from inventory.errors import BelowHeld, CountBelowHeldError, FileProblem, InvalidFileError
from inventory.items import name_from_row
from inventory.stock_file import FORMULA, SHORTENED_NUMBER
from inventory.stock_import_statements import (
    ALL_JOINS,
    APPLY,
    CREATE_TABLES,
    DROP_TABLES,
    DUPLICATES,
    EXPORT,
    HASH_JOINS,
    INDEX_ROWS,
    LOST_ZEROS,
    NEAREST,
    NEAREST_OF_ROWS,
    NEW_ROWS,
    PREVIEW,
    REPORT,
    SESSION_LIMITS,
)

_BLOCK = 256 * 1024
_LOCK_KEY = int.from_bytes(b"import")


async def import_stock(
    engine: AsyncEngine,
    rows: IO[bytes],
    report: IO[bytes],
    *,
    actor: str,
    dry_run: bool = False,
    update_only: bool = False,
) -> None:
    """Set every item of `rows` to its count, creating new items; with `dry_run` change nothing and only report.

    `rows` is the output of `convert_stock_file`. Writes to `report` one line of JSON for each row, in order, with the
    item's values before and after, and of the first 100 new items the nearest existing one. Other items do not change,
    nor do variant attributes and retirement. May be repeated. Raises InvalidFileError for an item on two lines, for one
    whose leading zeros were lost, and with `update_only` for a new one; CountBelowHeldError with 100 items at most,
    DatabaseBusyError (nothing was changed; also while another import runs) and DatabaseUnavailableError.
    """

    async def work(connection: AsyncConnection) -> Sequence[Mapping[str, Any]]:
        raw = await _psycopg_connection(connection)
        rows.seek(0)
        report.seek(0)
        report.truncate()
        async with connection.begin() as transaction:
            await _stage(connection, raw, rows)
            await _compare_names(connection, update_only=update_only)
            if below := await _apply(connection, actor=actor, dry_run=dry_run):
                await transaction.rollback()
                return below
            if behind_pooler(engine):  # the next transaction may be in another session, without these tables
                await _write_report(connection, raw, report)
                return ()
        # The items are no longer locked while the report is written.
        async with connection.begin():
            for statement in SESSION_LIMITS:
                await connection.exec_driver_sql(statement)
            await _write_report(connection, raw, report)
        return ()

    if below := await on_connection(engine, work):
        raise CountBelowHeldError(await _below_held(engine, below))


async def export_stock(engine: AsyncEngine, shop_id: str, out: IO[bytes]) -> None:
    """Write the shop's items to `out` as a stock file, retired ones included. Importing that file changes nothing.

    Where a spreadsheet would read a formula in a text, an apostrophe is inserted, which an import removes.
    Raises DatabaseBusyError and DatabaseUnavailableError.
    """
    statement = sql.SQL(EXPORT).format(
        shop=sql.Literal(shop_id),
        sku=_guarded("sku"),
        variant=_guarded("variantKey"),
        product=_guarded("productId"),
        name=_guarded("name"),
    )

    async def work(connection: AsyncConnection) -> None:
        raw = await _psycopg_connection(connection)
        out.seek(0)
        out.truncate()
        async with connection.begin():
            for limit in SESSION_LIMITS:
                await connection.exec_driver_sql(limit)
            await _copy_out(raw, statement, out)

    await on_connection(engine, work)


def _guarded(column: str) -> sql.Composable:
    """Return the column's text, with apostrophes where `convert_stock_file` expects and removes them."""
    return sql.SQL("regexp_replace(regexp_replace(i.{0}, {1}, {2}, 'g'), {3}, {4})").format(
        sql.Identifier(column),
        sql.Literal(FORMULA),
        sql.Literal(r"\1\2'\3"),
        sql.Literal(SHORTENED_NUMBER),
        sql.Literal(r"'\1\2"),
    )


async def _psycopg_connection(connection: AsyncConnection) -> psycopg.AsyncConnection[Any]:
    """Return psycopg's connection, which has COPY."""
    raw = (await connection.get_raw_connection()).driver_connection
    assert isinstance(raw, psycopg.AsyncConnection)  # noqa: S101 - narrows the type
    return raw


async def _stage(connection: AsyncConnection, raw: psycopg.AsyncConnection[Any], rows: IO[bytes]) -> None:
    found = await connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({_LOCK_KEY})")
    if not found.scalar_one():
        raise DatabaseBusyError("another import is running")
    for statement in (*SESSION_LIMITS, *CREATE_TABLES):
        await connection.exec_driver_sql(statement)
    async with raw.cursor() as cursor, cursor.copy("COPY import_row FROM STDIN") as copy:
        while block := rows.read(_BLOCK):
            await copy.write(block)
    for statement in INDEX_ROWS:
        await connection.exec_driver_sql(statement)
    duplicates = (await connection.exec_driver_sql(DUPLICATES)).all()
    if duplicates:
        raise InvalidFileError(
            [FileProblem(row.line, "sku", f"names the same item as line {row.first}") for row in duplicates]
        )


async def _compare_names(connection: AsyncConnection, *, update_only: bool) -> None:
    """Compare the names of new items with those of existing ones.

    Raises InvalidFileError for names whose leading zeros were lost, and for all new ones with `update_only`.
    """
    await connection.exec_driver_sql(HASH_JOINS)
    lost = (await connection.exec_driver_sql(LOST_ZEROS)).all()
    if lost:
        message = "names no item, but {!r} exists: the spreadsheet removed zeros; format the column as text"
        raise InvalidFileError([FileProblem(row.line, row.column, message.format(row.existing)) for row in lost])
    if new := (await connection.exec_driver_sql(NEW_ROWS)).all():
        await connection.exec_driver_sql(NEAREST)
        if update_only:
            nearest = {row.line: row for row in await connection.exec_driver_sql(NEAREST_OF_ROWS)}
            raise InvalidFileError([_unknown_item(row, nearest.get(row.line)) for row in new])
    await connection.exec_driver_sql(ALL_JOINS)


def _unknown_item(row: Row[Any], nearest: Row[Any] | None) -> FileProblem:
    name = f"{row.sku} {row.variantKey}".strip()
    hint = f"; the nearest is {f'{nearest.sku} {nearest.variantKey}'.strip()!r}" if nearest is not None else ""
    return FileProblem(row.line, "sku", f"{name!r} is no item of the shop, and this import creates none{hint}")


async def _apply(connection: AsyncConnection, *, actor: str, dry_run: bool) -> Sequence[Mapping[str, Any]]:
    """Set the counts and fill the table of the report; with `dry_run` do only the latter.

    Returns the rows whose counts are below what is held, 100 at most; nothing was set then.
    """
    while True:
        savepoint = await connection.begin_nested()
        result = await connection.exec_driver_sql(PREVIEW if dry_run else APPLY, {} if dry_run else {"actor": actor})
        row = result.one()
        if row.below or not row.missed:
            return row.below or ()
        # Another transaction created one of the new items: begin again, now it exists and can be locked.
        await savepoint.rollback()


async def _write_report(connection: AsyncConnection, raw: psycopg.AsyncConnection[Any], report: IO[bytes]) -> None:
    for statement in ("ANALYZE import_report", "ANALYZE import_nearest"):
        await connection.exec_driver_sql(statement)
    await _copy_out(raw, sql.SQL(REPORT), report)
    await connection.exec_driver_sql(DROP_TABLES)


async def _copy_out(raw: psycopg.AsyncConnection[Any], statement: sql.SQL | sql.Composed, out: IO[bytes]) -> None:
    async with raw.cursor() as cursor, cursor.copy(statement) as copy:
        async for block in copy:
            out.write(block)


async def _below_held(engine: AsyncEngine, rows: Sequence[Mapping[str, Any]]) -> list[BelowHeld]:
    """Return the rows of the file with the holds of their items, in the order of their lines."""
    below = list[BelowHeld]()
    for shop_id in dict.fromkeys(row["shopId"] for row in rows):
        of_shop = [row for row in rows if row["shopId"] == shop_id]
        holds = await oldest_holds(engine, shop_id, map(name_from_row, of_shop))
        below += [
            BelowHeld(
                row["sku"],
                row["variantKey"],
                row["onHand"],
                row["held"],
                holds[name_from_row(row)],
                line=row["line"],
                shop_id=shop_id,
            )
            for row in of_shop
        ]
    return sorted(below, key=lambda item: item.line or 0)
