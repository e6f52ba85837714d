"""Names of shops and holds."""

import re

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
"""A shopId or holdId: 1 to 128 letters, digits, '.', '_' or '-', the first a letter or a digit. Without anchors."""

NAME_RULE = "must be 1 to 128 letters, digits, '.', '_' or '-', the first a letter or a digit"

_NAME = re.compile(NAME_PATTERN)


def is_name(text: str) -> bool:
    """Return whether the text can be the id of a shop or of a hold."""
    return _NAME.fullmatch(text) is not None
