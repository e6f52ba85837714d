"""What the first line of a process says: its release, what it does, what it talks to, and its limits. No secrets."""

from typing import Any
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict

from core.release import commit, release
from core.settings import Settings
from core.temporal import connect_config


def start_fields(settings: Settings) -> dict[str, Any]:
    """Return the fields of a process's first line."""
    temporal = connect_config(settings.temporal_api_key)
    return {
        "version": release(),
        "commit": commit(),
        "mode": settings.mode.value,
        "bypassed": settings.bypass,
        "targets": {
            "postgres": _database(settings.database_url.get_secret_value()),
            "temporal": temporal.get("target_host"),
            "namespace": temporal.get("namespace", "default"),
            "stripe": _host(settings.stripe_api_base) if settings.stripe_live_mode is not None else None,
            "mail": _host(settings.smtp_url.get_secret_value()),
            "events": _host(settings.events_url),
            "alerts": _host(settings.alert_url),
            "spans": _host(settings.spans_url),
        },
        "limits": {
            "request_ms": settings.request_timeout_ms,
            "lock_ms": settings.lock_timeout_ms,
            "database_connections": settings.pool_size,
            "max_ttl_seconds": settings.max_ttl_seconds,
        },
    }


def _host(url: str) -> str | None:
    """Return the host and port only: user, path and query may be secret."""
    parts = urlsplit(url)
    if not parts.hostname:
        return None
    return parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"


def _database(url: str) -> str:
    """Return the servers and the database's name; what is left out there, the library takes from elsewhere."""
    known = conninfo_to_dict(url)
    hosts, ports = str(known.get("host") or "").split(","), str(known.get("port") or "").split(",")
    ports *= len(hosts) if len(ports) == 1 else 1  # one is for all
    servers = (f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=False))
    return f"{','.join(servers)}/{known.get('dbname') or ''}"
