"""The settings of API, worker and commands: environment variables, read once at start and validated."""

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo
from pydantic import Field, SecretStr, field_validator, model_validator

from core.alert_settings import AlertSettings
from core.api_settings import ApiSettings
from core.browser_settings import BrowserSettings
from core.environment_settings import Allowed
from core.limit_settings import LimitSettings
from core.payment_settings import PaymentSettings
from core.setting_errors import SettingConflictError, SettingProblem, SettingsError
from core.setting_values import MAX_SECRETS, split_secrets
from core.tracing_settings import TracingSettings

MIN_TTL_SECONDS = 30
MIN_TOKEN_LENGTH = 32
TASK_QUEUE = "holdfast"
WORKER_DEPLOYMENT = "holdfast"

_PRISMA_PARAMETERS = frozenset({"schema", "pgbouncer", "connection_limit", "pool_timeout", "socket_timeout"})
_PLACEHOLDER = re.compile(r"your-secure-token|generate-with|<[^>]*>|changeme", re.IGNORECASE)
_GENERATE = "generate one with: openssl rand -hex 32"
_TOKENS = Allowed(f"{MIN_TOKEN_LENGTH} or more ASCII characters without spaces; at most two, comma-separated")


class Mode(StrEnum):
    """What a request for a new hold does. Existing holds commit, release, extend and expire in either mode."""

    VALIDATE_ONLY = "validate_only"
    RESERVE_TTL = "reserve_ttl"


