"""The client's settings: arguments first, then environment variables."""

import logging
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from holdfast_client.errors import ConfigurationError
from holdfast_client.models import Mode

DEFAULT_TIMEOUT = 5.0
"""Seconds for a call with all repeats: Holdfast's own limit for a request, INVENTORY_REQUEST_TIMEOUT_MS."""

_MAX_TIMEOUT = 300.0  # a larger number was meant as milliseconds
_TTL_SECONDS = range(30, 86_401)
_API_PATH = "/api/inventory"
_TRUE, _FALSE = {"1", "true", "t", "yes", "y", "on"}, {"", "0", "false", "f", "no", "n", "off"}
_log = logging.getLogger("holdfast_client")


@dataclass(frozen=True, slots=True)
class Settings:
    """Validated settings of a client. The token is in no repr and no error message."""

    origin: str
    token: str = field(repr=False)
    timeout: float
    bypass: bool = False
    mode: Mode | None = None
    """None: Holdfast's own mode applies."""
    ttl_seconds: int | None = None
    """None: Holdfast's own default applies."""

    @classmethod
    def read(
        cls,
        base_url: str | None = None,
        token: str | None = None,
        timeout: float | None = None,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Return the settings. Raises ConfigurationError, which names the invalid variable."""
        env = os.environ if environment is None else environment
        return cls(
            origin=_origin(env.get("INVENTORY_AUTHORITY_URL", "") if base_url is None else base_url),
            token=_first_token(_environment_token(env) if token is None else token),
            timeout=_timeout(env.get("INVENTORY_AUTHORITY_TIMEOUT", "") if timeout is None else timeout),
            bypass=_bypass(env.get("SKIP_INVENTORY_VALIDATION", "")),
            mode=_mode(env.get("INVENTORY_MODE", "")),
            ttl_seconds=_ttl(env.get("INVENTORY_HOLD_TTL_SECONDS", "")),
        )

    def bypasses(self, call: str, shop_id: str) -> bool:
        """Return whether the shop's bypass answers this call, and log a warning if so."""
        if self.bypass:
            _log.warning("SKIP_INVENTORY_VALIDATION is set: %s for shop %r succeeds without a check.", call, shop_id)
        return self.bypass


def _origin(url: str) -> str:
    """Return the address without /api/inventory: the checkout routes are under another path."""
    url, name = url.strip(), "INVENTORY_AUTHORITY_URL (base_url)"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigurationError(f"{name}: is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not re.fullmatch(r"[\x21-\x7e]+", url):
        raise ConfigurationError(f"{name}: must be set to a URL like https://holdfast.example")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ConfigurationError(f"{name}: must not have a user, query or fragment")
    path = parts.path.rstrip("/")
    if path and not path.endswith(_API_PATH):
        raise ConfigurationError(f"{name}: must end after the host or in {_API_PATH}, not in {path!r}")
    return f"{parts.scheme}://{parts.netloc}{path.removesuffix(_API_PATH)}"


def _environment_token(env: Mapping[str, str]) -> str:
    token, path = env.get("INVENTORY_AUTHORITY_TOKEN", ""), env.get("INVENTORY_AUTHORITY_TOKEN_FILE")
    if not path:
        return token
    if token:
        raise ConfigurationError("INVENTORY_AUTHORITY_TOKEN and INVENTORY_AUTHORITY_TOKEN_FILE are both set; set one")
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(f"INVENTORY_AUTHORITY_TOKEN_FILE: cannot read {path}: {reason}") from None


def _first_token(tokens: str) -> str:
    token = tokens.split(",", maxsplit=1)[0].strip()  # two are listed during a rotation; both are valid then
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ConfigurationError("INVENTORY_AUTHORITY_TOKEN (token): must be set, in ASCII and without spaces")
    return token


def _timeout(given: str | float) -> float:
    try:
        seconds = float(given) if given != "" else DEFAULT_TIMEOUT
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _MAX_TIMEOUT:
        raise ConfigurationError(
            f"INVENTORY_AUTHORITY_TIMEOUT (timeout): {given!r} must be seconds, above 0 and at most {_MAX_TIMEOUT:g}"
        )
    return seconds


def _bypass(given: str) -> bool:
    if given.strip().lower() not in _TRUE | _FALSE:
        raise ConfigurationError(f"SKIP_INVENTORY_VALIDATION: {given!r} must be 0 or 1")
    return given.strip().lower() in _TRUE


def _mode(given: str) -> Mode | None:
    try:
        return Mode(given) if given else None
    except ValueError:
        raise ConfigurationError(f"INVENTORY_MODE: {given!r} must be one of {', '.join(Mode)}") from None


def _ttl(given: str) -> int | None:
    if not given:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", given) or int(given) not in _TTL_SECONDS:
        raise ConfigurationError(
            f"INVENTORY_HOLD_TTL_SECONDS: {given!r} must be {_TTL_SECONDS.start} to {_TTL_SECONDS[-1]}"
        )
    return int(given)
