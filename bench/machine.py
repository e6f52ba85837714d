"""Machine and versions for the report."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import psutil
import psycopg

from dev.temporal import temporal_binary


def dev_server() -> str:
    """Return the version of Temporal's dev server."""
    temporal = subprocess.run([temporal_binary(), "--version"], capture_output=True, text=True, check=True)
    return f"{temporal.stdout.strip()}, dev server on SQLite (WAL)"


def describe(database_url: str, temporal: str) -> list[tuple[str, str]]:
    """Return the machine's properties, names to values."""
    with psycopg.connect(database_url) as connection:
        postgres = connection.info.parameter_status("server_version") or "unknown"
    return [
        ("CPU", f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores"),
        ("Memory", f"{psutil.virtual_memory().total / 2**30:.0f} GiB"),
        ("System", f"{platform.system()} {platform.release()}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("Temporal", f"{temporal}; temporalio {version('temporalio')}"),
        ("Postgres", f"{postgres}, synchronous_commit on; SQLAlchemy {version('sqlalchemy')}"),
        ("HTTP", f"uvicorn {version('uvicorn')}, FastAPI {version('fastapi')}"),
    ]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
