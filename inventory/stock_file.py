"""The stock file: CSV in UTF-8 with one header, as spreadsheets write it. What is wrong is named by line and column."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from inventory.items import MAX_ON_HAND

COLUMNS = ("shopId", "sku", "variantKey", "productId", "onHand", "lowStockThreshold")
"""The header. All of them, in any order; nothing else."""
MAX_ROWS = 100_000
"""The rows of one file: what is imported in one transaction must not keep a checkout waiting past its lock time-out."""
MAX_LINE = 16_384
"""Characters of one line, more than the longest values of all columns, each quoted."""
MAX_PROBLEMS = 100
"""After so many problems the rest of a file is not looked at."""

_MAX_TEXT = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NUMBER = re.compile(r"[0-9]{1,10}")
_UNDECODABLE = re.compile("[\udc80-\udcff]")
_GUARDED = re.compile(r"'+[=+\-@]")


@dataclass(frozen=True, slots=True)
class FileProblem:
    """What is wrong in one place of a file. The header is line 1; `column` is None where it concerns the whole line."""

    line: int
    column: str | None
    message: str


class InvalidFileError(Exception):
    """The file is not one that can be imported. `problems` has the first MAX_PROBLEMS, by line."""

    def __init__(self, problems: list[FileProblem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = problems


class _Fault(Exception):  # noqa: N818 - it is not raised to callers
    def __init__(self, column: str | None, message: str) -> None:
        super().__init__(message)
        self.column = column
        self.message = message


def transcribe(source: IO[bytes], out: IO[bytes]) -> int:
    """Check every row of a stock file and write it to `out` for COPY into the columns (line, *COLUMNS).

    Returns the number of rows. Reads and writes line by line, whatever the file's size. Raises InvalidFileError; what
    was written by then is of no use.
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
            except _Fault as fault:
                problems.append(FileProblem(number, fault.column, fault.message))
                if order is None or rows > MAX_ROWS or len(line) > MAX_LINE or len(problems) == MAX_PROBLEMS:
                    break
    finally:
        text.detach()
    if order is None and not problems:
        problems.append(FileProblem(1, None, f"is not there: the file is empty; its first line must be {_HEADER}"))
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
    """Return the fields of one line; none of a value may contain a line break, so a line is a row."""
    if len(line) > MAX_LINE:
        raise _Fault(None, f"is longer than {MAX_LINE:,} characters")
    try:
        return next(csv.reader([line.rstrip("\n")], strict=True), [])
    except csv.Error as error:
        if line.count('"') % 2:
            raise _Fault(None, 'has a quote (") that is not closed; within quotes write "" for one') from None
        raise _Fault(None, f"is not CSV: {error}") from None


def _order(header: list[str]) -> list[str]:
    """Return the columns in the file's order. Raises the fault that names the first column at fault."""
    for name in header:
        if _UNDECODABLE.search(name) or "\0" in name:
            raise _Fault(None, "is not UTF-8; save the file as «CSV UTF-8»")
        if name not in COLUMNS:
            hint = "; columns are parted by commas" if re.search(r"shopId[;\t|]", name) else ""
            raise _Fault(_shown(name), f"is no column of a stock file{hint}; the header must be {_HEADER}")
        if header.count(name) > 1:
            raise _Fault(name, "is in the header twice")
    for name in COLUMNS:
        if name not in header:
            raise _Fault(name, f"is missing in the header, which must be {_HEADER}")
    return header


def _values(order: list[str], fields: list[str], rows: int) -> dict[str, str | None]:
    """Return the row's values by column, in COLUMNS' order. Raises the fault of the first that is not allowed."""
    if rows > MAX_ROWS:
        raise _Fault(None, f"is row {rows:,}; a file may have {MAX_ROWS:,}, so part it")
    if len(fields) < len(order):
        raise _Fault(order[len(fields)], f"is missing: the line has {len(fields)} of {len(order)} fields")
    if len(fields) > len(order):
        raise _Fault(None, f"has {len(fields)} fields, and the header {len(order)}; quote a value that has a comma")
    row = dict(zip(order, fields, strict=True))
    if not _NAME.fullmatch(row["shopId"]):
        raise _Fault("shopId", "must be 1 to 128 letters, digits, '.', '_' or '-', the first a letter or a digit")
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
        raise _Fault(column, "is not UTF-8; save the file as «CSV UTF-8»")
    if not value.isprintable():
        raise _Fault(column, "must be printable characters")
    if not least <= len(value) <= _MAX_TEXT:
        raise _Fault(column, f"must be {least} to {_MAX_TEXT} characters")
    return value


def _count(row: dict[str, str], column: str) -> str:
    value = row[column]
    if not _NUMBER.fullmatch(value) or int(value) > MAX_ON_HAND:
        shown = f", not {_shown(value)!r}" if value else ""
        raise _Fault(column, f"must be a whole number, 0 to {MAX_ON_HAND}, in digits only{shown}")
    return value


def _shown(value: str) -> str:
    """Return a text from the file as an error may show it."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value[:41])
    return clean if len(clean) <= 40 else clean[:39] + "…"  # noqa: PLR2004


def _copy_row(line: int, values: dict[str, str | None]) -> bytes:
    """Return a row in COPY's text form; printable values have no character but the backslash that it would take."""
    cells = ("\\N" if value is None else value.replace("\\", "\\\\") for value in values.values())
    return "\t".join([str(line), *cells]).encode() + b"\n"
