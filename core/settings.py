"""What an operator can set: environment variables, read once at start and validated."""

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal, Self, get_args

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from core.alert_settings import AlertSettings
from core.secret_files import SecretFileError, from_files
from core.tracing_settings import TracingSettings

MIN_TTL_SECONDS = 30
MIN_TOKEN_LENGTH = 32
TASK_QUEUE = "holdfast"
STRIPE_API = "https://api.stripe.com"
MAX_GRACE_SECONDS = 60 * 86_400

_PRISMA_PARAMETERS = frozenset({"schema", "pgbouncer", "connection_limit", "pool_timeout", "socket_timeout"})
_PLACEHOLDER = re.compile(r"your-secure-token|generate-with|<[^>]*>|changeme", re.IGNORECASE)


class SettingsError(Exception):
    """The environment is not one that Holdfast can run with. The message has one line for each variable at fault."""


class LatePaymentPolicy(StrEnum):
    """What becomes of a payment that came after its hold had ended."""

    REACQUIRE_OR_REFUND = "reacquire_or_refund"
    """Take the stock again; where it is gone, give the money back."""
    REFUND = "refund"
    KEEP = "keep"
    """Touch neither stock nor money: a person decides."""


class Mode(StrEnum):
    """What a new request does. Holds that exist commit, release, extend and expire in either mode."""

    VALIDATE_ONLY = "validate_only"
    RESERVE_TTL = "reserve_ttl"


