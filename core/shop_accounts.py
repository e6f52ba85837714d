"""The Stripe accounts of shops: which of them have one of their own, and how their payments are charged."""

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from core.secret_files import read_secret
from domain.names import is_name

PLATFORM = "platform"
"""The account of STRIPE_API_KEY itself, among the accounts of a shop."""
OWN_KEY = "key_file"
"""The account of a shop that has a key of its own, which does not tell the account's id."""
AccountId = Annotated[str, StringConstraints(pattern=r"^acct_\w{1,200}$")]
_KEY = r"(sk|rk)_(test|live)_\w+"
_SECRET = r"whsec_[\x21-\x7e]+"  # noqa: S105 - a pattern


class Charges(StrEnum):
    """Whose payments they are."""

    DIRECT = "direct"
    """The connected account's: every call is made as that account."""
    DESTINATION = "destination"
    """The platform's, which transfers the money to the connected account."""


class ShopAccount(BaseModel):
    """The Stripe account of one shop, as STRIPE_SHOPS has it: a connected one, or one with a key of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    account: AccountId | None = None
    charges: Charges = Charges.DIRECT
    on_behalf_of: Annotated[bool, Field(strict=True)] = False
    application_fee_amount: Annotated[int | None, Field(strict=True, ge=1, le=99_999_999)] = None
    application_fee_percent: Annotated[Decimal | None, Field(gt=0, le=100, decimal_places=2)] = None
    former_accounts: tuple[AccountId | Annotated[str, StringConstraints(pattern=f"^{PLATFORM}$")], ...] = ()
    """Where earlier payments of the shop are."""
    key_file: SecretStr | None = None
    """The key, once read; its file in STRIPE_SHOPS."""
    webhook_secret_file: tuple[SecretStr, ...] = ()
    """The signing secrets, once read."""

    @field_validator("application_fee_percent", mode="before")
    @classmethod
    def _exact(cls, value: object) -> object:
        return str(value) if isinstance(value, float) else value

    @field_validator("key_file", mode="before")
    @classmethod
    def _read_key(cls, value: object) -> object:
        return None if value is None else _checked(_read(value), _KEY, "sk_test_…, sk_live_…, rk_test_… or rk_live_…")

    @field_validator("webhook_secret_file", mode="before")
    @classmethod
    def _read_secrets(cls, value: object) -> object:
        return tuple(_checked(part.strip(), _SECRET, "whsec_…, comma-separated") for part in _read(value).split(","))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.account is None) == (self.key_file is None):
            raise ValueError("must have one of account and key_file")
        if (self.key_file is None) != (not self.webhook_secret_file):
            raise ValueError("must have key_file and webhook_secret_file together")
        if self.key_file is not None and (self.charges is not Charges.DIRECT or self.takes_fee):
            raise ValueError("with key_file there is no platform that charges or takes a fee")
        if self.application_fee_amount is not None and self.application_fee_percent is not None:
            raise ValueError("must have at most one of application_fee_amount and application_fee_percent")
        if self.on_behalf_of and self.charges is Charges.DIRECT:
            raise ValueError('on_behalf_of is for charges = "destination"; a direct charge is the account\'s anyway')
        return self

    @property
    def takes_fee(self) -> bool:
        """Whether the platform takes an application fee."""
        return self.application_fee_amount is not None or self.application_fee_percent is not None

    @property
    def acts_as(self) -> str:
        """The account in which its payments are made, on the platform's key."""
        return self.account if self.account is not None and self.charges is Charges.DIRECT else PLATFORM

    @property
    def present(self) -> str:
        """The account in which its new payments are made: `acct_…`, PLATFORM or OWN_KEY."""
        return self.acts_as if self.key_file is None else OWN_KEY

    @property
    def places(self) -> tuple[str, ...]:
        """The accounts of STRIPE_API_KEY in which the shop has payments, the present one first."""
        present = () if self.key_file is not None else (self.acts_as,)
        return tuple(dict.fromkeys([*present, *self.former_accounts]))


def parse_shop_accounts(text: str) -> Mapping[str, ShopAccount]:
    """Return the accounts by shop. Raises ValueError, which names the shop and the field, never a secret."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"is not TOML: {error}") from None
    accounts = dict[str, ShopAccount]()
    for shop_id, table in tables.items():
        if not is_name(shop_id) or not isinstance(table, dict):
            raise ValueError(f"{shop_id!r} must be a table named like a shop: [shopId]")
        try:
            accounts[shop_id] = ShopAccount.model_validate(table)
        except ValidationError as error:
            raise ValueError(f"[{shop_id}] {_first_problem(error)}") from None
    return accounts


_ALLOWED: Mapping[str, str] = {
    "account": "must be the id of a connected account, acct_…",
    "charges": 'must be "direct" or "destination"',
    "on_behalf_of": "must be true or false",
    "application_fee_amount": "must be a whole number of the currency's smallest unit, 1 to 99999999",
    "application_fee_percent": "must be above 0 and at most 100, with at most two decimals",
    "former_accounts": f'must be a list of accounts, acct_… or "{PLATFORM}"',
}


def _first_problem(error: ValidationError) -> str:
    details = error.errors()[0]
    name = str(details["loc"][0]) if details["loc"] else ""
    raised: Any = details.get("ctx", {}).get("error")
    if details["type"] == "extra_forbidden":
        return f"{name}: is unknown; allowed: {', '.join(ShopAccount.model_fields)}"
    what = str(raised) if isinstance(raised, ValueError) else _ALLOWED.get(name, details["msg"])
    return f"{name}: {what}" if name else what


def _read(path: object) -> str:
    """Return the content of a secret's file. Its path is not shown: it may be the secret itself."""
    if not isinstance(path, str) or not Path(path).is_absolute():
        raise ValueError("must be the absolute path of a file")
    try:
        return read_secret(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"names a file that cannot be used: {getattr(error, 'strerror', None) or error}") from None


def _checked(secret: str, pattern: str, allowed: str) -> str:
    if not re.fullmatch(pattern, secret):
        raise ValueError(f"names a file without such a secret; allowed: {allowed}")
    return secret
