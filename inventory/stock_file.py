"""Reading a stock file: CSV in UTF-8 with a header, as spreadsheets write it. Problems are named by line and column.

The format of the file belongs to the import and the export, so it is beside their SQL.
"""

import csv
import io
import re
from collections.abc import Iterator
from typing import IO

from domain.fields import MAX_ON_HAND
from domain.names import NAME_RULE, is_name
from inventory.errors import FileProblem, InvalidFileError

COLUMNS = ("shopId", "sku", "variantKey", "productId", "onHand", "lowStockThreshold")
"""The columns of the header: all of them, in any order, and no others."""
MAX_ROWS = 100_000
"""The most rows of a file: they are imported in one transaction, within the lock time-out of a checkout that waits."""
MAX_LINE = 16_384
"""The most characters of a line: more than the longest values of all columns, quoted."""
MAX_PROBLEMS = 100
"""The most problems that are reported; the rest of the file is not checked."""

_MAX_TEXT = 200
_NUMBER = re.compile(r"[0-9]{1,10}")
_UNDECODABLE = re.compile("[\udc80-\udcff]")
_GUARDED = re.compile(r"'+[=+\-@]")


class _LineError(Exception):
    """A problem in one line."""

    def __init__(self, column: str | None, message: str) -> None:
        super().__init__(message)
        self.column = column
        self.message = message


def convert_stock_file(source: IO[bytes], out: IO[bytes]) -> int:
    """Check every row of a stock file and write it to `out` in COPY's text format, with the columns (line, *COLUMNS).

    Returns the number of rows. Works line by line, so that memory does not grow with the file. Raises InvalidFileError;
    `out` is incomplete then.
    """
    text = io.TextIOWrapper(source, encoding="utf-8-sig", errors="surrogateescape", newline=None)
    problems: list[FileProblem] = []
    order: list[str] | None = None
    rows = 0
    try:
        for number, line in _lines(text):
            try:
                fields = _fields(line)
                if order is None:
                    order = _order(fields)
                elif fields:
                    rows += 1
                    out.write(_copy_row(number, _values(order, fields, rows)))
            except _LineError as error:
                problems.append(FileProblem(number, error.column, error.message))
                if order is None or rows > MAX_ROWS or len(line) > MAX_LINE or len(problems) == MAX_PROBLEMS:
                    break
    finally:
        text.detach()
    if order is None and not problems:
        problems.append(FileProblem(1, None, f"is missing: the file is empty; its first line must be {_HEADER}"))
    if problems:
        raise InvalidFileError(problems)
    return rows


_HEADER = ",".join(COLUMNS)


def _lines(text: io.TextIOWrapper) -> Iterator[tuple[int, str]]:
    number = 0
    while line := text.readline(MAX_LINE + 1):
        number += 1
        yield number, line


def _fields(line: str) -> list[str]:
    """Return the fields of one line. No value may contain a line break, so each line is a row."""
    if len(line) > MAX_LINE:
        raise _LineError(None, f"is longer than {MAX_LINE:,} characters")
    try:
        return next(csv.reader([line.rstrip("\n")], strict=True), [])
    except csv.Error as error:
        if line.count('"') % 2:
            raise _LineError(None, 'has a quote (") that is not closed; within quotes write "" for one') from None
        raise _LineError(None, f"is not CSV: {error}") from None


def _order(header: list[str]) -> list[str]:
    """Return the columns in the file's order. Raises _LineError for the first invalid column."""
    for name in header:
        if _UNDECODABLE.search(name) or "\0" in name:
            raise _LineError(None, 'is not UTF-8; save the file as "CSV UTF-8"')
        if name not in COLUMNS:
            hint = "; separate columns by commas" if re.search(r"shopId[;\t|]", name) else ""
            raise _LineError(_shown(name), f"is not a column of a stock file{hint}; the header must be {_HEADER}")
        if header.count(name) > 1:
            raise _LineError(name, "is in the header twice")
    for name in COLUMNS:
        if name not in header:
            raise _LineError(name, f"is missing from the header, which must be {_HEADER}")
    return header


def _values(order: list[str], fields: list[str], rows: int) -> dict[str, str | None]:
    """Return the row's values by column, in the order of COLUMNS. Raises _LineError for the first invalid value."""
    if rows > MAX_ROWS:
        raise _LineError(None, f"is row {rows:,}; a file may have {MAX_ROWS:,} rows, so split it")
    if len(fields) < len(order):
        raise _LineError(order[len(fields)], f"is missing: the line has {len(fields)} of {len(order)} fields")
    if len(fields) > len(order):
        raise _LineError(
            None, f"has {len(fields)} fields but the header has {len(order)}; quote a value that contains a comma"
        )
    row = dict(zip(order, fields, strict=True))
    if not is_name(row["shopId"]):
        raise _LineError("shopId", NAME_RULE)
    return {
        "shopId": row["shopId"],
        "sku": _text(row, "sku", least=1),
        "variantKey": _text(row, "variantKey", least=0),
        "productId": _text(row, "productId", least=1) if row["productId"] else None,
        "onHand": _count(row, "onHand"),
        "lowStockThreshold": _count(row, "lowStockThreshold") if row["lowStockThreshold"] else None,
    }


def _text(row: dict[str, str], column: str, *, least: int) -> str:
    value = row[column]
    if _GUARDED.match(value):
        value = value[1:]
    if _UNDECODABLE.search(value):
        raise _LineError(column, 'is not UTF-8; save the file as "CSV UTF-8"')
    if not value.isprintable():
        raise _LineError(column, "must have printable characters only")
    if not least <= len(value) <= _MAX_TEXT:
        raise _LineError(column, f"must be {least} to {_MAX_TEXT} characters")
    return value


def _count(row: dict[str, str], column: str) -> str:
    value = row[column]
    if not _NUMBER.fullmatch(value) or int(value) > MAX_ON_HAND:
        shown = f", not {_shown(value)!r}" if value else ""
        raise _LineError(column, f"must be a whole number, 0 to {MAX_ON_HAND}, in digits only{shown}")
    return value


def _shown(value: str) -> str:
    """Return a text from the file in a form that an error message can show: printable, 40 characters at most."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value[:41])
    return clean if len(clean) <= 40 else clean[:39] + "…"  # noqa: PLR2004


def _copy_row(line: int, values: dict[str, str | None]) -> bytes:
    """Return a row in COPY's text format. Of the printable characters, only the backslash must be escaped in it."""
    cells = ("\\N" if value is None else value.replace("\\", "\\\\") for value in values.values())
    return "\t".join([str(line), *cells]).encode() + b"\n"
