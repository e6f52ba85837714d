"""The settings of low-stock alerts and hold events: who receives them, and the secrets that sign them."""

import base64
import binascii
from email.errors import HeaderParseError
from email.headerregistry import Address
from typing import Annotated, Self
from urllib.parse import SplitResult

from pydantic import Field, SecretStr, field_validator, model_validator

from core.environment_settings import Allowed, EnvironmentSettings
from core.setting_errors import SettingConflictError
from core.setting_values import MAX_SECRETS, split_list, split_secrets, split_url

_SECRET_BYTES = range(24, 65)
"""Allowed by Standard Webhooks."""
_GENERATE = "generate one with: openssl rand -base64 32"

_URL = Allowed("`https://…`, `http://…`")
_SIGNING_SECRETS = Allowed("24 to 64 bytes in base64, with or without `whsec_`; at most two, comma-separated")


class AlertSettings(EnvironmentSettings):
    """Alerts and events are off unless set."""

    alert_recipients: Annotated[tuple[str, ...], Allowed("addresses, comma-separated")] = Field(
        default=(),
        alias="STOCK_ALERT_RECIPIENT",
        description="Recipients of an e-mail when items' stock falls to their `lowStockThreshold` or below, at most "
        "once in 24 hours for each item. Needs `SMTP_URL`; without it, the worker logs a warning.",
    )
    alert_sender: Annotated[str, Allowed("an address")] = Field(
        default="holdfast@localhost",
        alias="STOCK_ALERT_SENDER",
        description="The sender of these e-mails. Mail servers on the Internet require an address of your domain.",
    )
    smtp_url: Annotated[SecretStr, Allowed("`smtp://user:password@host:port`, `smtps://…`")] = Field(
        default=SecretStr(""),
        alias="SMTP_URL",
        description="The mail server. `smtps` uses TLS from the first byte; `smtp` uses STARTTLS if the server offers "
        "it, and requires it before it sends a password to another machine. Default ports: 465 for `smtps`, 587 with a "
        "password, otherwise 25. In user and password, write characters other than letters and digits as %XX.",
    )
    alert_window_seconds: int = Field(
        default=600,
        ge=0,
        le=86_400,
        alias="STOCK_ALERT_WINDOW_SECONDS",
        description="How long low-stock alerts are collected: what falls within it is one e-mail and one POST for each "
        "shop.",
    )
    alert_link: Annotated[str, Allowed("`https://…`, `http://…`, with `{shopId}` where the shop's id belongs")] = Field(
        default="",
        alias="STOCK_ALERT_LINK",
        description="The page where people see low stock, for example your back office. Low-stock alerts link to it.",
    )
    alert_url: Annotated[str, _URL] = Field(
        default="",
        alias="STOCK_ALERT_WEBHOOK_URL",
        description="Receives a signed POST `stock.low` for each low-stock alert.",
    )
    alert_secrets: Annotated[tuple[SecretStr, ...], _SIGNING_SECRETS] = Field(
        default=(),
        alias="STOCK_ALERT_WEBHOOK_SECRET",
        description="Signs these POSTs. Required with `STOCK_ALERT_WEBHOOK_URL`; two during a rotation.",
    )
    events_url: Annotated[str, _URL] = Field(
        default="",
        alias="HOLD_EVENTS_WEBHOOK_URL",
        description="Receives signed [events](events.md) of every hold.",
    )
    events_secrets: Annotated[tuple[SecretStr, ...], _SIGNING_SECRETS] = Field(
        default=(),
        alias="HOLD_EVENTS_WEBHOOK_SECRET",
        description="Signs these events. Required with `HOLD_EVENTS_WEBHOOK_URL`; two during a rotation.",
    )
    temporal_ui_url: Annotated[str, _URL] = Field(
        default="",
        alias="TEMPORAL_UI_URL",
        description="The Temporal UI to which `holdfast holds show` links. Without it: that of a running "
        "`holdfast up`, else `http://localhost:8233`.",
    )

    @field_validator("alert_recipients", mode="before")
    @classmethod
    def _check_recipients(cls, value: object) -> object:
        addresses = split_list(value)
        for address in addresses if isinstance(addresses, tuple) else ():
            _check_address(address)
        return addresses

    @field_validator("alert_sender")
    @classmethod
    def _check_sender(cls, value: str) -> str:
        _check_address(value)
        return value

    @field_validator("smtp_url")
    @classmethod
    def _check_smtp_url(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            split_url(value.get_secret_value(), "smtp", "smtps")
        return value

    @field_validator("alert_url", "alert_link", "events_url", "temporal_ui_url")
    @classmethod
    def _check_http_url(cls, value: str) -> str:
        if value:
            split_url(value, "https", "http")
        return value

    @field_validator("alert_secrets", "events_secrets", mode="before")
    @classmethod
    def _check_signing_secrets(cls, value: object) -> object:
        secrets = split_secrets(value)
        for secret in secrets:
            try:
                length = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
            except (binascii.Error, ValueError):
                raise ValueError(f"is not base64; {_GENERATE}") from None
            if length not in _SECRET_BYTES:
                raise ValueError(f"must be 24 to 64 bytes in base64, and is {length}; {_GENERATE}")
        if len(secrets) > MAX_SECRETS:
            raise ValueError("lists more than two; at most two are allowed, comma-separated, during a rotation")
        return tuple(secrets)

    @model_validator(mode="after")
    def _require_signing_secrets(self) -> Self:
        for url, secrets, prefix in (
            (self.alert_url, self.alert_secrets, "STOCK_ALERT_WEBHOOK"),
            (self.events_url, self.events_secrets, "HOLD_EVENTS_WEBHOOK"),
        ):
            if url and not secrets:
                reason = f"is not set, and is required with {prefix}_URL; {_GENERATE}"
                raise SettingConflictError(f"{prefix}_SECRET", reason, f"{prefix}_URL")
        return self


def _check_address(address: str) -> None:
    try:
        parsed = Address(addr_spec=address)
    except (HeaderParseError, ValueError, IndexError):
        parsed = Address()
    if not (parsed.username and parsed.domain and address.isprintable()):
        raise ValueError("is not an e-mail address")


def mail_port(url: SplitResult) -> int:
    """Return the port of the mail server at this URL, which may name none."""
    return url.port or (465 if url.scheme == "smtps" else 587 if url.password else 25)
