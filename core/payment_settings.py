"""The settings of payments: Stripe's keys and address, and the rules for late and slow payments."""

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from core.environment_settings import Allowed, EnvironmentSettings
from core.setting_errors import SettingConflictError
from core.setting_values import MIN_SECRET_LENGTH, long_secrets, split_secrets
from core.shop_accounts import ShopAccount, parse_shop_accounts

STRIPE_API = "https://api.stripe.com"
MIN_GRACE_SECONDS = 30
MAX_GRACE_SECONDS = 60 * 86_400


def is_live_key(key: str) -> bool:
    """Return whether the key is one of Stripe's live mode, with which real money is moved."""
    return key[2:].startswith("_live_")


class LatePaymentPolicy(StrEnum):
    """What happens with a payment that arrives after its hold ended."""

    REACQUIRE_OR_REFUND = "reacquire_or_refund"
    """Take the stock again; refund if it is sold out."""
    REFUND = "refund"
    KEEP = "keep"
    """Leave stock and payment for a person to decide."""


class PaymentSettings(EnvironmentSettings):
    """Payments are off unless STRIPE_API_KEY is set."""

    stripe_api_key: Annotated[SecretStr | None, Allowed("`sk_test_…`, `sk_live_…`, `rk_test_…`, `rk_live_…`")] = Field(
        default=None,
        alias="STRIPE_API_KEY",
        description="A secret or restricted key of Stripe, for API and worker. Without it, no payment is created, "
        "attached or closed, and `/api/checkout/sessions` answers 503.",
    )
    stripe_webhook_secrets: Annotated[tuple[SecretStr, ...], Allowed("`whsec_…`, comma-separated")] = Field(
        default=(),
        alias="STRIPE_WEBHOOK_SECRET",
        description="The signing secret of the Stripe endpoint for `/api/webhooks/stripe`; two during a rotation. "
        "Without it, the webhook answers 503. Events of the other mode (test or live) than that of STRIPE_API_KEY are "
        "ignored.",
    )
    stripe_approval_secrets: Annotated[tuple[SecretStr, ...], Allowed("`whsec_…`, comma-separated")] = Field(
        default=(),
        alias="STRIPE_APPROVAL_SECRET",
        description="The signing secret of Stripe's requests to `/api/checkout/approvals`; two during a rotation. "
        "Without it, they are answered 503: [approval](agentic-commerce.md).",
    )
    approval_seconds: int = Field(
        default=30,
        ge=0,
        le=3600,
        alias="CHECKOUT_APPROVAL_SECONDS",
        description="How long a hold must still live for its payment to be approved, in seconds: enough for the "
        "payment to finish.",
    )
    stripe_shops: Annotated[SecretStr | None, Allowed("TOML with a table for each shop")] = Field(
        default=None,
        alias="STRIPE_SHOPS",
        description="The Stripe accounts of shops that do not use that of STRIPE_API_KEY, for API and worker; mostly "
        "from a file: [accounts](stripe-accounts.md).",
    )
    stripe_api_base: Annotated[str, Allowed("a URL without path")] = Field(
        default=STRIPE_API,
        alias="STRIPE_API_BASE",
        description="The address of Stripe's API, or of the simulator. With any other address than the default, a live "
        "key is refused.",
    )
    late_payment_policy: LatePaymentPolicy = Field(
        default=LatePaymentPolicy.REACQUIRE_OR_REFUND,
        alias="LATE_PAYMENT_POLICY",
        description="What happens with a payment that arrives after its hold ended: take the stock again and refund "
        "only if it is sold out; refund; or leave both for a person to decide.",
    )
    payment_graces: Annotated[
        dict[str, int],
        Allowed(f"`method=seconds`, comma-separated, {MIN_GRACE_SECONDS} to {MAX_GRACE_SECONDS} seconds"),
    ] = Field(
        default_factory=dict,
        alias="PAYMENT_GRACE_SECONDS",
        description="How long stock stays held for a pending payment, by Stripe's name of the payment method; "
        "`default=` for all other methods. Methods not named use the table in `payments/grace_periods.py`.",
    )
    checkout_secrets: Annotated[
        tuple[SecretStr, ...], Allowed(f"{MIN_SECRET_LENGTH} or more characters; at most two, comma-separated")
    ] = Field(
        default=(),
        alias="HOLDFAST_CHECKOUT_SECRET",
        description="Encrypts the parameters in `stripe` of a checkout, which may have personal data, in the database "
        "until the hold has ended; the same for API and worker. Two during a rotation: the first encrypts, both "
        "decrypt. Without it, checkouts with `stripe` are answered 503.",
    )
    payment_close_grace_seconds: int = Field(
        default=3600,
        ge=0,
        le=604_800,
        alias="PAYMENT_CLOSE_GRACE_SECONDS",
        description="How long stock stays held after the last moment to pay while Stripe cannot be reached, in "
        "seconds. Then the hold ends and an alert is raised. The effective time is at least five minutes, and can be "
        "up to five minutes shorter than set.",
    )

    @field_validator("stripe_api_key")
    @classmethod
    def _check_api_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"(sk|rk)_(test|live)_\w+", value.get_secret_value()):
            raise ValueError("is not a secret key of Stripe; allowed: sk_test_…, sk_live_…, rk_test_…, rk_live_…")
        return value

    @field_validator("stripe_webhook_secrets", "stripe_approval_secrets", mode="before")
    @classmethod
    def _check_webhook_secrets(cls, value: object) -> object:
        secrets = split_secrets(value)
        if not all(re.fullmatch(r"whsec_[\x21-\x7e]+", secret) for secret in secrets):
            raise ValueError("is not the signing secret of a Stripe endpoint; allowed: whsec_…, comma-separated")
        return tuple(secrets)

    @field_validator("checkout_secrets", mode="before")
    @classmethod
    def _check_checkout_secrets(cls, value: object) -> object:
        return long_secrets(value)

    @field_validator("stripe_shops")
    @classmethod
    def _check_shops(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_shop_accounts(value.get_secret_value())
        return value

    @field_validator("stripe_api_base")
    @classmethod
    def _check_api_base(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^/\s?#@]+/?", value):
            raise ValueError(f"must be an address like {STRIPE_API}, without path or user")
        return value.rstrip("/")

    @field_validator("payment_graces", mode="before")
    @classmethod
    def _parse_graces(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        graces: dict[str, int] = {}
        for part in filter(None, (part.strip() for part in value.split(","))):
            method, _, seconds = part.partition("=")
            if not re.fullmatch(r"[a-z][a-z0-9_]*", method) or not re.fullmatch(r"\d{1,8}", seconds):
                raise ValueError(f"{part!r} is not allowed; must be like sepa_debit=1209600,default=604800, in seconds")
            if not MIN_GRACE_SECONDS <= int(seconds) <= MAX_GRACE_SECONDS:
                raise ValueError(f"{part!r} is not allowed; must be {MIN_GRACE_SECONDS} to {MAX_GRACE_SECONDS} seconds")
            graces[method] = int(seconds)
        return graces

    @cached_property
    def shop_accounts(self) -> Mapping[str, ShopAccount]:
        """The accounts of STRIPE_SHOPS by shop."""
        return {} if self.stripe_shops is None else parse_shop_accounts(self.stripe_shops.get_secret_value())

    @property
    def stripe_live_mode(self) -> bool | None:
        """Whether the keys are live keys; None without a key."""
        return next((is_live_key(key) for key in self._keys), None)

    @property
    def _keys(self) -> list[str]:
        """The keys of all accounts, which are of one mode."""
        keys = [self.stripe_api_key, *(account.key_file for account in self.shop_accounts.values())]
        return [key.get_secret_value() for key in keys if key is not None]

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        if self.stripe_api_key is None and any(account.places for account in self.shop_accounts.values()):
            reason = "has connected accounts, which are called with the key of their platform, STRIPE_API_KEY"
            raise SettingConflictError("STRIPE_SHOPS", reason, "STRIPE_API_KEY")
        if len({is_live_key(key) for key in self._keys}) > 1:
            reason = "has live and test keys, STRIPE_API_KEY included; use keys of one mode"
            raise SettingConflictError("STRIPE_SHOPS", reason, "STRIPE_API_KEY")
        if self.stripe_live_mode and self.stripe_api_base != STRIPE_API:
            reason = (
                f"is a live key, and STRIPE_API_BASE is not {STRIPE_API}; use a test key with the simulator, or unset "
                "STRIPE_API_BASE"
            )
            raise SettingConflictError("STRIPE_API_KEY", reason, "STRIPE_API_BASE")
        return self
