"""What is printed where the encoding of a terminal or pipe lacks a character: ASCII text instead of an error."""

import codecs
import io
import sys

_ASCII = {"✓": "+", "✗": "x", "→": "->", "…": "...", "•": "*", "\N{EN DASH}": "-"}
_LINES = {**dict.fromkeys("─━═", "-"), **dict.fromkeys("│┃║", "|"), **dict.fromkeys("╭╮╰╯┏┓┗┛┡┩┳╇┴└┘┼├┤", "+")}
"""Of tables and tracebacks."""


def allow_every_character() -> None:
    r"""Make standard output and error print every text, whatever their encoding.

    Our own signs become the nearest ASCII text, other characters the escapes of JSON: `\u00f6`.
    """
    codecs.register_error("ascii_text", _ascii_text)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="ascii_text")


def _ascii_text(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_ASCII.get(each) or _LINES.get(each) or _escaped(each) for each in lacking), error.end


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
