"""Machine and versions for the report."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import psutil

from dev.postgres import postgres_binaries
from dev.temporal import temporal_binary


def dev_server() -> str:
    """Return the version of Temporal's dev server."""
    temporal = subprocess.run([temporal_binary(), "--version"], capture_output=True, text=True, check=True)
    return f"{temporal.stdout.strip()}, dev server on SQLite (WAL)"


def describe(temporal: str) -> list[tuple[str, str]]:
    """Return the machine's properties, names to values."""
    postgres = subprocess.run(
        [postgres_binaries() / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout.split()[-1]
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
