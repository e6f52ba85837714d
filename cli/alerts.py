"""`holdfast alerts test`: one test alert down each channel by which people and systems are told something."""

import asyncio
import json
import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Annotated
from uuid import uuid4

import aiosmtplib
import httpx
import typer
import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from activities.events import make_http
from activities.mail import send
from activities.signing import signed
from cli.doctor.lines import Check, Line, State, carried_out, fault, first_line, not_applicable, ok, show
from cli.doctor.settings import masked, read
from cli.installation import installation
from core.alert_settings import AlertSettings
from workflows.deliveries import Event

CHANNELS = ("chat", "pager", "mail")
"""Receivers of ops/alertmanager/alertmanager.yml; a test alert names the one that it is for."""
_DELIVERED_SECONDS = 15.0
_CHECK_SECONDS = 60.0
"""Of each check: the mail server has 15 s, Alertmanager so much for each of its channels."""
_ALERTMANAGER = "alertmanager"
_STOCK = "stock alerts"
_EVENTS = "hold events"
_SAY = "This is a test of `holdfast alerts test`: nothing is wrong."
_ATTEMPTS = "alertmanager_notification_requests_total"
_FAILURES = "alertmanager_notification_requests_failed_total"

_Counts = Mapping[str, float]
_SETTINGS = frozenset(str(field.alias) for field in AlertSettings.model_fields.values())


async def sent(variables: Mapping[str, str], channels: Sequence[str]) -> list[Line]:
    """Send the test alerts, side by side, and say what became of each."""
    environment = read(variables)
    settings = environment.settings
    refused = {name: why for name, why in environment.refused.items() if name in _SETTINGS}
    lines = [fault("settings", name, why, f"set {name} as docs/configuration.md says") for name, why in refused.items()]
    checks = (
        Check(_STOCK, "mail", lambda: _mail_line(settings)),
        Check(_STOCK, "webhook", lambda: _post_line(_STOCK, "STOCK_ALERT", settings.alert_url, settings.alert_secrets)),
        Check(
            _EVENTS, "webhook", lambda: _post_line(_EVENTS, "HOLD_EVENTS", settings.events_url, settings.events_secrets)
        ),
        Check(_ALERTMANAGER, "routes", lambda: _alertmanager_lines(variables.get("ALERTMANAGER_URL", ""), channels)),
    )
    return [*lines, *await carried_out(checks, _CHECK_SECONDS)]


