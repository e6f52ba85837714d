"""The text of a stock file: how a spreadsheet encoded it, which delimiter it chose, and its rows."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from typing import IO

MAX_LINE = 65_536
"""The most characters of a row: more than the longest text of a spreadsheet's cell."""

_BLOCK = 256 * 1024
_MAX_SHOWN = 40
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
WINDOWS_1252 = "cp1252"
_UTF_8_LETTER = re.compile(rb"\xc3[\x80-\xbf]")
"""An accented letter of a western language in UTF-8; in Windows-1252 a pair of characters that no word has."""
_DELIMITERS = ",;\t|"
_FEWEST_COLUMNS = 2
"""How many known columns make a header of the line that follows a line with a single cell."""
_SEPARATOR_LINE = re.compile(rf'"?sep=(?P<delimiter>[{_DELIMITERS}])"?[{_DELIMITERS}]*', re.IGNORECASE)


class LineError(Exception):
    """A problem in one line."""

    def __init__(self, column: str | None, message: str) -> None:
        super().__init__(message)
        self.column = column
        self.message = message


class UnreadableError(LineError):
    """A problem after which no further line can be read."""


def encoding_of(source: IO[bytes]) -> str:
    """Return the encoding of a seekable file that begins with ASCII letters: Windows-1252 where nothing else fits."""
    source.seek(0)
    start = source.read(4)
    for mark, encoding in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return encoding
    if start[1::2] == b"\0\0" and start[0]:
        return "utf-16-le"
    if start[::2] == b"\0\0" and start[1]:
        return "utf-16-be"
    return "utf-8" if _is_utf_8(source) else WINDOWS_1252


def _is_utf_8(source: IO[bytes]) -> bool:
    """Return whether the file is UTF-8, perhaps damaged: one wrong byte must not garble every other text of it."""
    source.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()
    valid, has_letters, last = True, False, b""
    while block := source.read(_BLOCK):
        has_letters = has_letters or _UTF_8_LETTER.search(last + block) is not None
        valid = valid and _decodes(decoder, block)
        last = block[-1:]
    return has_letters or (valid and _decodes(decoder, b"", final=True))


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def text_of(source: IO[bytes], encoding: str) -> io.TextIOWrapper:
    """Return the file's text from its beginning. What cannot be decoded is a surrogate in it."""
    source.seek(0)
    errors = "surrogatepass" if encoding.startswith("utf-16") else "surrogateescape"
    return io.TextIOWrapper(source, encoding=encoding, errors=errors, newline=None)


class Table:
    """The header of a stock file and its rows, which can be read once."""

    def __init__(self, text: io.TextIOWrapper, columns: frozenset[str]) -> None:
        """Read the header. `columns` are the known names, as `column_name` makes them. Raises LineError."""
        self._lines = _Lines(text)
        self.title: str | None = None
        """The line before the header, if there is one: Numbers writes the name of the table there."""
        self.header_line = 1
        self.delimiter, self.header = self._read_header(columns)
        self._reader = csv.reader(self._lines, delimiter=self.delimiter, strict=True)
        self.line = 0
        """The number of the present row's first line. The first line of the file is 1."""

    @property
    def is_complete(self) -> bool:
        """Whether the present row ends with a line end, so that no part of it can be missing."""
        return self._lines.is_complete

    def _read_header(self, columns: frozenset[str]) -> tuple[str, list[str]]:
        """Return the delimiter and the names.

        Each line before the header is empty or names the delimiter, except one that has a single cell.
        """
        declared = ""
        first: tuple[str, list[str]] | None = None
        for line in self._lines:
            self._lines.begin_row()
            if separator := _SEPARATOR_LINE.fullmatch(line.rstrip("\n")):
                declared = separator["delimiter"]
            elif line.strip(_DELIMITERS + '" \n'):
                rows = {delimiter: _split(line, delimiter) for delimiter in declared or _DELIMITERS}
                known = {name: sum(column_name(cell) in columns for cell in row) for name, row in rows.items()}
                best = max(rows, key=lambda delimiter: known[delimiter])
                if first is not None:
                    if known[best] < _FEWEST_COLUMNS:
                        break  # then the line with a single cell stands where the header should be
                    self.title = next(cell.strip() for cell in first[1] if cell.strip())
                self.header_line = self._lines.number
                if first is None and all(_has_one_cell(row) for row in rows.values()):
                    first = best, rows[best]
                    continue
                return best, rows[best]
        return first or (declared or ",", [])

    def next_row(self) -> list[str] | None:
        """Return the next row, None at the end. Raises LineError; UnreadableError if the row has no end."""
        self._lines.begin_row()
        self.line = self._lines.number + 1
        try:
            return next(self._reader, None)
        except csv.Error as error:
            if self._lines.has_ended:
                raise _unclosed_quote() from None
            raise LineError(None, f"is not CSV: {error}") from None


class _Lines(Iterator[str]):
    """The lines of a text, counted. A row may span lines, but MAX_LINE characters at most."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._row_length = 0
        self.number = 0
        self.is_complete = True
        self.has_ended = False

    def begin_row(self) -> None:
        self._row_length = 0

    def __next__(self) -> str:
        try:
            line = self._text.readline(MAX_LINE + 1)
        except UnicodeDecodeError as error:
            raise UnreadableError(None, f"is not text in {error.encoding.upper()}") from None
        if not line:
            self.has_ended = True
            raise StopIteration
        self.number += 1
        self.is_complete = line.endswith("\n")
        self._row_length += len(line)
        if len(line) > MAX_LINE:
            raise UnreadableError(None, f"is longer than {MAX_LINE:,} characters")
        if self._row_length > MAX_LINE:
            raise _unclosed_quote()
        return line


def column_name(text: str) -> str:
    """Return the name of a column without what spreadsheets and people change: case, blanks, `_` and `-`."""
    return re.sub(r"[\s_-]", "", text).casefold()


def shown(value: str, longest: int = _MAX_SHOWN) -> str:
    """Return a text from the file in a form that people can be shown: printable, `longest` characters at most."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value[: longest + 1])
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def _has_one_cell(row: list[str]) -> bool:
    return len([cell for cell in row if cell.strip()]) == 1


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line.rstrip("\n")], delimiter=delimiter), [])
    except csv.Error:  # a cell that is too long; no column has such a name
        return [line]


def _unclosed_quote() -> UnreadableError:
    return UnreadableError(None, 'has a quote (") that is not closed; within quotes write "" for one')
