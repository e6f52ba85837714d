"""Reading a stock file: a table with a header, as spreadsheets save it. Problems are named by line and column.

The format of the file belongs to the import and the export, so it is beside their SQL.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from domain.fields import MAX_UNITS
from domain.names import NAME_RULE, is_name
from inventory.errors import FileProblem, InvalidFileError
from inventory.stock_file_numbers import CountReader
from inventory.stock_file_text import (
    WINDOWS_1252,
    LineError,
    Table,
    UnreadableError,
    column_name,
    encoding_of,
    shown,
    text_of,
)

COLUMNS = ("shopId", "sku", "variantKey", "productId", "onHand", "lowStockThreshold")
"""The columns that a file must have, in any order. Except NAME and LIMITS, further ones are ignored."""
NAME = "name"
"""The column that a file may have. Without it the items' names stay as they are."""
LIMITS = ("maxPerOrder", "maxPerBuyer")
"""The columns that a file may have. Without one, its limit stays as it is; an empty cell removes the limit."""
KEPT_LIMIT = "-1"
"""Of a limit whose column the file does not have, in the rows that `convert_stock_file` writes."""
MAX_ROWS = 100_000
"""The most rows of a file: they are imported in one transaction, within the lock time-out of a checkout that waits."""
MAX_PROBLEMS = 100
"""The most problems that are reported; the rest of the file is not checked."""
FORMULA = r"(^|;)( *)('*[=+@\uFF1D\uFF0B\uFF0D\uFF20-])"
"""Where a spreadsheet would read a formula in a text: an export writes an apostrophe before its last group.

Also after a semicolon, which separates columns where the decimal separator is a comma. In the syntax of Postgres, too.
"""
SHORTENED_NUMBER = r"^('*)([0-9](?:[.,][0-9]+)?[eE][+-][0-9]{2,3})$"
"""A long number as a spreadsheet shortens it. An export writes an apostrophe before an SKU that looks like one."""

_MAX_TEXT = 200
_HEADER = ",".join(COLUMNS)
_NAMES = {column_name(name): name for name in (*COLUMNS, NAME, *LIMITS)}
_MAY_BE_EMPTY = frozenset({"variantKey", "productId", "lowStockThreshold", NAME, *LIMITS})
_UNDECODABLE = re.compile("[\udc80-\udcff]")
_GUARDED_FORMULA = re.compile(FORMULA.replace("('*", "'('*"))
_GUARDED_NUMBER = re.compile(SHORTENED_NUMBER.replace("('*)", "'('*)"))
_SHORTENED = re.compile(SHORTENED_NUMBER.replace("('*)", ""))


@dataclass(frozen=True, slots=True)
class ConvertedFile:
    """The number of rows, and what the importer should know about how the file was read."""

    rows: int
    notes: tuple[str, ...] = ()

    def last_line(self) -> bytes:
        """Return the line of JSON that ends the report of the import, empty if there are no notes."""
        return json.dumps({"notes": self.notes}).encode() + b"\n" if self.notes else b""


def convert_stock_file(source: IO[bytes], out: IO[bytes], *, shop_id: str | None = None) -> ConvertedFile:
    """Check every row of a stock file and write it to `out` in COPY's text format, in the order of `import_row`.

    `source` must be seekable. With `shop_id`, a row of another shop is refused. Works row by row, so that memory does
    not grow with the file. Raises InvalidFileError; `out` is incomplete then.
    """
    encoding = encoding_of(source)
    conversion = _Conversion(source, out, encoding, shop_id)
    if conversion.counts.ambiguous and not conversion.problems:
        evidence = conversion.counts.decimal()
        if evidence is not None:  # another number of the file tells how to read them
            decimal, place = evidence
            conversion = _Conversion(source, out, encoding, shop_id, decimal)
            thousands, decimals = ("commas", "points") if decimal == "." else ("points", "commas")
            conversion.notes.append(
                f"Numbers were read with {thousands} for thousands and {decimals} for decimals, as in {place}."
            )
    problems = conversion.problems or conversion.counts.ambiguous
    if problems:
        raise InvalidFileError(problems)
    return ConvertedFile(conversion.rows, tuple(conversion.notes))