def _split_tokens(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


class Settings(AlertSettings, TracingSettings):
    """The whole configuration. `Settings.read()` is the way to get one; its errors are for people."""

    model_config = ConfigDict(frozen=True)

    database_url: SecretStr = Field(alias="DATABASE_URL")
    backend: str = Field(default="postgres", alias="INVENTORY_BACKEND")
    mode: Mode = Field(default=Mode.VALIDATE_ONLY, alias="INVENTORY_MODE")
    max_ttl_seconds: int = Field(default=3600, ge=MIN_TTL_SECONDS, le=86_400, alias="INVENTORY_HOLD_MAX_TTL_SECONDS")
    """The longest that a hold can live, extensions included, in seconds."""
    ttl_seconds: int = Field(default=1200, ge=MIN_TTL_SECONDS, alias="INVENTORY_HOLD_TTL_SECONDS")
    """How long a hold lives when the request does not say, in seconds; MIN_TTL_SECONDS to `max_ttl_seconds`."""
    bypass: bool = Field(default=False, alias="SKIP_INVENTORY_VALIDATION")
    authority_tokens: tuple[SecretStr, ...] = Field(default=(), alias="INVENTORY_AUTHORITY_TOKEN")
    admin_tokens: tuple[SecretStr, ...] = Field(default=(), alias="INVENTORY_ADMIN_TOKEN")
    lock_timeout_ms: int = Field(default=2000, ge=50, le=4000, alias="INVENTORY_LOCK_TIMEOUT_MS")
    """How long a statement waits for one row lock before the answer is «busy», in milliseconds."""
    request_timeout_ms: int = Field(default=5000, ge=500, le=30_000, alias="INVENTORY_REQUEST_TIMEOUT_MS")
    """How long a request waits for its answer, in milliseconds; also how late a reserve may still take stock."""
    stripe_api_key: SecretStr | None = Field(default=None, alias="STRIPE_API_KEY")
    """A secret or restricted key. None: Holdfast opens no payment and closes none."""
    stripe_webhook_secrets: tuple[SecretStr, ...] = Field(default=(), alias="STRIPE_WEBHOOK_SECRET")
    """Of the endpoint that points here; two while one replaces the other. None: the webhook answers 503."""
    stripe_api_base: str = Field(default=STRIPE_API, alias="STRIPE_API_BASE")
    """Where Stripe answers; the simulator's address where there is no account."""
    late_payment_policy: LatePaymentPolicy = Field(
        default=LatePaymentPolicy.REACQUIRE_OR_REFUND, alias="LATE_PAYMENT_POLICY"
    )
    payment_graces: dict[str, int] = Field(default_factory=dict, alias="PAYMENT_GRACE_SECONDS")
    """How long the stock waits for a payment under way, in seconds by Stripe's name of the method; `default` for the
    methods that are not named. What it does not name is as the table in `payments.grace_periods` has it."""
    payment_close_grace_seconds: int = Field(default=3600, ge=0, le=604_800, alias="PAYMENT_CLOSE_GRACE_SECONDS")
    """How long after a payment can no longer be made its stock stays held while Stripe is out of reach, in seconds."""
    temporal_api_key: SecretStr | None = Field(default=None, alias="TEMPORAL_API_KEY")
    """The rest of the way to Temporal is read by its own library: `core.temporal`."""
    pool_size: int = Field(default=8, ge=1, le=64, alias="INVENTORY_DATABASE_POOL_SIZE")
    """Connections to Postgres for each process. More than 16 on one hot row cost throughput."""
    worker_build_id: str = Field(default="", max_length=128, pattern=r"^[\w.+-]*$", alias="HOLDFAST_WORKER_BUILD_ID")
    """Of this worker, by which Temporal routes holds to it; without one, any worker takes any hold."""
    log_format: Literal["auto", "json", "text"] = Field(default="auto", alias="HOLDFAST_LOG_FORMAT")
    """`json` lines, `text` for people, or `auto`: text on a terminal, json elsewhere."""

    @classmethod
    def secrets(cls) -> list[str]:
        """Return the variables that are secrets: each may come from the file that `NAME_FILE` names instead."""
        return [str(field.alias) for field in cls.model_fields.values() if _is_secret(field)]

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings from the process's environment, or from the mapping given instead of it.

        Raises SettingsError, whose message names every variable at fault and what is allowed.
        """
        try:
            return cls.model_validate(from_files(os.environ if environment is None else environment, cls.secrets()))
        except SecretFileError as error:
            raise SettingsError(str(error)) from None
        except ValidationError as error:
            raise SettingsError("\n".join(_explain(cls, dict(problem)) for problem in error.errors())) from None

    @classmethod
    def read_database(cls) -> Self:
        """Read nothing of the process's environment but where the database is. Raises SettingsError."""
        names = ("DATABASE_URL", "DATABASE_URL_FILE")
        return cls.read({name: os.environ[name] for name in names if name in os.environ})

    @field_validator("authority_tokens", "admin_tokens", mode="before")
    @classmethod
    def _tokens(cls, value: object) -> object:
        tokens = _split_tokens(value)
        for token in tokens if isinstance(tokens, tuple) else ():
            text = token.get_secret_value() if isinstance(token, SecretStr) else str(token)
            if _PLACEHOLDER.search(text):
                raise ValueError("is still the checklist's placeholder; make one with: openssl rand -hex 32")
            if len(text) < MIN_TOKEN_LENGTH:
                raise ValueError(f"is shorter than {MIN_TOKEN_LENGTH} characters; make one with: openssl rand -hex 32")
            if not (text.isascii() and text.isprintable() and " " not in text):  # no header can carry it as it is
                raise ValueError("has a space or a character beyond ASCII; make one with: openssl rand -hex 32")
        if isinstance(tokens, tuple) and len(tokens) > 2:  # noqa: PLR2004 - the present one and the next
            raise ValueError("lists more than two tokens; at most two, comma-separated, while one replaces the other")
        return tokens

    @field_validator("stripe_api_key", "stripe_api_base", "temporal_api_key", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object, info: ValidationInfo) -> object:
        return cls.model_fields[info.field_name or ""].default if value == "" else value

    @field_validator("stripe_api_key")
    @classmethod
    def _secret_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"(sk|rk)_(test|live)_\w+", value.get_secret_value()):
            raise ValueError("is not a secret key of Stripe's; allowed: sk_test_…, sk_live_…, rk_test_…, rk_live_…")
        return value

    @field_validator("stripe_webhook_secrets", mode="before")
    @classmethod
    def _webhook_secrets(cls, value: object) -> object:
        secrets = _split_tokens(value)
        for secret in secrets if isinstance(secrets, tuple) else ():
            text = secret.get_secret_value() if isinstance(secret, SecretStr) else str(secret)
            if not re.fullmatch(r"whsec_[\x21-\x7e]+", text):
                raise ValueError("is not the signing secret of a Stripe endpoint; allowed: whsec_…, comma-separated")
        return secrets

    @field_validator("stripe_api_base")
    @classmethod
    def _bare_address(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^/\s?#@]+/?", value):
            raise ValueError(f"must be a bare address like {STRIPE_API}, without path or user")
        return value.rstrip("/")

    @field_validator("payment_graces", mode="before")
    @classmethod
    def _graces(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        graces: dict[str, int] = {}
        for part in filter(None, (part.strip() for part in value.split(","))):
            method, _, seconds = part.partition("=")
            if not re.fullmatch(r"[a-z][a-z0-9_]*", method) or not re.fullmatch(r"\d{1,8}", seconds):
                raise ValueError(f"{part!r} is not allowed: must be like sepa_debit=1209600,default=604800, in seconds")
            if not MIN_TTL_SECONDS <= int(seconds) <= MAX_GRACE_SECONDS:
                raise ValueError(f"{part!r} is not allowed: must be {MIN_TTL_SECONDS} to {MAX_GRACE_SECONDS} seconds")
            graces[method] = int(seconds)
        return graces

    @field_validator("database_url")
    @classmethod
    def _plain_postgres_url(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if not re.match(r"postgres(ql)?://", url):
            raise ValueError("must be a postgresql:// URL that psql accepts")
        query = url.partition("?")[2]
        named = {part.partition("=")[0] for part in query.split("&")}
        if prisma := sorted(named & _PRISMA_PARAMETERS):
            raise ValueError(f"has parameters that only Prisma knows: {', '.join(prisma)}; take them out")
        try:
            conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:  # its message can repeat the URL, password and all
            if unknown := re.search(r'invalid URI query parameter: "([^"]*)"', str(error)):
                raise ValueError(f"has a parameter that psql does not know: {unknown[1]}; take it out") from None
            raise ValueError(
                "is not a URL that psql accepts; in a password, write what is no letter or digit as %XX"
            ) from None
        return value

    @field_validator("backend")
    @classmethod
    def _known_backend(cls, value: str) -> str:
        if value not in ("postgres", "prisma"):
            raise ValueError("must be postgres (prisma, the earlier implementation's name, is read as postgres)")
        return value

    @model_validator(mode="after")
    def _ttl_within_ceiling(self) -> Self:
        if self.ttl_seconds > self.max_ttl_seconds:
            raise ValueError(
                f"INVENTORY_HOLD_TTL_SECONDS: {self.ttl_seconds} is above INVENTORY_HOLD_MAX_TTL_SECONDS "
                f"({self.max_ttl_seconds}); allowed: {MIN_TTL_SECONDS} to {self.max_ttl_seconds}"
            )
        return self

    @model_validator(mode="after")
    def _no_live_money_elsewhere(self) -> Self:
        key = self.stripe_api_key.get_secret_value() if self.stripe_api_key else ""
        if key[2:].startswith("_live_") and self.stripe_api_base != STRIPE_API:
            raise ValueError(
                f"STRIPE_API_KEY: is a live key, and STRIPE_API_BASE is not {STRIPE_API}; take a test key for the "
                "simulator, or leave STRIPE_API_BASE out"
            )
        return self

    @property
    def statement_timeout_ms(self) -> int:
        """How long Postgres lets one statement run, in milliseconds: one lock wait and the work itself.

        Shorter than the activities' start-to-close time-outs: a killed worker's statement cannot land late.
        """
        return self.lock_timeout_ms + 1000

    def require_tokens(self) -> None:
        """Raise SettingsError when no token is set: an API that anybody may call does not start."""
        if not (self.authority_tokens or self.admin_tokens):
            raise SettingsError(
                "INVENTORY_AUTHORITY_TOKEN, INVENTORY_ADMIN_TOKEN: neither is set, so nobody could be told apart; "
                "make each with: openssl rand -hex 32"
            )


def _is_secret(field: FieldInfo) -> bool:
    return "Secret" in repr(field.annotation)


def _allowed(field: FieldInfo) -> str:
    """Return what a field that is a number, a choice or a switch may be."""
    if field.annotation is bool:
        return "0, 1"
    if field.annotation is int:
        bounds = {name: getattr(part, name) for part in field.metadata for name in ("ge", "le") if hasattr(part, name)}
        return f"{bounds['ge']} to {bounds.get('le', 'INVENTORY_HOLD_MAX_TTL_SECONDS')}"
    if isinstance(field.annotation, type) and issubclass(field.annotation, StrEnum):
        return ", ".join(field.annotation)
    return ", ".join(get_args(field.annotation))


def _explain(model: type[Settings], problem: dict[str, Any]) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    name = str(problem["loc"][0])
    field = next((f for n, f in model.model_fields.items() if name in (n, f.alias)), None)
    secret = field is not None and _is_secret(field)
    if problem["type"] == "missing":
        return f"{name}: is not set, and must be"
    if field is not None and problem["type"] != "value_error":
        message = f"allowed: {_allowed(field)}"
    shown = "" if secret else f"{problem['input']!r} is not allowed: " if problem["type"] != "value_error" else ""
    return f"{name}: {shown}{message[:1].lower()}{message[1:]}"
