"""`holdfast alerts test`: sends one test alert through each configured channel."""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

from activities.events import make_http_client
from activities.mail import send
from activities.signing import sign
from cli.doctor.results import (
    Check,
    CheckResult,
    State,
    fault,
    has_fault,
    not_applicable,
    ok,
    run_checks,
    show,
)
from cli.doctor.settings import masked, read
from cli.installation import installation
from core.alert_settings import AlertSettings
from core.error_messages import first_line
from workflows.deliveries import Event

CHANNELS = ("chat", "pager", "mail", "watchdog")
"""Receivers of ops/alertmanager/alertmanager.yml; each gets a test alert of its own."""
_DELIVERED_SECONDS = 15.0
_CHECK_SECONDS = 60.0
"""The time limit of one check: the mail server has 15 s, Alertmanager 15 s for each channel."""
_ALERTMANAGER = "alertmanager"
_STOCK = "stock alerts"
_EVENTS = "hold events"
_MESSAGE = "This is a test by `holdfast alerts test`: nothing is wrong."
_STARTED = "alertmanager_notifications_total"
_ATTEMPTS = "alertmanager_notification_requests_total"
_FAILURES = "alertmanager_notification_requests_failed_total"


@dataclass(frozen=True, slots=True)
class _Counts:
    """Alertmanager's counters of an integration: notifications begun, and requests that succeeded and that failed."""

    started: float
    delivered: float
    failed: float

    def since(self, earlier: "_Counts") -> "_Counts":
        """Return the growth."""
        return _Counts(self.started - earlier.started, self.delivered - earlier.delivered, self.failed - earlier.failed)

    @property
    def all_delivered(self) -> bool:
        """Whether whatever was begun was delivered, so that it is known of each one."""
        return self.started > 0 and self.delivered >= self.started and not self.failed


_SETTINGS = frozenset(str(field.alias) for field in AlertSettings.model_fields.values())


async def send_test_alerts(variables: Mapping[str, str], channels: Sequence[str]) -> list[CheckResult]:
    """Send the test alerts concurrently and return the result of each, and a fault for each invalid setting."""
    environment = read(variables)
    settings = environment.settings
    refused = {name: why for name, why in environment.refused.items() if name in _SETTINGS}
    lines = [fault("settings", name, why, f"set {name} as docs/configuration.md says") for name, why in refused.items()]
    checks = (
        Check(_STOCK, "mail", lambda: _test_mail(settings)),
        Check(
            _STOCK, "webhook", lambda: _test_webhook(_STOCK, "STOCK_ALERT", settings.alert_url, settings.alert_secrets)
        ),
        Check(
            _EVENTS,
            "webhook",
            lambda: _test_webhook(_EVENTS, "HOLD_EVENTS", settings.events_url, settings.events_secrets),
        ),
        Check(_ALERTMANAGER, "routes", lambda: _test_alertmanager(variables.get("ALERTMANAGER_URL", ""), channels)),
    )
    return [*lines, *await run_checks(checks, _CHECK_SECONDS)]


