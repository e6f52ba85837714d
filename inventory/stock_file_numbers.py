"""Counts as spreadsheets write them: 12.0, 1.250, 1,250.00, 1 250.

A point or comma before exactly three digits separates thousands or decimals. It is read only where another number of
the same file shows which of the two it is.
"""

import re

from domain.fields import MAX_ON_HAND
from inventory.errors import FileProblem
from inventory.stock_file_text import LineError, shown

_DIGITS = re.compile(r"[0-9]{1,10}")
_SCIENTIFIC = re.compile(r"[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+")
_BLANK_GROUPS = re.compile(
    r"[0-9]{1,3}(?:(?P<blank>[ '\u2019\u00a0\u2009\u202f])[0-9]{3})(?:(?P=blank)[0-9]{3})*(?![0-9])"
)
_LONGEST = 24
_GROUP = 3
"""The digits between two separators of thousands."""
_OTHER = {".": ",", ",": "."}


class CountReader:
    """Reads the counts of one file, and finds out which separator it uses for decimals."""

    def __init__(self, decimal: str | None = None, *, most_problems: int) -> None:
        """Without `decimal`, ambiguous numbers are collected in `ambiguous`; their value is a placeholder."""
        self._decimal = decimal
        self._most_problems = most_problems
        self._evidence: dict[str, str] = {}
        self.ambiguous: list[FileProblem] = []

    def read(self, line: int, column: str, value: str) -> str:
        """Return the count in digits. Raises LineError."""
        digits = value if _DIGITS.fullmatch(value) else self._whole_number(line, column, value)
        if digits is None or int(digits) > MAX_ON_HAND:
            told = f", not {shown(value)!r}" if value else ""
            raise LineError(column, f"must be a whole number, 0 to {MAX_ON_HAND}, in digits only{told}")
        return digits

    def decimal(self) -> tuple[str, str] | None:
        """Return the file's decimal separator and the place that shows it; None if none or both do."""
        return next(iter(self._evidence.items())) if len(self._evidence) == 1 else None

    def _whole_number(self, line: int, column: str, value: str) -> str | None:
        if len(value) > _LONGEST:
            return None
        if _SCIENTIFIC.fullmatch(value):
            raise LineError(column, f"is {value!r}, in scientific notation: format the column as a number, 0 decimals")
        spaced = _BLANK_GROUPS.match(value)
        number = value if spaced is None else re.sub(r"[^0-9]", "", spaced[0]) + value[spaced.end() :]
        separators = [character for character in number if character in _OTHER]
        if not re.fullmatch(r"[0-9]+(?:[.,][0-9]+)*", number):
            return None
        if not separators:
            return number if len(number) <= 10 else None  # noqa: PLR2004 - as in _DIGITS
        if (decimal := self._decimal_of(number, separators, has_groups=spaced is not None)) is not None:
            self._evidence.setdefault(decimal, f"line {line} ({value!r})")
            return _without_separators(number, decimal)
        if self._decimal is not None:
            return _without_separators(number, self._decimal)
        return self._ambiguous(line, column, number)

    def _decimal_of(self, number: str, separators: list[str], *, has_groups: bool) -> str | None:
        """Return the decimal separator that the number shows by itself, None if it could be either."""
        last = separators[-1]
        if len(set(separators)) > 1:
            return last
        if len(separators) > 1:
            return _OTHER[last]
        whole, fraction = number.split(last)
        could_group = len(fraction) == _GROUP and len(whole) <= _GROUP and not whole.startswith("0")
        return None if could_group and not has_groups else last

    def _ambiguous(self, line: int, column: str, number: str) -> str:
        grouped = re.sub(r"[.,]", "", number)
        decimals = number.replace(",", ".").rstrip("0").rstrip(".")
        if len(self.ambiguous) < self._most_problems:
            message = f"is {number!r}, which can be {grouped} or {decimals}: write it in digits only"
            self.ambiguous.append(FileProblem(line, column, message))
        return "0"


def _without_separators(number: str, decimal: str) -> str | None:
    """Return the digits of a whole number, None if it has decimals or groups that are not of three digits."""
    whole, _, fraction = number.partition(decimal)
    first, *groups = whole.split(_OTHER[decimal])
    if fraction.strip("0") or len(first) > 10 or any(len(group) != _GROUP for group in groups):  # noqa: PLR2004
        return None
    if groups and not 1 <= len(first) <= _GROUP:
        return None
    return first + "".join(groups)
