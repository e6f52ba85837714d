"""Every query of every dashboard finds data, in a real Prometheus that scrapes a stack at work."""

import math
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import temporalio.bridge
import yaml  # type: ignore[import-untyped]

from activities.audit_schedule import AUDIT_SCHEDULE
from dev.ports import free_port
from dev.temporal import temporal_binary
from tests.dashboards import QUERIES, VARIABLES, Query
from tests.e2e.up import Up, until
from tests.system.observed import RULES, Observed, observing

FILLED = {"$__rate_interval": "1m", "$__range": "5m", "$shop": "demo", "$instance": ".*"}
UNSEEN = {
    "temporal_activity_execution_failed_total",
    "temporal_long_request_failure_total",
    "temporal_request_failure_total",
    "temporal_sticky_cache_miss_total",
    "temporal_workflow_failed_total",
    "temporal_workflow_task_execution_failed_total",
}
"""What Temporal's library counts from the first on, which a healthy stack need not have."""
OF_OTHERS = {"pg_settings_max_connections", "pg_stat_database_numbackends", "pg_up"}
"""Of postgres_exporter, which does not run here."""
MUG = {"shopId": "demo", "items": [{"sku": "MUG", "quantity": 1}]}
TOO_MANY = {"shopId": "demo", "items": [{"sku": "POSTER", "quantity": 2}]}
HOLDS = "/inventory/holds"


@contextmanager
def database_host() -> Iterator[str]:
    """Yield the address of a node_exporter, which the database's host has."""
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus-node-exporter", f"--web.listen-address={address}", "--collector.disable-defaults"]
    exporter = subprocess.Popen([*command, "--collector.cpu", "--collector.filesystem"], stderr=subprocess.DEVNULL)
    try:
        yield address
    finally:
        exporter.terminate()
        exporter.wait(20)


def round_of_shopping(up: Up) -> None:
    """Have a hold of every kind, but one that expires."""
    sold, given_back = up.hold(), up.hold()
    up.ask("POST", f"{HOLDS}/demo/{sold}/extend", {"ttlSeconds": 60})
    up.ask("POST", f"{HOLDS}/demo/{sold}/commit", {})
    up.ask("POST", f"{HOLDS}/demo/{given_back}/release", {})
    up.ask("POST", "/inventory/validate", MUG)
    for refused in (up.asked("POST", HOLDS, TOO_MANY), up.asked("POST", "/inventory/validate", TOO_MANY)):
        assert refused.status_code == 409
    assert up.asked("POST", f"{HOLDS}/demo/unknown/commit", {}).status_code == 404
    paid = up.checkout()
    up.simulated(f"/sessions/{paid['checkoutSessionId']}/pay", how="card")
    until(lambda: up.status(paid["holdId"]) == "committed", 120, up.output)


def audit_with_a_finding(up: Up) -> None:
    """Change a count by hand and have the audit run now, which otherwise comes every five minutes."""
    with psycopg.connect(up.stack["databaseUrl"]) as connection:
        connection.execute('UPDATE "InventoryItem" SET held = held + 1 WHERE "variantKey" = \'size:S\'')
    trigger = [str(temporal_binary()), "schedule", "trigger", "--schedule-id", AUDIT_SCHEDULE]
    subprocess.run([*trigger, "--address", up.stack["temporalAddress"]], check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def observed() -> Iterator[Observed]:
    """Yield a Prometheus that has seen the stack at work, until a hold had expired."""
    with tempfile.TemporaryDirectory() as name, database_host() as host:
        folder = Path(name)
        up = Up(folder / "home").start()
        try:
            left = up.ask("POST", HOLDS, {**MUG, "ttlSeconds": 30})["holdId"]
            with observing(up, folder, {"database-host": host}) as prometheus:
                audit_with_a_finding(up)
                while up.status(left) == "active":
                    round_of_shopping(up)
                until(lambda: prometheus.query("inventory_hold_expiry_lag_seconds_count > 0"), 120)
                yield prometheus
        finally:
            up.end()


def filled(expression: str) -> str:
    for name, value in FILLED.items():
        expression = expression.replace(name, value)
    return expression


def numbers(series: list[dict[str, Any]]) -> list[float]:
    return [value for one in series if math.isfinite(value := float(one["value"][1]))]


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_a_query_finds_data(observed: Observed, query: Query) -> None:
    until(lambda: numbers(observed.query(filled(query.expression))), 120, lambda: filled(query.expression))


def metrics_in(expression: str) -> set[str]:
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(by|on) \([^)]*\)', "", expression)
    named = re.findall(r"\b(?:[a-z]+[_:][\w:]+|up|ALERTS)\b(?!\()", bare)
    return {name for name in named if not name.startswith("holdfast:")}  # those are the rules' own


def test_every_metric_that_is_asked_for_exists(observed: Observed) -> None:
    """A query that gives 0 where there is nothing, and a rule, would hide a name that is wrong."""
    rules = yaml.safe_load(RULES.read_text())["groups"]
    expressions = [rule["expr"] for group in rules for rule in group["rules"]] + [query.expression for query in QUERIES]
    unseen = set().union(*map(metrics_in, expressions)) - set(observed.values('{__name__!=""}', "__name__"))
    (library,) = Path(temporalio.bridge.__path__[0]).glob("temporal_sdk_bridge*.so")
    names = library.read_bytes()
    backup = (Path(__file__).parents[2] / "deploy" / "backup" / "backup.sh").read_text()
    assert {name for name in unseen - UNSEEN - OF_OTHERS if name not in backup} == set()
    assert not [name for name in UNSEEN if name[len("temporal_") : -len("_total")].encode() not in names]


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_has_values_to_choose_from(observed: Observed, variable: str) -> None:
    asked = re.fullmatch(r"label_values\((.+), (\w+)\)", VARIABLES[variable])
    assert asked
    assert observed.values(*asked.groups())
