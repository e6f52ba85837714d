"""The message of an error, for a line of a log or of a terminal."""


def first_line(error: BaseException) -> str:
    """Return the first line of the error's message, or the name of its class if the message is empty."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
