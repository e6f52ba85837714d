"""What every session of Postgres is told: by start-up options, or in each transaction behind a pooler."""

from collections.abc import Mapping

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from core.settings import Settings

SESSION_DEFAULTS = {
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "extra_float_digits": "1",
    "default_transaction_isolation": "read committed",
}
"""What psycopg and the statements rely on, whatever the server, the database or the role has as its default."""


_ARRIVED = "holdfast.startup"
OPTIONS_ARRIVED = f"""
SELECT current_setting('{_ARRIVED}', true) IS NOT DISTINCT FROM 'on' AND current_setting('lock_timeout') <> '0'
  AS arrived
"""  # noqa: S608 - a constant
"""Whether the session has its start-up options. Of the first setting, which is ours, no role can have a default that
hides their loss; the second one a login trigger may have taken back."""


def startup_options(given: object, settings: Mapping[str, str]) -> str:
    """Return the start-up options of a connection: those given by its URL, then ours, which win."""
    escaped = {name: value.replace(" ", r"\ ") for name, value in {**settings, _ARRIVED: "on"}.items()}
    ours = (f"-c {name}={value}" for name, value in escaped.items())
    return " ".join([str(given or ""), *ours]).strip()


def connection_info(settings: Settings, *, for_writing: bool = True) -> str:
    """Return the connection string, with the settings of every connection added as startup options.

    Behind a pooler there are none: `transaction_settings` sets them in each transaction. Unless the URL says something
    else, a connection for writing is refused by a server that is read-only.
    """
    url = settings.database_url.get_secret_value()
    given = conninfo_to_dict(url)
    defaults = {"connect_timeout": "2", "application_name": "holdfast", "tcp_user_timeout": "10000"}
    ours = {name: value for name, value in defaults.items() if name not in given}
    if not for_writing:
        ours["target_session_attrs"] = "any"
    elif "target_session_attrs" not in given:
        ours["target_session_attrs"] = "read-write"
    if not settings.database_pooler:
        ours["options"] = startup_options(given.get("options"), _session_settings(settings))
    return make_conninfo(url, client_encoding="UTF8", **ours)


def transaction_settings(settings: Settings) -> str:
    """Return the statement that begins each transaction behind a pooler; empty without one."""
    if not settings.database_pooler:
        return ""
    calls = (f"set_config('{name}', '{value}', true)" for name, value in _session_settings(settings).items())
    return f"SELECT {', '.join(calls)}"


def _session_settings(settings: Settings) -> dict[str, str]:
    limits = {
        "lock_timeout": str(settings.lock_timeout_ms),
        "statement_timeout": str(settings.statement_timeout_ms),
        "plan_cache_mode": "force_generic_plan",
    }
    events = {"holdfast.events": "on"} if settings.events_url else {}
    return {**SESSION_DEFAULTS, **limits, **events}


async def is_read_only(settings: Settings) -> bool:
    """Whether Postgres answers but accepts no writes: a replica, or a primary that was made read-only."""
    try:
        async with await psycopg.AsyncConnection.connect(connection_info(settings, for_writing=False)) as connection:
            cursor = await connection.execute("SHOW transaction_read_only")
            return await cursor.fetchone() == ("on",)
    except psycopg.Error:
        return False
