"""`holdfast report` on known data: its figures are those computed by hand."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from typer.testing import CliRunner

from cli.main import app
from cli.report.command import ReportError, report_on, window
from cli.report.evaluation import find_issues, suggested_ttl
from cli.report.measurements import ROUTES, Measurements, from_api, from_prometheus, quantile
from cli.report.records import _HOLDS, _MOVEMENTS, _OVERDUE_HOLDS, Records, read_records
from core.settings import Settings
from tests.stack import SHOP, Stack, serving

DAY = timedelta(days=1)
NOW = datetime.now(UTC)
HOUR_AGO = NOW - timedelta(hours=1)
NONE_MEASURED = Measurements("nowhere")


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def put_hold(connection: psycopg.Connection[Any], name: str, status: str, **fields: Any) -> None:
    ended = {"committed": "committedAt", "released": "releasedAt", "expired": "expiredAt"}
    row = {"shopId": SHOP, "createdAt": HOUR_AGO, "expiresAt": HOUR_AGO + seconds(1200), **fields}
    if at := row.pop("at", None):
        row[ended[status]] = at
    columns = ", ".join(f'"{column}"' for column in ("id", "status", *row))
    marks = ", ".join(["%s"] * (len(row) + 2))
    connection.execute(f'INSERT INTO "InventoryHold" ({columns}) VALUES ({marks})', [name, status, *row.values()])


def put_movement(
    connection: psycopg.Connection[Any], sku: str, kind: str, change: tuple[int, int], at: datetime
) -> None:
    connection.execute(
        'INSERT INTO "InventoryMovement" ("shopId", sku, kind, delta, "onHand", actor, "createdAt")'
        " VALUES (%s, %s, %s, %s, %s, 'test', %s)",
        [SHOP, sku, kind, *change, at],
    )


@pytest.fixture
def story(database: str) -> str:
    """Twenty sold after 10, 20, ... 200 s; six expired 0.1, 0.2, ... 0.6 s late; four given back; two still active."""
    with psycopg.connect(database) as connection:
        for number in range(1, 21):
            put_hold(connection, f"sold-{number}", "committed", at=HOUR_AGO + seconds(10 * number))
        for number in range(1, 7):
            at = HOUR_AGO + seconds(1200 + number / 10)
            put_hold(connection, f"gone-{number}", "expired", at=at)
        for number in range(4):
            put_hold(connection, f"back-{number}", "released", at=HOUR_AGO + seconds(5))
        put_hold(connection, "overdue", "active")
        put_hold(connection, "open", "active", createdAt=NOW, expiresAt=NOW + DAY)
        put_hold(connection, "long ago", "committed", createdAt=NOW - 3 * DAY, at=NOW - 3 * DAY + seconds(999))
        put_hold(connection, "smoke", "expired", shopId="holdfast-smoke", at=HOUR_AGO)  # nobody's checkout
        put_hold(connection, "elsewhere", "released", shopId="shop-2", at=HOUR_AGO)
        for sku in "ABCD":
            connection.execute('INSERT INTO "InventoryItem" ("shopId", sku, quantity) VALUES (%s, %s, 9)', [SHOP, sku])
        for sku, kind, change, at in (
            ("A", "count", (10, 10), NOW - 3 * DAY),
            ("D", "count", (10, 10), NOW - 3 * DAY),
            ("D", "count", (-1, 9), NOW - 2 * DAY),  # corrected, before the window
            ("A", "commit", (-2, 8), HOUR_AGO),
            ("A", "count", (1, 9), HOUR_AGO),  # corrected
            ("A", "count", (-1, 8), HOUR_AGO),  # the same item again
            ("B", "count", (9, 9), HOUR_AGO),  # the first count of a new item corrects nothing
            ("C", "receive", (9, 9), HOUR_AGO),
        ):
            put_movement(connection, sku, kind, change, at)
    return database


def of(database: str, shop: str | None = SHOP) -> dict[str, Any]:
    return report_on({"DATABASE_URL": database}, DAY, shop)


def figure(report: dict[str, Any], name: str) -> tuple[str, bool | None]:
    (found,) = [each for each in report["figures"] if each["name"] == name]
    return found["shown"], found["met"]


def test_the_figures_are_those_computed_by_hand(story: str) -> None:
    report = of(story)
    holds = report["holds"]
    counted = {status: holds[status] for status in ("made", "committed", "released", "expired", "active", "overdue")}
    assert counted == {"made": 32, "committed": 20, "released": 4, "expired": 6, "active": 2, "overdue": 1}
    assert figure(report, "commit rate") == ("66.7%", False)  # 20 of 30
    assert figure(report, "expiry rate") == ("20.0%", False)  # 6 of 30, which is not below 20 %
    # Between the 10th and 11th of 20, and a twentieth beyond the 19th.
    assert holds["commitSeconds"] == {"p50": 105.0, "p95": 190.5}
    assert holds["expiryLagSeconds"] == {"p50": 0.35, "p95": 0.575, "max": 0.6}
    assert figure(report, "inventory accuracy") == ("75.0%", False)  # A of A, B, C, D
    assert figure(report, "oversold") == ("0", True)
    # 190.5 s and half as much again are 5 minutes: less than the least that is advised.
    assert report["ttl"]["suggestedSeconds"] == 600
    assert [issue["name"] for issue in report["issues"]] == ["Worker not running"]


def test_a_shop_is_reported_alone_or_with_all(story: str) -> None:
    assert of(story, "shop-2")["holds"]["made"] == 1
    assert of(story, None)["holds"]["made"] == 33
    assert of(story, "nobody")["holds"]["made"] == 0
    assert figure(of(story, "nobody"), "commit rate") == ("–", None)  # noqa: RUF001


def test_a_debit_that_took_days_says_nothing_of_how_long_a_checkout_takes(story: str) -> None:
    with psycopg.connect(story) as connection:
        for number in range(20):
            put_hold(connection, f"debit-{number}", "committed", at=HOUR_AGO + seconds(4000 + number))
    report = of(story)
    assert (report["holds"]["committed"], report["holds"]["commitSeconds"]["p95"]) == (40, 190.5)


def test_a_balance_below_zero_is_an_oversale(story: str) -> None:
    with psycopg.connect(story) as connection:
        put_movement(connection, "A", "commit", (-9, -1), NOW)
    assert figure(of(story), "oversold") == ("1", False)


def test_the_window_is_read_along_indexes_and_nothing_is_written(story: str) -> None:
    parameters = {"since": HOUR_AGO, "shop": None, "first": 1, "ceiling": 3600}
    with psycopg.connect(story) as connection:
        connection.execute("SET enable_seqscan = off")
        for statement, index in (
            (_HOLDS, "InventoryHold_createdAt_idx"),
            (_OVERDUE_HOLDS, "_active_"),  # one of the two indexes of active holds
            (_MOVEMENTS, "InventoryMovement_pkey"),
        ):
            plan = str(connection.execute(f"EXPLAIN {statement}", parameters).fetchall())
            assert index in plan, plan
        connection.execute(
            "ALTER DATABASE " + f'"{connection.info.dbname}"' + " SET default_transaction_read_only = on"
        )
    assert of(story)["holds"]["made"] == 32


def test_the_window_begins_where_it_says_among_many_movements(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            'INSERT INTO "InventoryMovement" ("shopId", sku, kind, delta, "onHand", actor, "createdAt")'
            " SELECT 'shop-1', 'S' || n %% 50, 'count', 1, 1, 'test', %s::timestamptz + n * interval '1 second'"
            " FROM generate_series(1, 30000) n",
            [NOW - seconds(30_000)],
        )
        connection.execute(
            """INSERT INTO "InventoryItem" ("shopId", sku) SELECT 'shop-1', 'S' || n FROM generate_series(0, 99) n"""
        )
    found = read_records(Settings.read({"DATABASE_URL": database}), NOW - seconds(19.5), SHOP)
    assert (found.items, found.corrected) == (100, 20)


def records(**fields: Any) -> Records:
    nothing = dict.fromkeys(Records.__slots__)
    return Records(
        **{**nothing, **dict.fromkeys(("active", "released", "archived", "overdue", "oversold"), 0), **fields}
    )


@pytest.mark.parametrize(
    ("p95", "committed", "suggested"),
    [
        (500.0, 100, 780),  # 750, in whole minutes
        (30.0, 100, 600),
        (1100.0, 100, 1800),  # close to the present TTL
        (500.0, 19, None),  # too few
    ],
)
def test_the_ttl_follows_the_commits(p95: float, committed: int, suggested: int | None) -> None:
    assert suggested_ttl(records(commit_p95=p95, committed=committed), 1200, 3600)[0] == suggested
    assert suggested_ttl(records(commit_p95=3500.0, committed=99), 3600, 3600)[0] == 3600


def test_the_ttl_page_agrees_with_the_report() -> None:
    page = (Path(__file__).parents[2] / "docs" / "runbooks" / "holds.md").read_text()
    rows = re.findall(r"^ *\| (\d+) s \| (\d+) s \| (\d+) s \|", page, re.MULTILINE)
    assert len(rows) == 4
    for p95, present, suggested in rows:
        found, _ = suggested_ttl(records(commit_p95=float(p95), committed=100), int(present), 3600)
        assert found == int(suggested), p95


@pytest.mark.parametrize(
    ("fields", "busy", "name", "named"),
    [
        ({"committed": 60, "expired": 40}, 0, "High expiry rate", "INVENTORY_HOLD_TTL_SECONDS=900"),
        ({"committed": 50, "released": 50, "expired": 0}, 0, "Low commit rate", "inventory_stripe_event_total"),
        ({"committed": 100, "expired": 0}, 11, "Database lock contention", "INVENTORY_LOCK_TIMEOUT_MS"),
        ({"committed": 100, "expired": 0, "overdue": 3}, 0, "Worker not running", "python -m worker"),
    ],
)
def test_each_common_issue_is_found_with_steps_to_take(
    fields: dict[str, int], busy: int, name: str, named: str
) -> None:
    (issue,) = find_issues(records(**fields), Measurements("", busy=busy), 900)
    assert issue.name == name
    assert named in " ".join(issue.do)


def test_a_healthy_shop_and_one_with_few_holds_have_no_issue() -> None:
    assert not list(find_issues(records(committed=85, expired=15), NONE_MEASURED, 900))
    assert not list(find_issues(records(committed=0, expired=19), NONE_MEASURED, 900))


def test_a_quantile_is_computed_as_by_prometheus() -> None:
    buckets = {0.1: 50.0, 0.2: 90.0, 0.5: 100.0, float("inf"): 100.0}
    assert quantile(0.95, buckets) == pytest.approx(0.35)  # half of the ten between 0.2 and 0.5
    assert quantile(0.5, buckets) == pytest.approx(0.1)
    assert quantile(0.95, {0.1: 1.0, float("inf"): 100.0}) == 0.1
    assert quantile(0.95, {0.1: 0.0, float("inf"): 0.0}) is None


async def test_without_prometheus_latencies_are_of_the_api_since_its_start(own_stack: Stack) -> None:
    await own_stack.put(5)
    hold = await own_stack.made(("TEE", 2))
    await own_stack.post(hold["holdId"], "commit")
    await own_stack.create(("TEE", 9))
    found = await asyncio.to_thread(from_api, own_stack.url)
    assert set(found.p95) == {"create", "commit"}
    assert 0 < found.p95["commit"] < 5
    assert (found.rejected, found.busy) == ({"TEE": 1}, 0)


async def test_prometheus_is_queried_for_the_window() -> None:
    asked = []

    def answer(request: Request) -> JSONResponse:
        query = request.query_params["query"]
        asked.append(query)
        result = [{"metric": {}, "value": [0, "12.4"]}]
        if "quantile" in query:
            result = [{"metric": {"route": ROUTES["create"]}, "value": [0, "0.150"]}]
            result.append({"metric": {"route": ROUTES["release"]}, "value": [0, "NaN"]})
        elif "sku" in query:
            result = [{"metric": {"sku": sku}, "value": [0, times]} for sku, times in (("A", "2.1"), ("B", "7"))]
        return JSONResponse({"status": "success", "data": {"resultType": "vector", "result": result}})

    async with serving(Starlette(routes=[Route("/api/v1/query", answer)])) as url:
        found = await asyncio.to_thread(from_prometheus, url, 86_400)
    assert found.p95 == {"create": 0.15}
    assert (list(found.rejected.items()), found.busy) == ([("B", 7), ("A", 2)], 12)
    assert all("[86400s]" in query for query in asked)
    assert url in found.source


async def test_without_a_reachable_prometheus_the_apis_metrics_are_read(database: str, stack: Stack) -> None:
    urls = {"PROMETHEUS_URL": "http://127.0.0.1:1", "INVENTORY_AUTHORITY_URL": stack.url}
    report = await asyncio.to_thread(report_on, {"DATABASE_URL": database, **urls}, DAY, None)
    assert "http://127.0.0.1:1" in report["metrics"]["source"]
    assert f"{stack.url}/metrics" in report["metrics"]["source"]


def test_the_command_prints_a_table_or_json(story: str) -> None:
    environment = {"DATABASE_URL": story, "INVENTORY_AUTHORITY_URL": "", "PROMETHEUS_URL": ""}
    ran = CliRunner().invoke(app, ["report", "--since", "24h", "--shop", SHOP], env=environment)
    assert ran.exit_code == 0, ran.output
    assert "32 holds" in ran.stdout
    assert "✗ Worker not running" in ran.stdout
    ran = CliRunner().invoke(app, ["report", "--json"], env=environment)
    assert json.loads(ran.stdout)["holds"]["made"] == 33


def test_a_report_that_cannot_be_made_is_exit_code_2(empty_database: str) -> None:
    with pytest.raises(ReportError, match="holdfast migrate"):
        of(empty_database)
    with pytest.raises(ReportError, match="holdfast doctor"):
        of("postgresql://nobody@127.0.0.1:1/nothing")
    for text in ("24", "0h", "h", "1y", ""):
        with pytest.raises(ReportError):
            window(text)
    assert window("90m") == timedelta(minutes=90)
    ran = CliRunner().invoke(app, ["report", "--since", "x"], env={"DATABASE_URL": empty_database})
    assert ran.exit_code == 2
