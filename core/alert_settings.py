"""Who is told of low stock and of what happens to holds: the settings, and what is refused of them."""

import base64
import binascii
from email.errors import HeaderParseError
from email.headerregistry import Address
from typing import Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

_SECRET_BYTES = range(24, 65)
"""What Standard Webhooks allows."""
_MAKE = "make one with: openssl rand -base64 32"


def _parts(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def checked_url(value: str, *schemes: str) -> SplitResult:
    """Return the URL in its parts. Raises ValueError unless it is complete and has one of the schemes."""
    try:
        url = urlsplit(value)
        complete = url.hostname and (url.port is None or url.port > 0)
    except ValueError:
        raise ValueError("is not a URL") from None
    if url.scheme not in schemes or not complete or not value.isprintable() or " " in value:
        raise ValueError(f"must be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    return url


class AlertSettings(BaseModel):
    """All of them are off unless set."""

    alert_recipients: tuple[str, ...] = Field(default=(), alias="STOCK_ALERT_RECIPIENT")
    alert_sender: str = Field(default="holdfast@localhost", alias="STOCK_ALERT_SENDER")
    smtp_url: SecretStr = Field(default=SecretStr(""), alias="SMTP_URL")
    """`smtp://user:password@host:port`, or `smtps://` for TLS from the first byte."""
    alert_url: str = Field(default="", alias="STOCK_ALERT_WEBHOOK_URL")
    alert_secrets: tuple[SecretStr, ...] = Field(default=(), alias="STOCK_ALERT_WEBHOOK_SECRET")
    events_url: str = Field(default="", alias="HOLD_EVENTS_WEBHOOK_URL")
    events_secrets: tuple[SecretStr, ...] = Field(default=(), alias="HOLD_EVENTS_WEBHOOK_SECRET")
    temporal_ui_url: str = Field(default="", alias="TEMPORAL_UI_URL")

    @field_validator("alert_recipients", mode="before")
    @classmethod
    def _addresses(cls, value: object) -> object:
        addresses = _parts(value)
        for address in addresses if isinstance(addresses, tuple) else ():
            _require_address(address)
        return addresses

    @field_validator("alert_sender")
    @classmethod
    def _address(cls, value: str) -> str:
        _require_address(value)
        return value

    @field_validator("smtp_url")
    @classmethod
    def _smtp(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            checked_url(value.get_secret_value(), "smtp", "smtps")
        return value

    @field_validator("alert_url", "events_url", "temporal_ui_url")
    @classmethod
    def _http(cls, value: str) -> str:
        if value:
            checked_url(value, "https", "http")
        return value

    @field_validator("alert_secrets", "events_secrets", mode="before")
    @classmethod
    def _secrets(cls, value: object) -> object:
        secrets = _parts(value)
        for secret in secrets if isinstance(secrets, tuple) else ():
            text = secret.get_secret_value() if isinstance(secret, SecretStr) else str(secret)
            try:
                length = len(base64.b64decode(text.removeprefix("whsec_"), validate=True))
            except (binascii.Error, ValueError):
                raise ValueError(f"is not base64; {_MAKE}") from None
            if length not in _SECRET_BYTES:
                raise ValueError(f"must be 24 to 64 bytes in base64, and is {length}; {_MAKE}")
        if isinstance(secrets, tuple) and len(secrets) > 2:  # noqa: PLR2004 - the present one and the next
            raise ValueError("lists more than two; at most two, comma-separated, while one replaces the other")
        return secrets

    @model_validator(mode="after")
    def _signed(self) -> Self:
        for name, url, secrets in (
            ("STOCK_ALERT_WEBHOOK", self.alert_url, self.alert_secrets),
            ("HOLD_EVENTS_WEBHOOK", self.events_url, self.events_secrets),
        ):
            if url and not secrets:
                raise ValueError(f"{name}_SECRET: is not set, and must be where {name}_URL is; {_MAKE}")
        return self


def _require_address(address: str) -> None:
    try:
        parsed = Address(addr_spec=address)
    except (HeaderParseError, ValueError, IndexError):
        parsed = Address()
    if not (parsed.username and parsed.domain and address.isprintable()):
        raise ValueError("is not an e-mail address")
