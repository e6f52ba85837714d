"""The doctor on the environment: each setting by its name, secrets masked, and what is left over from before."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from cli.doctor.lines import Line, fault, ok
from core.settings import Settings, SettingsError

AREA = "settings"
_VARIABLE = re.compile(r"\b[A-Z]{2,}(?:_[A-Z]+)+\b")
_UNKNOWN_DATABASE = "postgresql://127.0.0.1:1/unknown"


@dataclass(frozen=True, slots=True)
class Environment:
    """The environment as the checks use it."""

    variables: Mapping[str, str]
    settings: Settings
    """Without the values that were refused; those have their default here."""
    refused: Mapping[str, str]
    """Why, by the variable's name."""

    @property
    def database_known(self) -> bool:
        """Whether DATABASE_URL is one that can be tried."""
        return "DATABASE_URL" not in self.refused


def read(variables: Mapping[str, str]) -> Environment:
    """Read the settings, going on without those that are refused."""
    refused: dict[str, str] = {}
    taken = dict(variables)
    while True:
        try:
            return Environment(variables, Settings.read(taken), refused)
        except SettingsError as error:
            complaints = [line.partition(": ")[::2] for line in str(error).splitlines()]
        refused = dict(complaints) | refused  # what was found first is the cause
        before = dict(taken)
        for name, why in complaints:
            if taken.pop(name, None) is None and taken.pop(f"{name}_FILE", None) is None:
                # it is missing, or its default does not fit another
                for other in _VARIABLE.findall(why):
                    taken.pop(other, None)
        if "DATABASE_URL" in refused:
            taken = {**taken, "DATABASE_URL": _UNKNOWN_DATABASE, "DATABASE_URL_FILE": ""}
        if taken == before:
            taken = {"DATABASE_URL": _UNKNOWN_DATABASE}  # no value that is left is at fault by itself


def setting_lines(environment: Environment) -> Iterator[Line]:
    """Say of each setting what it is, or why it is refused."""
    for field_name, field in Settings.model_fields.items():
        name = str(field.alias)
        if name in environment.refused:
            yield fault(AREA, name, environment.refused[name], f"set {name} as docs/configuration.md says")
        elif field_name == "bypass" and environment.settings.bypass:
            yield fault(AREA, name, "1: the bypass is in force, no request is checked", f"set {name}=0 when it is over")
        elif field_name == "backend" and environment.settings.backend == "prisma":
            yield fault(AREA, name, "prisma, which is read as postgres", f"set {name}=postgres or take it out")
        else:
            value = getattr(environment.settings, field_name)
            yield ok(AREA, name, f"{_shown(value)}{_source(name, environment.variables)}")
    yield from _tokens(environment)


def _tokens(environment: Environment) -> Iterator[Line]:
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
        fix = "make INVENTORY_ADMIN_TOKEN anew: openssl rand -hex 32"
        yield fault(AREA, "tokens", "one token is both authority and admin: a checkout may set stock", fix)


def left_over_line(variables: Mapping[str, str]) -> Line:
    """Say whether the secret of the earlier implementation's cron job is still set."""
    if variables.get("CRON_SECRET"):
        fix = "take CRON_SECRET out, and its cron job: each hold expires by its own timer, nothing polls"
        return fault("left-overs", "CRON_SECRET", "is still set, and nothing reads it", fix)
    return ok("left-overs", "CRON_SECRET", "not set; nothing needs it")


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