def alerts_test_command(
    *,
    channel: Annotated[
        list[str] | None,
        typer.Option(help="Alertmanager's receivers to test; may be repeated. All four unless given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send one test alert through each configured channel: low-stock mail and webhook, hold events, Alertmanager.

    Reads the worker's environment and ALERTMANAGER_URL. Exit code: 0 if each accepted it, 1 if one did not, 2 if none
    is configured.
    """
    lines = asyncio.run(send_test_alerts(installation(os.environ), channel or CHANNELS))
    show(lines, as_json=as_json)
    if all(line.state is State.NOT_APPLICABLE for line in lines):
        raise typer.Exit(2)
    raise typer.Exit(1 if has_fault(lines) else 0)


async def _test_mail(settings: AlertSettings) -> list[CheckResult]:
    smtp_url = settings.smtp_url.get_secret_value()
    if not (settings.alert_recipients and smtp_url):
        return [not_applicable(_STOCK, "mail", "STOCK_ALERT_RECIPIENT and SMTP_URL are not both set")]
    message = EmailMessage()
    message["Subject"] = "Holdfast test: low-stock mail arrives here"
    message["From"] = settings.alert_sender
    message["To"] = recipients = ", ".join(settings.alert_recipients)
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = make_msgid(domain="holdfast")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(f"{_MESSAGE}\n")
    try:
        await send(message, smtp_url)
    except (aiosmtplib.SMTPException, OSError) as error:
        fix = "check host, port, user and password of SMTP_URL, and that the server accepts STOCK_ALERT_SENDER"
        return [fault(_STOCK, "mail", f"{masked(smtp_url)}: {type(error).__name__}: {first_line(error)}", fix)]
    return [ok(_STOCK, "mail", f"{masked(smtp_url)} accepted it for {recipients}")]


async def _test_webhook(area: str, variable: str, url: str, secrets: Sequence[SecretStr]) -> list[CheckResult]:
    if not url:
        return [not_applicable(area, "webhook", f"{variable}_WEBHOOK_URL is not set")]
    now = datetime.now(UTC)
    post = sign(Event(id=f"test_{uuid4().hex}", type="test", occurred_at=now, data={"message": _MESSAGE}), secrets, now)
    try:
        async with (
            make_http_client() as http,
            http.stream("POST", url, content=post.body, headers=post.headers) as answer,
        ):
            status = answer.status_code
    except httpx.HTTPError as error:
        found = f"{masked(url)}: {first_line(error)}"
        return [fault(area, "webhook", found, f"start the receiver, or correct {variable}_WEBHOOK_URL")]
    if not httpx.codes.is_success(status):
        fix = (
            f"the receiver must answer 2xx: check its secret ({variable}_WEBHOOK_SECRET), and that it accepts any type"
        )
        return [fault(area, "webhook", f"{masked(url)} answered {status}", fix)]
    return [ok(area, "webhook", f"{masked(url)} answered {status}")]


async def _test_alertmanager(url: str, channels: Sequence[str]) -> list[CheckResult]:
    if not url:
        return [not_applicable(_ALERTMANAGER, name, "ALERTMANAGER_URL is not set") for name in channels]
    try:
        async with httpx.AsyncClient(
            base_url=url.rstrip("/"), timeout=5.0, trust_env=url.startswith("https://")
        ) as http:
            integrations = await _integrations(http)
            # One after the other: Alertmanager counts its deliveries without naming the alert.
            return [await _test_channel(http, channel, integrations.get(channel, ())) for channel in channels]
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        found = f"{masked(url)}: {first_line(error)}"
        return [fault(_ALERTMANAGER, "reachable", found, "start Alertmanager, or correct ALERTMANAGER_URL")]


async def _test_channel(http: httpx.AsyncClient, channel: str, integrations: Sequence[str]) -> CheckResult:
    before = await _read_counts(http, channel, integrations)
    run = uuid4().hex
    (await http.post("/api/v2/alerts", json=[_alert(channel, run)])).raise_for_status()
    found = await http.get("/api/v2/alerts", params={"filter": f'run="{run}"'})
    sent = found.raise_for_status().json()
    receivers = {receiver["name"] for alert in sent for receiver in alert["receivers"]}
    if receivers != {channel}:
        fix = f"configure the route of HoldfastTest to {channel}, as in ops/alertmanager/alertmanager.yml"
        return fault(
            _ALERTMANAGER, channel, f"the test alert is routed to {', '.join(sorted(receivers)) or 'no receiver'}", fix
        )
    if any(alert["status"]["state"] == "suppressed" for alert in sent):
        fix = "end the silence or the inhibition of HoldfastTest in Alertmanager"
        return fault(_ALERTMANAGER, channel, "the test alert is silenced", fix)
    started = time.monotonic()
    while time.monotonic() < started + _DELIVERED_SECONDS:
        now = await _read_counts(http, channel, integrations)
        growth = {name: now[name].since(before[name]) for name in integrations}
        if integrations and all(counts.all_delivered for counts in growth.values()):
            return ok(_ALERTMANAGER, channel, "Alertmanager delivered it")
        await asyncio.sleep(0.1)
    return _not_delivered(channel, growth)


def _not_delivered(channel: str, growth: Mapping[str, _Counts]) -> CheckResult:
    unknown = [name for name, counts in growth.items() if counts.delivered and not counts.all_delivered]
    if any(counts.failed and not counts.delivered for counts in growth.values()):
        fix = f"see Alertmanager's log, and correct the address or secret of its receiver {channel}"
        return fault(_ALERTMANAGER, channel, "Alertmanager could not deliver it", fix)
    if unknown:
        found = f"it cannot be told whether it was delivered: of several by {', '.join(unknown)} not all were"
        fix = (
            f"see Alertmanager's log for its receiver {channel}, and repeat the test; Alertmanager 0.27 and later "
            "tells receivers apart with --enable-feature=receiver-name-in-metrics"
        )
        return fault(_ALERTMANAGER, channel, found, fix)
    fix = f"see Alertmanager's log, and check for a silence or a group_wait that delays the channel {channel}"
    return fault(_ALERTMANAGER, channel, f"nothing was sent within {_DELIVERED_SECONDS:g} s", fix)


def _alert(channel: str, run: str) -> dict[str, object]:
    """Return a test alert that ends after a minute. Another run makes another alert, so that it is delivered again."""
    now = datetime.now(UTC)
    return {
        "labels": {"alertname": "HoldfastTest", "channel": channel, "severity": "test", "run": run},
        "annotations": {"summary": f"A test of the channel {channel}: nothing is wrong.", "runbook_url": ""},
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(minutes=1)).isoformat(),
    }


async def _integrations(http: httpx.AsyncClient) -> Mapping[str, Sequence[str]]:
    """Return the integrations, such as `slack` or `email`, of each of Alertmanager's receivers."""
    status = (await http.get("/api/v2/status")).raise_for_status().json()
    receivers = yaml.safe_load(status["config"]["original"])["receivers"]
    return {
        receiver["name"]: [key.removesuffix("_configs") for key in receiver if key.endswith("_configs")]
        for receiver in receivers
    }


async def _read_counts(http: httpx.AsyncClient, channel: str, integrations: Sequence[str]) -> Mapping[str, _Counts]:
    """Return the counters by integration.

    All receivers of an integration count together, unless Alertmanager names them (receiver-name-in-metrics).
    """
    text = (await http.get("/metrics")).raise_for_status().text
    sums: defaultdict[tuple[str, str], float] = defaultdict(float)
    for sample in (sample for family in text_string_to_metric_families(text) for sample in family.samples):
        if sample.labels.get("receiver_name", channel) == channel:
            sums[sample.name, sample.labels.get("integration", "")] += sample.value
    return {
        name: _Counts(
            started=sums[_STARTED, name],
            delivered=sums[_ATTEMPTS, name] - sums[_FAILURES, name],
            failed=sums[_FAILURES, name],
        )
        for name in integrations
    }
