"""Other checkouts of Holdfast, and others of its settings, beside this one on the same servers.

What they share would favour the one that runs first: each has a database, made by its own migrations, and a namespace.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import psycopg

from bench.shop_data import fill
from bench.stack import App, Bench

Name = TypeVar("Name")


def in_turn(names: Sequence[Name], turn: int) -> list[Name]:
    """Return the names in the order of that round.

    In as many pairs of rounds as there are names, each is as often before as after every other, and at every place.
    """
    by = turn // 2 % len(names)
    order = [*names[by:], *names[:by]]
    return order if turn % 2 == 0 else order[::-1]


def namespace_flags(variants: Sequence[str]) -> list[str]:
    """Return the flags of the Temporal server that make the variants' namespaces."""
    return [f"--namespace={_name(number)}" for number in range(len(variants))]


def variant_app(bench: Bench, variant: str, number: int, folder: Path) -> App:
    """Return Holdfast from another checkout, or with other environment variables, on a filled database of its own.

    In one namespace its worker and this one's would take each other's tasks.
    """
    parts = variant.split(",")
    checkout = next((Path(part).absolute() for part in parts if "=" not in part), None)
    database = _name(number).replace("-", "_")
    env = {**bench.product.env, "DATABASE_URL": bench.postgres.database_url(database)}
    env |= {"HOLDFAST_WORKER_METRICS_PORT": "0", "TEMPORAL_NAMESPACE": _name(number)}
    env |= dict(part.split("=", 1) for part in parts if "=" in part)
    if checkout is not None:
        env["PYTHONPATH"] = f"{checkout}:{checkout / 'clients/python/src'}"
    with psycopg.connect(bench.postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database}".encode())
    migrate = [sys.executable, "-m", "cli.main", "migrate"]
    subprocess.run(migrate, env=env, cwd=checkout, check=True, stdout=subprocess.DEVNULL)
    fill(env["DATABASE_URL"])
    return App(
        _name(number),
        bench.product.api_command,
        bench.product.worker_command,
        env,
        folder=folder,
        checkout=checkout,
    )


def _name(number: int) -> str:
    return f"variant-{number}"
