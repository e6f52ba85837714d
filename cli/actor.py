"""Who runs a command, for the records."""

import getpass

_MAX_LENGTH = 64


def actor() -> str:
    """Return the name of the system's user, `cli` if it has none."""
    try:
        return getpass.getuser()[:_MAX_LENGTH]
    except (KeyError, OSError):  # a container's user without a name
        return "cli"
