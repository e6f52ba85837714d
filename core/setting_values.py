"""Parses and checks values that several settings have in common."""

from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

MAX_SECRETS = 2
"""Of one purpose at the same time: the present one and the next, while they are rotated."""
MIN_SECRET_LENGTH = 32
"""Of a secret of our own making."""


def split_list(value: object) -> object:
    """Return the parts of a comma-separated text, stripped and without empty ones; anything else unchanged."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def split_secrets(value: object) -> list[str]:
    """Return the plain texts of comma-separated secrets, or of the secrets given as a sequence."""
    parts = split_list(value)
    if not isinstance(parts, (tuple, list)):
        return []
    return [part.get_secret_value() if isinstance(part, SecretStr) else str(part) for part in parts]


def long_secrets(value: object) -> tuple[str, ...]:
    """Return comma-separated secrets of our own making. Raises ValueError for a short one, and for more than two."""
    secrets = split_secrets(value)
    if any(len(secret) < MIN_SECRET_LENGTH for secret in secrets):
        raise ValueError(f"is shorter than {MIN_SECRET_LENGTH} characters; generate one with: openssl rand -hex 32")
    if len(secrets) > MAX_SECRETS:
        raise ValueError("lists more than two secrets; at most two are allowed, comma-separated, during a rotation")
    return tuple(secrets)


def split_url(value: str, *schemes: str) -> SplitResult:
    """Return the URL in its parts. Raises ValueError unless it is complete and has one of the schemes."""
    try:
        url = urlsplit(value)
        complete = url.hostname and (url.port is None or url.port > 0)
    except ValueError:
        raise ValueError("is not a URL") from None
    if url.scheme not in schemes or not complete or not value.isprintable() or " " in value:
        raise ValueError(f"must be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    return url
