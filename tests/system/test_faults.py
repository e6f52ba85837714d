"""What an operator sees of each fault: doctor, audit, report, health and alerts, each with its page of the runbooks."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
import yaml  # type: ignore[import-untyped]

from cli.report.command import ReportError
from tests.system import injections
from tests.system.injections import Injection
from tests.system.observed import RULES
from tests.system.town import Town, town_in
from tests.waiting import until

_ALERT_SECONDS = 240.0
"""A worker that hangs is missed after 75 s."""


@dataclass(frozen=True)
class Seen:
    """What is to be seen of a fault; nothing where nothing is named."""

    put: Injection
    doctor: dict[str, str] = field(default_factory=dict)
    """The faults, each with a part of what is said or of the fix."""
    audit: str = ""
    """The kind of what is found, or a part of why it cannot run."""
    report: str = ""
    health: tuple[str, str | None] = ("ok", None)
    """The status, and the part that failed."""
    alerts: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    """Alerts that follow where it lasts."""
    runbook: str = ""
    """The page and section to which the first alert leads."""
    ahead: float = 0.0
    """The seconds that this machine's clock is ahead."""

    @property
    def name(self) -> str:
        """The name of the fault."""
        return getattr(self.put, "__name__", "").replace("_", " ")


FAULTS = (
    Seen(injections.nothing),
    Seen(
        injections.frozen_worker,
        doctor={"temporal: workers": "it hangs"},
        health=("degraded", "workers"),
        alerts=("HoldfastWorkersNotPolling", "HoldfastWorkerAbsent"),
        runbook="readiness.md#workers",
    ),
    Seen(
        injections.read_only,
        doctor={"database: writes": "default_transaction_read_only"},
        audit="read-only",
        health=("unavailable", "postgres_write"),
        alerts=("HoldfastPostgresUnwritable", "HoldfastErrors"),
        later=("HoldfastHoldsUncounted",),
        runbook="readiness.md#postgres_write",
    ),
    Seen(
        injections.frozen_temporal,
        doctor={"temporal: reachable": "does not answer"},
        audit="unknown",
        health=("unavailable", "temporal"),
        alerts=("HoldfastTemporalUnreachable",),
        later=("HoldfastWorkersNotPolling", "HoldfastWorkerAbsent", "HoldfastWorkflowTaskFailures"),
        runbook="readiness.md#temporal",
    ),
    Seen(
        injections.wrong_namespace,
        doctor={"temporal: namespace": "elsewhere"},
        audit="unknown",
        health=("unavailable", "namespace"),
        alerts=("HoldfastNamespaceMissing",),
        runbook="readiness.md#namespace",
    ),
    Seen(
        injections.missing_attribute,
        doctor={"temporal: search attributes": "HoldReference"},
        health=("unavailable", "search_attributes"),
        alerts=("HoldfastSearchAttributesMissing",),
        runbook="readiness.md#search_attributes",
    ),
    Seen(injections.refused_key, doctor={"stripe: key works": "rejects"}),
    Seen(
        injections.wrong_webhook_secret,
        doctor={"stripe: webhooks arrive": "STRIPE_WEBHOOK_SECRET"},
        alerts=("HoldfastWebhookSecret",),
        runbook="payments.md#no-webhooks",
    ),
    Seen(
        injections.dropped_webhooks,
        doctor={"stripe: webhooks arrive": "was due"},
        alerts=("HoldfastNoWebhooks",),
        runbook="payments.md#no-webhooks",
    ),
    Seen(injections.drift, audit="held", alerts=("HoldfastAuditDrift",), runbook="audit.md#drift"),
    Seen(injections.terminated_workflow, audit="lost_run"),
    Seen(
        injections.row_lock,
        report="Database lock contention",
        alerts=("HoldfastBusy",),
        runbook="database.md#lock-contention",
    ),
    Seen(
        injections.no_connection_left,
        doctor={"database: reachable": "no connection left"},
        audit="too many connections",
        report="too many connections",
        health=("unavailable", "postgres_write"),
        alerts=("HoldfastPostgresUnwritable", "HoldfastHoldsUncounted"),
        runbook="readiness.md#postgres_write",
    ),
    Seen(injections.nothing, doctor={"database: clock": "this machine's clock"}, ahead=100.0),
    Seen(injections.paused_audit, doctor={"temporal: audit schedule": "--unpause"}),
    Seen(injections.paused_reconciliation, doctor={"temporal: payments schedule": "--unpause"}),
    Seen(injections.no_mail_server, doctor={"alerts: mail server": "SMTP_URL"}),
    Seen(
        injections.late_payment,
        alerts=("HoldfastLatePaymentOpen",),
        runbook="payments.md#a-late-payment-needs-a-person",
    ),
    Seen(injections.smoke),
    Seen(injections.restart),
)


@pytest.fixture(scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """One for all faults, each of which ends before the next begins."""
    async with town_in(tmp_path_factory.mktemp("town")) as running:
        yield running


@pytest.mark.parametrize("seen", FAULTS, ids=lambda seen: seen.name + (" clock ahead" if seen.ahead else ""))
async def test_a_fault_has_one_name_everywhere(town: Town, seen: Seen) -> None:
    await town.until_well()
    fired = set[str]()

    def all_fired() -> bool:
        """Note what fires now: one alert may end before another begins."""
        fired.update(town.firing())
        return fired >= set(seen.alerts)

    async with seen.put(town) as changes:
        with suppress(AssertionError):  # the next line says which has not
            await until(all_fired, "all have fired", _ALERT_SECONDS)
        assert fired >= set(seen.alerts)
        await until(lambda: _health_is(town, seen), f"health is {seen.health}")
        report = await _report(town, changes)
        assert seen.report in report
        assert bool(report) == bool(seen.report), report
        found = await town.doctor(changes, seen.ahead)
        assert set(found) == set(seen.doctor), found
        for name, said in seen.doctor.items():
            assert said in found[name]
        (audit,) = await town.audit(changes) or {""}
        assert seen.audit in audit
        assert bool(audit) == bool(seen.audit), audit
        all_fired()
        assert fired <= {*seen.alerts, *seen.later}


async def _health_is(town: Town, seen: Seen) -> bool:
    return await town.health() == seen.health


async def _report(town: Town, changes: dict[str, str]) -> str:
    try:
        return next(iter(await town.report(changes)), "")
    except ReportError as error:
        return str(error)


def test_each_alert_of_a_fault_leads_to_its_section_of_the_runbooks() -> None:
    read = yaml.safe_load(RULES.read_text())
    pages = {
        rule["alert"]: rule["annotations"]["runbook_url"].partition("/")[2]
        for group in read["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    for seen in FAULTS:
        assert [pages[name] for name in seen.alerts[:1]] == [seen.runbook][: len(seen.alerts)]