class Settings(ApiSettings, BrowserSettings, PaymentSettings, AlertSettings, LimitSettings, TracingSettings):
    """All settings that API, worker and commands share. `Settings.read()` reads them."""

    database_url: Annotated[SecretStr, Allowed("`postgresql://…` as psql accepts it")] = Field(
        alias="DATABASE_URL",
        description="The database. Parameters that only Prisma knows (`schema`, `pgbouncer`, `connection_limit`, "
        "`pool_timeout`, `socket_timeout`) are refused by name.",
    )
    backend: Annotated[str, Allowed("`postgres`, `prisma`")] = Field(
        default="postgres",
        alias="INVENTORY_BACKEND",
        description="`prisma` means `postgres` and logs a warning.",
    )
    mode: Mode = Field(
        default=Mode.VALIDATE_ONLY,
        alias="INVENTORY_MODE",
        description="What a request for a new hold does: only check the stock, or hold it. Existing holds continue in "
        "either mode.",
    )
    ttl_seconds: Annotated[int, Allowed(f"{MIN_TTL_SECONDS} to `INVENTORY_HOLD_MAX_TTL_SECONDS`")] = Field(
        default=1200,
        ge=MIN_TTL_SECONDS,
        alias="INVENTORY_HOLD_TTL_SECONDS",
        description="The lifetime of a hold whose request does not give one, in seconds.",
    )
    max_ttl_seconds: int = Field(
        default=3600,
        ge=MIN_TTL_SECONDS,
        le=86_400,
        alias="INVENTORY_HOLD_MAX_TTL_SECONDS",
        description="The longest lifetime of a hold, extensions included, in seconds.",
    )
    bypass: bool = Field(
        default=False,
        alias="SKIP_INVENTORY_VALIDATION",
        description="The emergency bypass: requests for new holds succeed without any check of the stock.",
    )
    authority_tokens: Annotated[tuple[SecretStr, ...], _TOKENS] = Field(
        default=(),
        alias="INVENTORY_AUTHORITY_TOKEN",
        description="Grants validation, holds and reading the stock. Two during a rotation.",
    )
    admin_tokens: Annotated[tuple[SecretStr, ...], _TOKENS] = Field(
        default=(),
        alias="INVENTORY_ADMIN_TOKEN",
        description="Grants the same and changing the stock. Two during a rotation.",
    )
    lock_timeout_ms: int = Field(
        default=2000,
        ge=50,
        le=4000,
        alias="INVENTORY_LOCK_TIMEOUT_MS",
        description="How long a statement waits for a row lock before the answer is 429 `inventory_busy`, in "
        "milliseconds. The time-out of the whole statement is 1000 ms longer.",
    )
    request_timeout_ms: int = Field(
        default=5000,
        ge=500,
        le=30_000,
        alias="INVENTORY_REQUEST_TIMEOUT_MS",
        description="How long a request takes at most before the answer is 504 `inventory_timeout`, in milliseconds. A "
        "hold whose reservation is later than this takes no stock.",
    )
    pool_size: int = Field(
        default=8,
        ge=1,
        le=64,
        alias="INVENTORY_DATABASE_POOL_SIZE",
        description="Connections to Postgres per process. More than 16 lower the throughput of items that many "
        "shoppers buy at once.",
    )
    database_pooler: bool = Field(
        default=False,
        alias="INVENTORY_DATABASE_POOLER",
        description="`1` where `DATABASE_URL` leads to a pooler such as PgBouncer, in transaction or session mode: "
        "[pooler](deployment.md#pooler).",
    )
    search_by_sku: bool = Field(
        default=False,
        alias="HOLDFAST_SEARCH_BY_SKU",
        description="`1` makes the SKUs of new holds a search attribute, so that the Temporal UI finds the holds of an "
        'item with `Sku = "TEE"`. The namespace needs the attribute `Sku` first: '
        "[Temporal](operations.md#set-up-temporal-once).",
    )
    temporal_api_key: Annotated[SecretStr | None, Allowed("an API key")] = Field(
        default=None,
        alias="TEMPORAL_API_KEY",
        description="The API key of Temporal Cloud; turns TLS on. [Temporal](#temporal) has the other variables.",
    )
    worker_build_id: Annotated[str, Allowed("128 letters, digits, `.`, `_`, `+`, `-`")] = Field(
        default="",
        max_length=128,
        pattern=r"^[\w.+-]*$",
        alias="HOLDFAST_WORKER_BUILD_ID",
        description="Turns on routing by build: Temporal routes holds to workers of the build that was made current. "
        "Without it, any worker runs any hold.",
    )
    worker_deployment: Annotated[str, Allowed("255 letters, digits, `_`, `-`, `/`; a letter or digit first")] = Field(
        default=WORKER_DEPLOYMENT,
        max_length=255,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_/-]*$",
        alias="HOLDFAST_WORKER_DEPLOYMENT",
        description="The name of the worker deployment in Temporal, to which the build ids belong. Temporal's worker "
        "controller for Kubernetes needs a name of its own ([Kubernetes](kubernetes.md#route-holds-by-build)).",
    )
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto",
        alias="HOLDFAST_LOG_FORMAT",
        description="`auto` is text on a terminal and JSON lines otherwise.",
    )

    @classmethod
    def read_database(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read what connects to the database only; everything else has its default. Raises SettingsError."""
        given = os.environ if environment is None else environment
        names = ("DATABASE_URL", "DATABASE_URL_FILE", "INVENTORY_DATABASE_POOLER")
        return cls.read({name: given[name] for name in names if name in given})

    @field_validator("temporal_api_key")
    @classmethod
    def _check_temporal_api_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError("has a blank, a line break or a character beyond ASCII; remove it")
        return value

    @field_validator("authority_tokens", "admin_tokens", mode="before")
    @classmethod
    def _check_tokens(cls, value: object) -> object:
        tokens = split_secrets(value)
        for token in tokens:
            if _PLACEHOLDER.search(token):
                raise ValueError(f"is still the checklist's placeholder; {_GENERATE}")
            if len(token) < MIN_TOKEN_LENGTH:
                raise ValueError(f"is shorter than {MIN_TOKEN_LENGTH} characters; {_GENERATE}")
            if not (token.isascii() and token.isprintable() and " " not in token):  # no header can contain it
                raise ValueError(f"has a space or a character beyond ASCII; {_GENERATE}")
        if len(tokens) > MAX_SECRETS:
            raise ValueError("lists more than two tokens; at most two are allowed, comma-separated, during a rotation")
        return tuple(tokens)

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if not re.match(r"postgres(ql)?://", url):
            raise ValueError("must be a postgresql:// URL that psql accepts")
        try:
            conninfo_to_dict(url)
        except psycopg.ProgrammingError:  # its message can repeat the URL with its password
            query = url.rpartition("@")[2].partition("?")[2]  # a password may have a question mark
            parameters = {
                name for part in query.split("&") if re.fullmatch("[A-Za-z_]+", name := part.partition("=")[0])
            }
            if prisma := sorted(parameters & _PRISMA_PARAMETERS):
                raise ValueError(f"has parameters that only Prisma knows: {', '.join(prisma)}; remove them") from None
            if unknown := sorted(parameters - _psql_parameters()):
                raise ValueError(f"has parameters that psql does not know: {', '.join(unknown)}; remove them") from None
            raise ValueError(
                "is not a URL that psql accepts; in a password, write characters other than letters and digits as %XX"
            ) from None
        return value

    @field_validator("backend")
    @classmethod
    def _check_backend(cls, value: str) -> str:
        if value not in ("postgres", "prisma"):
            raise ValueError("must be postgres (prisma, the earlier implementation's name, means postgres)")
        return value

    @model_validator(mode="after")
    def _check_ttl(self) -> Self:
        if self.ttl_seconds > self.max_ttl_seconds:
            reason = (
                f"{self.ttl_seconds} is above INVENTORY_HOLD_MAX_TTL_SECONDS ({self.max_ttl_seconds}); "
                f"allowed: {MIN_TTL_SECONDS} to {self.max_ttl_seconds}"
            )
            raise SettingConflictError("INVENTORY_HOLD_TTL_SECONDS", reason, "INVENTORY_HOLD_MAX_TTL_SECONDS")
        return self

    @property
    def statement_timeout_ms(self) -> int:
        """How long Postgres lets one statement run, in milliseconds: one lock wait and 1000 ms of work.

        Shorter than the activities' start-to-close time-outs: a killed worker's statement cannot take effect late.
        """
        return self.lock_timeout_ms + 1000

    @property
    def prepare_threshold(self) -> int | None:
        """After how many uses psycopg prepares a statement; None is never: a pooler changes the server's session."""
        return None if self.database_pooler else 5

    def require_tokens(self) -> None:
        """Raise SettingsError unless a token is set, and none for both roles: the API does not start without."""
        authority, admin = "INVENTORY_AUTHORITY_TOKEN", "INVENTORY_ADMIN_TOKEN"
        if not (self.authority_tokens or self.admin_tokens):
            reason = f"is not set, and neither is {admin}; the API needs at least one; {_GENERATE}"
            raise SettingsError(SettingProblem(authority, reason, (admin,)))
        if set(self.authority_tokens) & set(self.admin_tokens):
            reason = f"has a token that {authority} has too, so that the shop could change stock; {_GENERATE}"
            raise SettingsError(SettingProblem(admin, reason, (authority,)))


def _psql_parameters() -> set[str]:
    """Return the parameters that a connection URL can have; `ssl` is accepted for compatibility with JDBC."""
    return {option.keyword.decode() for option in Conninfo.get_defaults()} | {"ssl"}
