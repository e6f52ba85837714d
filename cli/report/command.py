"""`holdfast report`: rates, latencies and common issues of a time window, compared with the targets."""

import json
import os
import re
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from cli.installation import api_origin, installation
from cli.report.evaluation import Figure, Issue, evaluate_targets, find_issues, suggested_ttl
from cli.report.measurements import Measurements, NoMeasurementsError, from_api, from_prometheus
from cli.report.records import Records, read_records
from core.error_messages import first_line
from core.setting_errors import SettingsError
from core.settings import Settings

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_REJECTED_SHOWN = 10


class ReportError(Exception):
    """The report cannot be made. The message says why."""


def window(text: str) -> timedelta:
    """Parse `24h`, `30m` or `7d`. Raises ReportError."""
    match = re.fullmatch(r"([1-9]\d{0,5})([smhdw])", text)
    if not match:
        raise ReportError(f"--since {text!r} is not allowed: must be like 30m, 24h or 7d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def report_on(variables: dict[str, str], since: timedelta, shop: str | None) -> dict[str, Any]:
    """Return the report as JSON values. Raises ReportError if settings or database cannot be read."""
    try:
        settings = Settings.read(variables)
    except SettingsError as error:
        raise ReportError(str(error)) from error
    until = datetime.now(UTC)
    try:
        records = read_records(settings, until - since, shop)
    except psycopg.errors.UndefinedTable:
        raise ReportError("the tables do not exist; run: holdfast migrate") from None
    except psycopg.Error as error:
        raise ReportError(f"the database cannot be read ({first_line(error)}); run: holdfast doctor") from error
    measured = _measured(variables, since)
    ttl, why = suggested_ttl(records, settings.ttl_seconds, settings.max_ttl_seconds)
    return {
        "since": (until - since).isoformat(timespec="seconds"),
        "until": until.isoformat(timespec="seconds"),
        "shop": shop,
        "holds": _holds(records),
        "figures": [asdict(figure) for figure in evaluate_targets(records, measured)],
        "ttl": {"presentSeconds": settings.ttl_seconds, "suggestedSeconds": ttl, "why": why},
        "metrics": {"source": measured.source, "rejected": measured.rejected, "busy": measured.busy},
        "issues": [asdict(issue) for issue in find_issues(records, measured, ttl)],
    }


def report_command(
    *,
    since: Annotated[str, typer.Option(help="How far back: 30m, 24h, 7d.")] = "24h",
    shop: Annotated[str | None, typer.Option(help="Only this shop; metrics cover all shops.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Report how holds ended, how fast answers were, and common issues. Only reads; exit code 2 if it cannot.

    Latencies come from PROMETHEUS_URL, or else from /metrics of the API at INVENTORY_AUTHORITY_URL.
    """
    try:
        report = report_on(installation(os.environ), window(since), shop)
    except ReportError as error:
        print(f"holdfast report: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _show(report)


def _measured(variables: dict[str, str], since: timedelta) -> Measurements:
    notes = []
    if url := variables.get("PROMETHEUS_URL"):
        try:
            return from_prometheus(url, int(since.total_seconds()))
        except NoMeasurementsError as error:
            notes.append(str(error))
    if origin := api_origin(variables):
        try:
            found = from_api(origin)
        except NoMeasurementsError as error:
            notes.append(str(error))
        else:
            notes.append(found.source)
            return Measurements("; instead ".join(notes), found.p95, found.rejected, found.busy)
    return Measurements("; ".join(notes) or "none: neither PROMETHEUS_URL nor INVENTORY_AUTHORITY_URL is set")


def _holds(records: Records) -> dict[str, Any]:
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(float(value), 3)

    return {
        "made": records.made,
        "active": records.active,
        "committed": records.committed,
        "released": records.released,
        "expired": records.expired,
        "archived": records.archived,
        "overdue": records.overdue,
        "commitSeconds": {"p50": rounded(records.commit_p50), "p95": rounded(records.commit_p95)},
        "expiryLagSeconds": {
            "p50": rounded(records.expiry_lag_p50),
            "p95": rounded(records.expiry_lag_p95),
            "max": rounded(records.expiry_lag_max),
        },
        "items": records.items,
        "itemsCorrected": records.corrected,
    }


def _show(report: dict[str, Any]) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    holds, ttl = report["holds"], report["ttl"]
    console.print(f"{report['shop'] or 'All shops'}, {report['since']} to {report['until']}\n")
    counts = ", ".join(f"{holds[status]} {status}" for status in ("committed", "released", "expired", "active"))
    archived = f"; {holds['archived']} more are archived and not in these figures" if holds["archived"] else ""
    console.print(f"{holds['made']} holds: {counts}{archived}")
    console.print(
        f"to commit: p50 {_seconds(holds['commitSeconds']['p50'])}, p95 {_seconds(holds['commitSeconds']['p95'])}"
    )
    lag = holds["expiryLagSeconds"]
    console.print(f"expiry lag: p50 {_seconds(lag['p50'])}, p95 {_seconds(lag['p95'])}, max {_seconds(lag['max'])}")
    suggested = f"{ttl['suggestedSeconds']} s" if ttl["suggestedSeconds"] else "none"
    console.print(f"TTL: now {ttl['presentSeconds']} s, suggested {suggested}: {ttl['why']}")
    console.print(f"items: {holds['items']}, corrected by counts: {holds['itemsCorrected']}\n")
    table = Table(box=None, pad_edge=False)
    for heading in ("", "figure"):
        table.add_column(heading)
    for heading in ("found", "target"):
        table.add_column(heading, justify="right")
    for figure in (Figure(**each) for each in report["figures"]):
        mark = {True: "✓", False: "✗", None: "–"}[figure.met]  # noqa: RUF001 - a dash for no value
        table.add_row(mark, figure.name, figure.shown, figure.target)
    console.print(table)
    console.print(f"\nSource of latencies and rejections: {report['metrics']['source']}")
    for sku, times in list(report["metrics"]["rejected"].items())[:_REJECTED_SHOWN]:
        console.print(f"  {sku}: rejected {times} times for lack of stock")
    for issue in (Issue(**each) for each in report["issues"]):
        console.print(f"\n✗ {issue.name}: {issue.seen}")
        for number, step in enumerate(issue.do, 1):
            console.print(f"  {number}. {step}")
    if not report["issues"]:
        console.print("\nNo common issue found.")


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g} s" if value < 1 else f"{value:.0f} s"  # noqa: RUF001 - a dash
