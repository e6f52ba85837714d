"""Where Holdfast is, and what the shop has decided for its own side: arguments first, then the environment."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from holdfast_client.answers import Mode
from holdfast_client.errors import ConfigurationError

DEFAULT_TIMEOUT = 5.0
"""Seconds for a call, repeats included: the time that Holdfast itself takes at most, INVENTORY_REQUEST_TIMEOUT_MS."""

_LONGEST_TIMEOUT = 300.0
"""No shopper waits longer: a larger number was meant as milliseconds."""
_TTL_SECONDS = range(30, 86_401)
_PREFIX = "/api/inventory"
_YES, _NO = {"1", "true", "t", "yes", "y", "on"}, {"", "0", "false", "f", "no", "n", "off"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client works with. Its token appears in no repr and no error."""

    origin: str
    token: str = field(repr=False)
    timeout: float
    bypass: bool = False
    mode: Mode | None = None
    """None: Holdfast's own mode decides."""
    ttl_seconds: int | None = None
    """None: Holdfast's own default."""

    @classmethod
    def read(
        cls,
        base_url: str | None = None,
        token: str | None = None,
        timeout: float | None = None,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Take what is given, and the rest from the environment. Raises ConfigurationError, naming what is at fault."""
        env = os.environ if environment is None else environment
        bypass = env.get("SKIP_INVENTORY_VALIDATION", "").strip().lower()
        if bypass not in _YES | _NO:
            raise ConfigurationError("SKIP_INVENTORY_VALIDATION: allowed: 0, 1")
        return cls(
            origin=_origin(env.get("INVENTORY_AUTHORITY_URL", "") if base_url is None else base_url),
            token=_token(_given_token(env) if token is None else token),
            timeout=_timeout(env.get("INVENTORY_AUTHORITY_TIMEOUT", "") if timeout is None else timeout),
            bypass=bypass in _YES,
            mode=_mode(env.get("INVENTORY_MODE", "")),
            ttl_seconds=_ttl(env.get("INVENTORY_HOLD_TTL_SECONDS", "")),
        )


def _origin(url: str) -> str:
    """Return the address without the path under which the inventory's routes are; checkout has another."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigurationError(f"INVENTORY_AUTHORITY_URL (base_url): is no address: {error}") from None
    if not url:
        raise ConfigurationError("INVENTORY_AUTHORITY_URL (base_url): is not set, and must be")
    if parts.scheme not in ("http", "https") or not parts.hostname or not re.fullmatch(r"[\x21-\x7e]+", url):
        raise ConfigurationError("INVENTORY_AUTHORITY_URL (base_url): must be like https://holdfast.example")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ConfigurationError("INVENTORY_AUTHORITY_URL (base_url): must have no user, query or fragment")
    path = parts.path.rstrip("/")
    if path and not path.endswith(_PREFIX):
        raise ConfigurationError(
            f"INVENTORY_AUTHORITY_URL (base_url): must end after the host or in {_PREFIX}, and ends in {path!r}"
        )
    return f"{parts.scheme}://{parts.netloc}{path.removesuffix(_PREFIX)}"


def _given_token(env: Mapping[str, str]) -> str:
    """Return INVENTORY_AUTHORITY_TOKEN, or what the file has that INVENTORY_AUTHORITY_TOKEN_FILE names."""
    token, path = env.get("INVENTORY_AUTHORITY_TOKEN", ""), env.get("INVENTORY_AUTHORITY_TOKEN_FILE")
    if not path:
        return token
    if token:
        raise ConfigurationError("INVENTORY_AUTHORITY_TOKEN: is set, and INVENTORY_AUTHORITY_TOKEN_FILE too")
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigurationError(f"INVENTORY_AUTHORITY_TOKEN_FILE: {path} cannot be used: {why}") from None


def _token(tokens: str) -> str:
    token = tokens.split(",", maxsplit=1)[0].strip()  # where two are listed, one replaces the other and both open
    if not token:
        raise ConfigurationError("INVENTORY_AUTHORITY_TOKEN (token): is not set, and must be")
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ConfigurationError("INVENTORY_AUTHORITY_TOKEN (token): has a space or a character beyond ASCII")
    return token


def _timeout(given: str | float) -> float:
    try:
        seconds = float(given) if given != "" else DEFAULT_TIMEOUT
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST_TIMEOUT:
        raise ConfigurationError(
            f"INVENTORY_AUTHORITY_TIMEOUT (timeout): {given!r} is not allowed: must be seconds, above 0 and "
            f"at most {_LONGEST_TIMEOUT:g}"
        )
    return seconds


def _mode(given: str) -> Mode | None:
    try:
        return Mode(given) if given else None
    except ValueError:
        allowed = ", ".join(Mode)
        raise ConfigurationError(f"INVENTORY_MODE: {given!r} is not allowed: allowed: {allowed}") from None


def _ttl(given: str) -> int | None:
    if not given:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", given) or int(given) not in _TTL_SECONDS:
        raise ConfigurationError(
            f"INVENTORY_HOLD_TTL_SECONDS: {given!r} is not allowed: must be {_TTL_SECONDS.start} to {_TTL_SECONDS[-1]}"
        )
    return int(given)