def alerts_test_command(
    *,
    channel: Annotated[
        list[str] | None,
        typer.Option(help="Alertmanager's receivers to test; may be repeated. All three unless given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send one test alert down each channel that is configured: low-stock mail and POST, hold events, Alertmanager.

    Reads the worker's environment, and ALERTMANAGER_URL. Exit code: 0 when each took it; 1 when one did not; 2 when
    none is configured.
    """
    lines = asyncio.run(sent(installation(os.environ), channel or CHANNELS))
    arrived = all(line.state is not State.FAULT for line in lines)
    if as_json:
        print(json.dumps({"ok": arrived, "lines": [line.as_json() for line in lines]}, indent=2))
    else:
        show(lines)
    if all(line.state is State.NOT_APPLICABLE for line in lines):
        raise typer.Exit(2)
    raise typer.Exit(0 if arrived else 1)


async def _mail_line(settings: AlertSettings) -> list[Line]:
    smtp_url = settings.smtp_url.get_secret_value()
    if not (settings.alert_recipients and smtp_url):
        return [not_applicable(_STOCK, "mail", "STOCK_ALERT_RECIPIENT and SMTP_URL are not both set")]
    message = EmailMessage()
    message["Subject"] = "Holdfast test: mails about low stock arrive here"
    message["From"] = settings.alert_sender
    message["To"] = recipients = ", ".join(settings.alert_recipients)
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = make_msgid(domain="holdfast")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(f"{_SAY}\n")
    try:
        await send(message, smtp_url)
    except (aiosmtplib.SMTPException, OSError) as error:
        fix = (
            "see whether SMTP_URL has the right host, port, user and password, and the server takes STOCK_ALERT_SENDER"
        )
        return [fault(_STOCK, "mail", f"{masked(smtp_url)}: {type(error).__name__}: {first_line(error)}", fix)]
    return [ok(_STOCK, "mail", f"{masked(smtp_url)} took it for {recipients}")]


async def _post_line(area: str, variable: str, url: str, secrets: Sequence[SecretStr]) -> list[Line]:
    if not url:
        return [not_applicable(area, "webhook", f"{variable}_WEBHOOK_URL is not set")]
    now = datetime.now(UTC)
    post = signed(Event(id=f"test_{uuid4().hex}", type="test", occurred_at=now, data={"message": _SAY}), secrets, now)
    try:
        async with make_http() as http, http.stream("POST", url, content=post.body, headers=post.headers) as answer:
            status = answer.status_code
    except httpx.HTTPError as error:
        found = f"{masked(url)}: {first_line(error)}"
        return [fault(area, "webhook", found, f"start the receiver, or set {variable}_WEBHOOK_URL right")]
    if not httpx.codes.is_success(status):
        fix = f"the receiver must answer 2xx: has it the secret of {variable}_WEBHOOK_SECRET, and takes it any type?"
        return [fault(area, "webhook", f"{masked(url)} answered {status}", fix)]
    return [ok(area, "webhook", f"{masked(url)} answered {status}")]


async def _alertmanager_lines(url: str, channels: Sequence[str]) -> list[Line]:
    if not url:
        return [not_applicable(_ALERTMANAGER, name, "ALERTMANAGER_URL is not set") for name in channels]
    try:
        async with httpx.AsyncClient(
            base_url=url.rstrip("/"), timeout=5.0, trust_env=url.startswith("https://")
        ) as http:
            integrations = await _integrations(http)
            # One after the other: Alertmanager counts its deliveries, and does not say of which alert.
            return [await _channel_line(http, channel, integrations.get(channel, ())) for channel in channels]
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        found = f"{masked(url)}: {first_line(error)}"
        return [fault(_ALERTMANAGER, "reachable", found, "start Alertmanager, or set ALERTMANAGER_URL right")]


async def _channel_line(http: httpx.AsyncClient, channel: str, integrations: Sequence[str]) -> Line:
    taken, failed = await _counted(http, channel, integrations)
    run = uuid4().hex
    (await http.post("/api/v2/alerts", json=[_alert(channel, run)])).raise_for_status()
    found = await http.get("/api/v2/alerts", params={"filter": f'run="{run}"'})
    receivers = {receiver["name"] for alert in found.raise_for_status().json() for receiver in alert["receivers"]}
    if receivers != {channel}:
        fix = f"give Alertmanager the route of HoldfastTest to {channel}: ops/alertmanager/alertmanager.yml"
        return fault(_ALERTMANAGER, channel, f"it goes to {', '.join(sorted(receivers)) or 'nobody'}", fix)
    given = time.monotonic()
    while time.monotonic() < given + _DELIVERED_SECONDS:
        now_taken, now_failed = await _counted(http, channel, integrations)
        if integrations and all(now_taken[name] > taken[name] for name in integrations):
            return ok(_ALERTMANAGER, channel, "Alertmanager delivered it")
        await asyncio.sleep(0.1)
    if now_failed != failed:
        fix = f"see Alertmanager's log for why, and set right the address or secret of its receiver {channel}"
        return fault(_ALERTMANAGER, channel, "Alertmanager could not deliver it", fix)
    fix = f"see Alertmanager's log, and whether a silence or a group_wait holds the channel {channel} back"
    return fault(_ALERTMANAGER, channel, f"nothing was sent within {_DELIVERED_SECONDS:g} s", fix)


def _alert(channel: str, run: str) -> dict[str, object]:
    """Return a test alert that is over after a minute. Of another run it is another alert, and told again."""
    now = datetime.now(UTC)
    return {
        "labels": {"alertname": "HoldfastTest", "channel": channel, "severity": "test", "run": run},
        "annotations": {"summary": f"A test of the channel {channel}: nothing is wrong.", "runbook_url": ""},
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(minutes=1)).isoformat(),
    }


async def _integrations(http: httpx.AsyncClient) -> Mapping[str, Sequence[str]]:
    """Return by which integrations, `slack` or `email`, each of Alertmanager's receivers is told."""
    status = (await http.get("/api/v2/status")).raise_for_status().json()
    receivers = yaml.safe_load(status["config"]["original"])["receivers"]
    return {
        receiver["name"]: [key.removesuffix("_configs") for key in receiver if key.endswith("_configs")]
        for receiver in receivers
    }


async def _counted(http: httpx.AsyncClient, channel: str, integrations: Sequence[str]) -> tuple[_Counts, _Counts]:
    """Return how many requests of each integration were taken, and how many failed.

    All receivers of an integration count together, unless Alertmanager names them (receiver-name-in-metrics).
    """
    text = (await http.get("/metrics")).raise_for_status().text
    sums: defaultdict[tuple[str, str], float] = defaultdict(float)
    for sample in (sample for family in text_string_to_metric_families(text) for sample in family.samples):
        if sample.labels.get("receiver_name", channel) == channel:
            sums[sample.name, sample.labels.get("integration", "")] += sample.value
    failed = {name: sums[_FAILURES, name] for name in integrations}
    return {name: sums[_ATTEMPTS, name] - failed[name] for name in integrations}, failed