class _Conversion:
    """One pass over a file: what it wrote, and what it found."""

    def __init__(
        self, source: IO[bytes], out: IO[bytes], encoding: str, shop_id: str | None, decimal: str | None = None
    ) -> None:
        self.rows = 0
        self.notes: list[str] = []
        self.problems: list[FileProblem] = []
        self.counts = CountReader(decimal, most_problems=MAX_PROBLEMS)
        self._shop_id = shop_id
        self._example = "" if encoding == WINDOWS_1252 else None
        """A text that shows whether the encoding is the right one; None where it is certain."""
        out.seek(0)
        out.truncate()
        text = text_of(source, encoding)
        try:
            self._convert(Table(text, frozenset(_NAMES)), out)
        except LineError as error:  # of the lines before the first row
            self.problems.append(FileProblem(1, error.column, error.message))
        finally:
            text.detach()
        if self._example is not None:
            self.notes.append(f"The file is not UTF-8; it was read as Windows-1252{self._example}.")

    def _convert(self, table: Table, out: IO[bytes]) -> None:
        try:
            order = self._order(table.header)
        except LineError as error:
            self.problems.append(FileProblem(table.header_line, error.column, error.message))
            return
        if table.title is not None:
            self.notes.append(f"The line before the header was skipped: {shown(table.title)!r}.")
        while len(self.problems) < MAX_PROBLEMS and self.rows <= MAX_ROWS:
            try:
                cells = table.next_row()
                if cells is None:
                    return
                if any(map(str.strip, cells)):
                    self.rows += 1
                    row = _named_cells(order, cells, table)
                    out.write(_copy_row(table.line, self._values(row, table.line)))
            except LineError as error:
                self.problems.append(FileProblem(table.line, error.column, error.message))
                if isinstance(error, UnreadableError):
                    return

    def _order(self, header: Sequence[str]) -> list[str | None]:
        """Return the column at each position, None for one that is ignored. Raises LineError."""
        if not header:
            raise LineError(None, f"is missing: the file is empty; its first line must be {_HEADER}")
        order = [_NAMES.get(column_name(name)) for name in header]
        if not any(name in COLUMNS for name in order):
            raise LineError(None, f"is {shown(header[0])!r}, which is no header; it must have the columns {_HEADER}")
        for name in (*COLUMNS, NAME, *LIMITS):
            if order.count(name) > 1:
                raise LineError(name, "is in the header twice")
            if name in COLUMNS and name not in order:
                raise LineError(name, f"is missing from the header, which must have the columns {_HEADER}")
        ignored = [shown(name.strip()) for name, known in zip(header, order, strict=True) if known is None]
        if named := [name for name in ignored if name]:
            more = f" and {len(named) - 20} more" if len(named) > 20 else ""  # noqa: PLR2004 - a readable sentence
            self.notes.append(f"Ignored columns: {', '.join(named[:20])}{more}.")
        return order

    def _values(self, row: dict[str, str], line: int) -> dict[str, str | None]:
        """Return the row's values in the order of `import_row`. Raises LineError for the first invalid value."""
        if self.rows > MAX_ROWS:
            raise LineError(None, f"is row {self.rows:,}; a file may have {MAX_ROWS:,} rows, so split it")
        if not is_name(row["shopId"]):
            raise LineError("shopId", NAME_RULE)
        if self._shop_id not in (None, row["shopId"]):
            raise LineError("shopId", f"is {shown(row['shopId'])!r}, but this import is for the shop {self._shop_id!r}")
        if self._example == "":
            self._note_example(row, line)
        threshold = row["lowStockThreshold"]
        return {
            "shopId": row["shopId"],
            "sku": _text(row, "sku", least=1),
            "variantKey": _text(row, "variantKey", least=0),
            "productId": _text(row, "productId", least=1) if row["productId"] else None,
            "onHand": self.counts.read(line, "onHand", row["onHand"]),
            "lowStockThreshold": self.counts.read(line, "lowStockThreshold", threshold) if threshold else None,
            NAME: _product_name(row.get(NAME, "")) or None,
            "hasName": "t" if NAME in row else "f",
            **{name: self._limit(line, name, row[name]) if name in row else KEPT_LIMIT for name in LIMITS},
        }

    def _limit(self, line: int, column: str, value: str) -> str | None:
        limit = self.counts.read(line, column, value) if value else None
        if limit is not None and not 1 <= int(limit) <= MAX_UNITS:
            raise LineError(column, f"must be 1 to {MAX_UNITS}, or empty for no limit")
        return limit

    def _note_example(self, row: dict[str, str], line: int) -> None:
        if text := next((cell for cell in row.values() if not cell.isascii()), ""):
            self._example = f", for example {shown(text)!r} in line {line}"


def _named_cells(order: Sequence[str | None], cells: Sequence[str], table: Table) -> dict[str, str]:
    """Return the cells of the known columns, without blanks around them. Raises LineError.

    A spreadsheet may omit empty cells at the end of a row. A line that breaks off has no line end.
    """
    if any(map(str.strip, cells[len(order) :])):
        delimiter = {",": "comma", ";": "semicolon", "\t": "tab"}.get(table.delimiter, table.delimiter)
        raise LineError(
            None, f"has {len(cells)} fields but the header has {len(order)}; quote a value that contains a {delimiter}"
        )
    for name in order[len(cells) :]:
        if name is not None and (name not in _MAY_BE_EMPTY or not table.is_complete):
            raise LineError(name, f"is missing: the line has {len(cells)} of {len(order)} fields")
    padded = [*cells, *[""] * (len(order) - len(cells))]
    return {name: cell.strip() for name, cell in zip(order, padded, strict=False) if name is not None}


def _text(row: dict[str, str], column: str, *, least: int) -> str:
    value = row[column]
    if _SHORTENED.match(value):
        raise LineError(column, f"is {value!r}, a number that the spreadsheet has shortened: format the column as text")
    if "'" in value:
        value = _unguarded(value)
    if _UNDECODABLE.search(value):
        raise LineError(column, 'cannot be decoded; save the file as "CSV UTF-8"')
    if not value.isprintable():
        raise LineError(column, "must have printable characters only")
    if not least <= len(value) <= _MAX_TEXT:
        raise LineError(column, f"must be {least} to {_MAX_TEXT} characters")
    return value


def _unguarded(value: str) -> str:
    """Return the text without the apostrophes that an export inserted."""
    return _GUARDED_NUMBER.sub(r"\1\2", _GUARDED_FORMULA.sub(r"\1\2\3", value))


def _product_name(value: str) -> str:
    """Return a name that can be shown. Nothing in it refuses a file, because it identifies nothing."""
    blanks = "".join(" " if character.isspace() else character for character in value)
    return shown(_unguarded(blanks), _MAX_TEXT)


def _copy_row(line: int, values: dict[str, str | None]) -> bytes:
    """Return a row in COPY's text format. Of the printable characters, only the backslash must be escaped in it."""
    cells = ("\\N" if value is None else value.replace("\\", "\\\\") for value in values.values())
    return "\t".join([str(line), *cells]).encode() + b"\n"
