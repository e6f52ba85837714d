"""The token with which a shopper's browser may read, extend and release one hold, and no other."""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence

from pydantic import SecretStr

from core.browser_settings import BrowserSettings
from domain.holds import Hold, HoldKey
from holds.hold_json import HoldOut


def hold_token(secrets: Sequence[SecretStr], key: HoldKey) -> str | None:
    """Return the hold's token, signed with the first secret; None without a secret. It is the same each time."""
    return _sign(secrets[0], key) if secrets else None


def is_hold_token(secrets: Sequence[SecretStr], key: HoldKey, given: str) -> bool:
    """Whether the text is the token of this hold, signed with any of the secrets. Compares in constant time."""
    found = False
    for secret in secrets:
        found |= hmac.compare_digest(_sign(secret, key).encode(), given.encode())
    return found


def _sign(secret: SecretStr, key: HoldKey) -> str:
    signed = hmac.digest(secret.get_secret_value().encode(), f"hold\0{key.shop_id}\0{key.hold_id}".encode(), "sha256")
    return urlsafe_b64encode(signed).rstrip(b"=").decode()


def with_token(settings: BrowserSettings, hold: Hold) -> HoldOut:
    """Return the hold as JSON, with its token while it is active."""
    return HoldOut.of(hold, token=hold_token(settings.browser_token_secrets, hold.key))
