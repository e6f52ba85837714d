"""The metrics of a process: Prometheus counters, each with a log line whose `metric` has the counter's name."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from core.release import commit, release
from core.request_context import requests_shop
from domain.smoke import is_smoke

_SKU_LIMIT = 1000
_REFUSALS_LOGGED_SECONDS = 10.0
SHOP_LIMIT = 100
"""How many shops have their own series, per process; all others are counted as `other`."""
_LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
"""Finest around the targets. Each bucket is a series for each route, method and status."""
_LAG_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0)
_AGE_BUCKETS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0)

COUNTERS = {
    "inventory_hold_created": "Holds created",
    "inventory_hold_committed": "Holds committed",
    "inventory_hold_released": "Holds released",
    "inventory_hold_expired": "Holds expired",
    "inventory_hold_extended": "Holds extended",
    "inventory_hold_amended": "Holds amended",
    "inventory_hold_over_limit": "Requests for holds and amendments refused because of a limit",
    "inventory_hold_insufficient": "Requests for holds refused because stock was insufficient",
    "inventory_hold_busy": "Statements that did not get their row locks in time",
    "inventory_hold_error": "Requests and activities that failed for reasons other than stock or locks",
    "inventory_checkout_refused": "Checkout Sessions that Stripe refused to create",
    "inventory_webhook_other_secret": "Webhooks signed now and as Stripe does, but with another secret",
    "inventory_payment_trouble": "Payments of holds that need a person",
    "inventory_low_stock": "Times that an item's stock fell to its threshold or below",
    "inventory_alert_sent": "Low-stock e-mails accepted by the mail server",
    "inventory_alert_error": "Failed attempts to send a low-stock e-mail",
    "inventory_event_delivered": "Events acknowledged by their receiver with 2xx",
    "inventory_event_error": "Failed attempts to deliver an event",
    "inventory_event_lost": "Events discarded after three days without an acknowledgement",
    "inventory_bypassed": "Requests answered without a check because SKIP_INVENTORY_VALIDATION is set",
}

_BY_SHOP = {
    "inventory_hold_created": "created",
    "inventory_hold_committed": "committed",
    "inventory_hold_released": "released",
    "inventory_hold_expired": "expired",
}
"""Counters that are also counted by shop, with the label `event`. Such a shop exists: its stock was held."""

_BY_RECEIVER = ("inventory_event_delivered", "inventory_event_error")
"""Labelled by receiver, so that a healthy receiver does not hide a failing one."""


class Telemetry:
    """The metrics of one process, each recorded with a log line. Created once, at the start of the process.

    Counters count committed changes: a repeated request that changes nothing is not counted. What names the shop of
    `holdfast smoke` is logged and not counted, but for what an audit finds there.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger("holdfast")
        self._counters = {
            name: Counter(name, text, ["receiver"] if name in _BY_RECEIVER else [], registry=registry)
            for name, text in COUNTERS.items()
        }
        for name in _BY_RECEIVER:
            for receiver in (
                "hold-events",
                "stock-alerts",
            ):  # Prometheus sees the first increase only if the series exists
                self._counters[name].labels(receiver)
        self._validations = Counter(
            "checkout_inventory_validation", "Validations by result", ["result"], registry=registry
        )
        self._rejected = Counter(
            "checkout_rejected_stock", "Checkouts refused because an item was short", ["sku"], registry=registry
        )
        self._shop_holds = Counter(
            "inventory_shop_holds",
            "Requests for holds and ends of holds, by shop",
            ["shop", "event"],
            registry=registry,
        )
        self._late_payments = Counter(
            "inventory_late_payment",
            "Payments that arrived after their hold ended, by outcome",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("needs_person", "closed_by_person"):
            self._late_payments.labels(outcome)
        Gauge(
            "inventory_build_info",
            "1, labelled with the release that the process runs",
            ["version", "commit"],
            registry=registry,
            multiprocess_mode="max",
        ).labels(release(), commit() or "").set(1)
        self.bypass = Gauge(
            "inventory_bypass",
            "1 if SKIP_INVENTORY_VALIDATION is set",
            registry=registry,
            multiprocess_mode="max",
        )
        self._stripe_events = Counter(
            "inventory_stripe_event",
            "Stripe events received, by result",
            ["type", "result"],
            registry=registry,
        )
        self.certificate_ends = Gauge(
            "inventory_certificate_expiry_timestamp_seconds",
            "When a certificate ends that a server shows to us, or we to it",
            ["endpoint"],
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self._approvals = Counter(
            "inventory_checkout_approval",
            "Requests of Stripe to approve a payment before it is confirmed, by result",
            ["result"],
            registry=registry,
        )
        self._connections_closed = Counter(
            "inventory_connections_closed",
            "Connections that the API closed because of their client, by error",
            ["error"],
            registry=registry,
        )
        self.browser_streams = Gauge(
            "inventory_browser_streams",
            "Holds that browsers follow at present",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._refused = Counter(
            "inventory_refused",
            "Requests refused with 429 overloaded, by what they ask for, reason and shop",
            ["importance", "reason", "shop"],
            registry=registry,
        )
        self._admission = {
            name: Gauge(
                f"inventory_admission_{name}", text, ["importance"], registry=registry, multiprocess_mode="livesum"
            )
            for name, text in (
                ("limit", "How many requests may be in flight"),
                ("in_flight", "Requests that were let in and are not answered yet"),
                ("waiting", "Requests that wait to be let in"),
            )
        }
        self._refusing_until = 0.0
        self._skus = _LabelValues(_SKU_LIMIT)
        self._shops = _LabelValues(SHOP_LIMIT)
        self.expiry_lag = Histogram(
            "inventory_hold_expiry_lag_seconds",
            "Time from a hold's deadline to its expiry",
            buckets=_LAG_BUCKETS,
            registry=registry,
        )
        self.commit_age = Histogram(
            "inventory_hold_commit_age_seconds",
            "Time from a hold's creation to its commit",
            buckets=_AGE_BUCKETS,
            registry=registry,
        )
        self.requests = Histogram(
            "inventory_request_seconds",
            "Time from a request's arrival to its answer",
            ["route", "method", "status"],
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )
        self.activities = Histogram(
            "inventory_activity_seconds",
            "Duration of activities",
            ["activity"],
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )

        self.audit_looks = Counter("inventory_audit_looks", "Completed parts of audits", ["at"], registry=registry)
        self.audit_findings = Counter(
            "inventory_audit_findings",
            "Findings of audits, counted in each audit that reports them, and whether it has mended them",
            ["kind", "mended"],
            registry=registry,
        )

        self._reconciliations = Counter(
            "inventory_reconciliation",
            "Completed comparisons of Stripe's payments with holds",
            registry=registry,
        )
        self._unheard = Counter(
            "inventory_unheard_payment",
            "Payments of which no event had arrived, found by a reconciliation, by what was done with them",
            ["kind"],
            registry=registry,
        )
        for kind in ("active", "late", "unknown_hold", "wrong_account"):
            self._unheard.labels(kind)

    def count(self, metric: str, **fields: object) -> None:
        """Count one event and log it as information. Metrics counted by shop need `shop_id`."""
        self._increase(metric, fields)
        if metric in _BY_SHOP and not is_smoke(fields["shop_id"]):
            self._shop_holds.labels(self._shops.label(str(fields["shop_id"]), exists=True), _BY_SHOP[metric]).inc()
        self._log.info(metric, metric=metric, **fields)

    def warn(self, metric: str, **fields: object) -> None:
        """Count one event and log it as a warning."""
        self._increase(metric, fields)
        self._log.warning(metric, metric=metric, **fields)

    def fail(self, metric: str, **fields: object) -> None:
        """Count one event and log it as an error, which needs a person."""
        self._increase(metric, fields)
        self._log.error(metric, metric=metric, **fields)

    def _increase(self, metric: str, fields: Mapping[str, object]) -> None:
        if is_smoke(fields["shop_id"] if "shop_id" in fields else requests_shop()):
            return
        counter = self._counters[metric]
        (counter.labels(fields["receiver"]) if metric in _BY_RECEIVER else counter).inc()

    def late_payment(self, outcome: str, *, level: int, **fields: object) -> None:
        """Count the outcome of a late payment, unless it is smoke's, and log it at this level."""
        if not is_smoke(fields.get("shop_id")):
            self._late_payments.labels(outcome).inc()
        self._log.log(level, "inventory_late_payment", metric="inventory_late_payment", outcome=outcome, **fields)

    def stripe_event(self, kind: str, result: str, *, known: bool, level: int = logging.INFO, **fields: object) -> None:
        """Count and log a Stripe event. Unknown types share one series, because callers can invent them."""
        if not is_smoke(fields.get("shop_id")):
            self._stripe_events.labels(kind if known else "other", result).inc()
        self._log.log(
            level, "inventory_stripe_event", metric="inventory_stripe_event", type=kind, result=result, **fields
        )

    def checkout_approval(self, result: str, *, in_order: bool, **fields: object) -> None:
        """Count and log a request to approve a payment: as a warning unless it is `in_order`."""
        self._approvals.labels(result).inc()
        log = self._log.info if in_order else self._log.warning
        log("inventory_checkout_approval", metric="inventory_checkout_approval", result=result, **fields)

    def connection_closed(self, error: str) -> None:
        """Count a connection that its client's behavior ended. Not logged: anybody can cause any number of them."""
        self._connections_closed.labels(error).inc()

    def validated(self, *, ok: bool, shop_id: str) -> None:
        """Count and log the answer to a validation."""
        result = "ok" if ok else "insufficient"
        if not is_smoke(shop_id):
            self._validations.labels(result).inc()
        self._log.info(
            "checkout_inventory_validation", metric="checkout_inventory_validation", result=result, shop_id=shop_id
        )

    def show_admission(self, importance: str, limit: int, in_flight: int, waiting: int) -> None:
        """Set the gauges of one kind of requests."""
        for name, value in (("limit", limit), ("in_flight", in_flight), ("waiting", waiting)):
            self._admission[name].labels(importance).set(value)

    def expect_refusals(self, importance: str) -> None:
        """Make the series of one kind of requests: Prometheus sees the first increase only if the series exists."""
        for reason in ("full", "waited"):
            self._refused.labels(importance, reason, "other")

    def refused(self, importance: str, reason: str, shop_id: str) -> None:
        """Count a request that is refused to stay alive. It is logged at most every ten seconds: there are many."""
        if not is_smoke(shop_id):
            self._refused.labels(importance, reason, self._shops.label(shop_id, exists=False)).inc()
        if time.monotonic() >= self._refusing_until:
            self._refusing_until = time.monotonic() + _REFUSALS_LOGGED_SECONDS
            self._log.warning("inventory_refused", metric="inventory_refused", importance=importance, shop_id=shop_id)

    def shop_seen(self, shop_id: str) -> None:
        """Note that the shop exists, so that it may have a series."""
        if shop_id and not is_smoke(shop_id):
            self._shops.label(shop_id, exists=True)

    def rejected(self, shop_id: str, items: Iterable[tuple[str, bool]]) -> None:
        """Count and log a checkout refused for stock: each short item's sku, and whether the item exists.

        Only existing items become labels, at most 1,000 per process, so that invented skus cannot fill the memory. The
        same holds for shops: a shop exists if one of the items does.
        """
        shop_exists = False
        for sku, exists in items:
            shop_exists |= exists
            self._log.info("checkout_rejected_stock", metric="checkout_rejected_stock", shop_id=shop_id, sku=sku)
            if not is_smoke(shop_id):
                self._rejected.labels(self._skus.label(sku, exists=exists)).inc()
        if not is_smoke(shop_id):
            self._shop_holds.labels(self._shops.label(shop_id, exists=shop_exists), "refused").inc()

    def audited(self, at: str, looked_at: int, findings: Sequence[tuple[str, bool, Mapping[str, object]]]) -> None:
        """Count and log a part of an audit: of each finding its kind, whether it was set right, and what to log."""
        self.audit_looks.labels(at).inc()
        self._log.info("inventory_audit_looks", metric="inventory_audit_looks", at=at, looked_at=looked_at)
        for kind, mended, fields in findings:
            self.audit_findings.labels(kind, str(mended).lower()).inc()
            log = self._log.warning if mended else self._log.error
            log("inventory_audit_findings", metric="inventory_audit_findings", kind=kind, mended=mended, **fields)

    def hold_ended(
        self, shop_id: str, *, expired_late: float | None = None, committed_after: float | None = None
    ) -> None:
        """Note how late a hold expired, or how long its commit took, in seconds."""
        if is_smoke(shop_id):
            return
        if expired_late is not None:
            self.expiry_lag.observe(max(expired_late, 0.0))
        if committed_after is not None:
            self.commit_age.observe(max(committed_after, 0.0))

    def unheard_payment(self, kind: str, **fields: object) -> None:
        """Count and log a payment of which no event had arrived."""
        self._unheard.labels(kind).inc()
        self._log.error("inventory_unheard_payment", metric="inventory_unheard_payment", kind=kind, **fields)

    def reconciled(self, looked_at: int, found: int, unread: int = 0) -> None:
        """Count and log a comparison of payments with holds; one that could not read each account is not complete."""
        if unread:
            self._log.error("reconciliation incomplete", looked_at=looked_at, found=found, unread_accounts=unread)
            return
        self._reconciliations.inc()
        self._log.info("inventory_reconciliation", metric="inventory_reconciliation", looked_at=looked_at, found=found)


class _LabelValues:
    """The values of a label: existing names up to a limit. Any other name becomes `other`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def label(self, name: str, *, exists: bool) -> str:
        if exists and len(self._known) < self._limit:
            self._known.add(name)
        return name if name in self._known else "other"
