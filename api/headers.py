"""Decodes header values."""

from api.errors import invalid


def text_of(name: str, value: str) -> str:
    """Decode a header's text, which the server passes on as Latin-1 and clients send as UTF-8.

    Raises the 422 that names the header where it is not printable.
    """
    try:
        text = value.encode("latin-1").decode()
    except UnicodeDecodeError:
        text = value
    if not text.isprintable():
        raise invalid(name, "must be printable characters")
    return text
