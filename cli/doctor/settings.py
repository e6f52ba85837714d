"""The doctor's checks of the settings: each by its name, with secrets masked, and leftovers of the predecessor."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from cli.doctor.results import CheckResult, fault, ok
from core.environment_settings import set_variables
from core.setting_errors import SettingProblem, SettingsError
from core.settings import Settings
from core.worker_settings import WorkerSettings

AREA = "settings"
_SAID_BETTER = {"STRIPE_API_KEY": ("stripe: keys",), "STRIPE_WEBHOOK_SECRET": ("stripe: webhook secret",)}
"""Results that say more of a setting that is not valid."""
_UNKNOWN_DATABASE = "postgresql://127.0.0.1:1/unknown"


@dataclass(frozen=True, slots=True)
class Environment:
    """The environment variables, and the settings that could be read from them."""

    variables: Mapping[str, str]
    settings: Settings
    """Refused variables have their default here."""
    refused: Mapping[str, str]
    """The reason, by the variable's name."""

    @property
    def database_known(self) -> bool:
        """Whether DATABASE_URL is valid."""
        return "DATABASE_URL" not in self.refused


def read(variables: Mapping[str, str]) -> Environment:
    """Read the settings, without the variables that are refused."""
    refused: dict[str, str] = {}
    variables = set_variables(variables)
    remaining = dict(variables)
    while True:
        try:
            return Environment(variables, Settings.read(remaining), refused)
        except SettingsError as error:
            problems = error.problems
        for problem in problems:
            refused.setdefault(problem.variable, problem.reason)  # the first problem of a variable is the cause
            for name in _at_fault(problem, remaining):
                del remaining[name]
        if "DATABASE_URL" in refused:
            remaining = {**remaining, "DATABASE_URL": _UNKNOWN_DATABASE, "DATABASE_URL_FILE": ""}


def _at_fault(problem: SettingProblem, variables: Mapping[str, str]) -> Collection[str]:
    """Return which of the variables to leave out: the problem's own, else those that conflict with its default."""
    own = (problem.variable, f"{problem.variable}_FILE")
    return [name for name in own if name in variables][:1] or [name for name in problem.related if name in variables]


def check_settings(environment: Environment) -> Iterator[CheckResult]:
    """Return each setting's value, or why it is not valid."""
    for field_name, field in Settings.model_fields.items():
        name = str(field.alias)
        if name in environment.refused:
            fix = f"set {name} as docs/configuration.md says"
            yield fault(AREA, name, environment.refused[name], fix, _SAID_BETTER.get(name, ()))
        elif field_name == "bypass" and environment.settings.bypass:
            yield fault(AREA, name, "1: the bypass is active, no stock is checked", f"set {name}=0 after the outage")
        elif field_name == "backend" and environment.settings.backend == "prisma":
            yield fault(AREA, name, "prisma, which is read as postgres", f"set {name}=postgres or remove it")
        else:
            value = getattr(environment.settings, field_name)
            yield ok(AREA, name, f"{_shown(value)}{_source(name, environment.variables)}")
    yield from _tokens(environment)


def check_process_settings(variables: Mapping[str, str]) -> Iterator[CheckResult]:
    """Return what is not valid among the variables that only the worker reads."""
    try:
        WorkerSettings.read(variables)
    except SettingsError as error:
        for problem in error.problems:
            fix = f"set {problem.variable} as docs/configuration.md says"
            yield fault(AREA, problem.variable, problem.reason, fix)


def worker_processes(variables: Mapping[str, str]) -> int:
    """Return HOLDFAST_WORKER_PROCESSES, or 1 where it is not valid."""
    try:
        return WorkerSettings.read(variables).processes
    except SettingsError:
        return 1


def _tokens(environment: Environment) -> Iterator[CheckResult]:
    names = ("INVENTORY_AUTHORITY_TOKEN", "INVENTORY_ADMIN_TOKEN")
    if any(name in environment.refused for name in names):
        return
    settings = environment.settings
    if not settings.authority_tokens and not settings.admin_tokens:
        fix = "set INVENTORY_AUTHORITY_TOKEN and INVENTORY_ADMIN_TOKEN, each from: openssl rand -hex 32"
        yield fault(AREA, "tokens", "neither token is set: the API refuses to start", fix)
    elif {t.get_secret_value() for t in settings.authority_tokens} & {
        t.get_secret_value() for t in settings.admin_tokens
    }:
        fix = "create another INVENTORY_ADMIN_TOKEN: openssl rand -hex 32"
        yield fault(
            AREA,
            "tokens",
            "one token is both authority and admin: the API refuses to start",
            fix,
        )


def check_left_overs(variables: Mapping[str, str]) -> CheckResult:
    """Check that the cron secret of the earlier implementation is no longer set."""
    if variables.get("CRON_SECRET"):
        fix = "remove CRON_SECRET and its cron job: each hold expires by its own timer"
        return fault("left-overs", "CRON_SECRET", "is set, and nothing reads it", fix)
    return ok("left-overs", "CRON_SECRET", "not set")


def _source(name: str, variables: Mapping[str, str]) -> str:
    """Return where a value is from, unless it is from the variable itself."""
    if file := variables.get(f"{name}_FILE"):
        return f" (from {file})"
    return "" if name in variables else " (default)"


def _shown(value: object) -> str:
    """Return a setting's value for a screen: of secrets their kind and end only, of URLs no password."""
    if isinstance(value, SecretStr):
        return masked(value.get_secret_value()) if value.get_secret_value() else "not set"
    if isinstance(value, tuple):
        return ", ".join(_shown(each) for each in value) or "not set"
    if value in (None, "", {}):
        return "not set"
    if isinstance(value, str) and "://" in value:
        return masked(value)
    return str(int(value)) if isinstance(value, bool) else str(value)


def masked(secret: str) -> str:
    """Return of a URL all but its password and parameters, of another secret its prefix and last four characters."""
    if "://" in secret:
        parts = urlsplit(secret)
        user, at, host = parts.netloc.rpartition("@")
        name, colon, _ = user.partition(":")
        return urlunsplit((parts.scheme, f"{name}{colon and ':•••'}{at}{host}", parts.path, "", ""))
    prefix = re.match(r"(?:(?:sk|rk)_(?:test|live)_|whsec_)?", secret)
    shown = prefix[0] if prefix else ""
    end = secret[-4:] if len(secret) - len(shown) >= 24 else ""  # noqa: PLR2004 - of a short one the end is too much
    return f"{shown}•••{end}"
