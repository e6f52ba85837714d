"""The metrics of a process: Prometheus counters, each with a log line whose `metric` has the counter's name."""

import logging
from collections.abc import Iterable, Mapping, Sequence

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

_SKU_LIMIT = 1000
SHOP_LIMIT = 100
"""Shops that have series of their own, in each process; the rest is `other`."""
_LATENCY_BUCKETS = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
_LAG_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0)
_AGE_BUCKETS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0)

COUNTERS = {
    "inventory_hold_created": "Holds made",
    "inventory_hold_committed": "Holds that ended sold",
    "inventory_hold_released": "Holds that ended given back",
    "inventory_hold_expired": "Holds that ended at their deadline",
    "inventory_hold_extended": "Deadlines moved",
    "inventory_hold_insufficient": "Requests to hold that were refused for want of stock",
    "inventory_hold_busy": "Statements that did not obtain their row locks in time",
    "inventory_hold_error": "Requests and activities that failed for another reason than stock or locks",
    "inventory_checkout_refused": "Checkout Sessions that Stripe would not open",
    "inventory_payment_trouble": "Payments of holds that somebody has to look at",
    "inventory_low_stock": "Falls of an item's quantity to its threshold or below",
    "inventory_alert_sent": "Mails about low stock that the mail server has taken",
    "inventory_alert_error": "Attempts to send such a mail that failed",
    "inventory_event_delivered": "Events that their receiver has taken",
    "inventory_event_error": "Attempts to deliver an event that failed",
    "inventory_event_lost": "Events that were given up: no receiver took them for three days",
    "inventory_bypassed": "Requests answered unseen because SKIP_INVENTORY_VALIDATION is set",
}

_OF_A_SHOP = {
    "inventory_hold_created": "created",
    "inventory_hold_committed": "committed",
    "inventory_hold_released": "released",
    "inventory_hold_expired": "expired",
}
"""Of these the shop exists: somebody held its stock."""

_BY_RECEIVER = ("inventory_event_delivered", "inventory_event_error")
"""Labelled with who was to receive: one that takes its events must not hide another that does not."""


class Telemetry:
    """The metrics and the log of one process. Made once at its start and handed to whoever records.

    Counters count real changes, after they were committed: a repeat that changes nothing counts nothing.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger("holdfast")
        self._counters = {
            name: Counter(name, text, ["receiver"] if name in _BY_RECEIVER else [], registry=registry)
            for name, text in COUNTERS.items()
        }
        for name in _BY_RECEIVER:
            for receiver in ("hold-events", "stock-alerts"):  # an increase is seen from a count that is there already
                self._counters[name].labels(receiver)
        self._validations = Counter(
            "checkout_inventory_validation", "Validations answered", ["result"], registry=registry
        )
        self._rejected = Counter(
            "checkout_rejected_stock", "Checkouts refused for an item that was short", ["sku"], registry=registry
        )
        self._shop_holds = Counter(
            "inventory_shop_holds",
            "What became of a shop's requests to hold and of its holds",
            ["shop", "event"],
            registry=registry,
        )
        self._late_payments = Counter(
            "inventory_late_payment",
            "Payments that came for a hold which they did not buy, by what became of them",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("needs_person", "closed_by_person"):
            self._late_payments.labels(outcome)
        self.bypass = Gauge(
            "inventory_bypass",
            "1 where SKIP_INVENTORY_VALIDATION is set",
            registry=registry,
            multiprocess_mode="max",
        )
        self._event_time = Gauge(
            "inventory_stripe_event_timestamp_seconds",
            "When the last event of Stripe's came that was signed as it must be; 0 for none since the start",
            registry=registry,
            multiprocess_mode="max",
        )
        self._stripe_events = Counter(
            "inventory_stripe_event",
            "Stripe's events that came, by what was done",
            ["type", "result"],
            registry=registry,
        )
        self._skus = _Names(_SKU_LIMIT)
        self._shops = _Names(SHOP_LIMIT)
        self.expiry_lag = Histogram(
            "inventory_hold_expiry_lag_seconds",
            "From a hold's deadline to its expiry",
            buckets=_LAG_BUCKETS,
            registry=registry,
        )
        self.commit_age = Histogram(
            "inventory_hold_commit_age_seconds",
            "From a hold's creation to its commit",
            buckets=_AGE_BUCKETS,
            registry=registry,
        )
        self.requests = Histogram(
            "inventory_request_seconds",
            "From a request's arrival to its answer",
            ["route", "method", "status"],
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )
        self.activities = Histogram(
            "inventory_activity_seconds",
            "Time that an activity took",
            ["activity"],
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )

        self.audit_looks = Counter(
            "inventory_audit_looks", "Parts of audits that were completed", ["at"], registry=registry
        )
        self.audit_findings = Counter(
            "inventory_audit_findings",
            "Findings of audits, counted at each audit that has them",
            ["kind"],
            registry=registry,
        )

    def count(self, metric: str, **fields: object) -> None:
        """Count one occurrence and log it as information."""
        self._increase(metric, fields)
        if metric in _OF_A_SHOP:
            self._shop_holds.labels(self._shops.label(str(fields["shop_id"]), exists=True), _OF_A_SHOP[metric]).inc()
        self._log.info(metric, metric=metric, **fields)

    def warn(self, metric: str, **fields: object) -> None:
        """Count one occurrence and log it as a warning."""
        self._increase(metric, fields)
        self._log.warning(metric, metric=metric, **fields)

    def fail(self, metric: str, **fields: object) -> None:
        """Count one occurrence and log it as an error, for somebody to look at."""
        self._increase(metric, fields)
        self._log.error(metric, metric=metric, **fields)

    def _increase(self, metric: str, fields: Mapping[str, object]) -> None:
        counter = self._counters[metric]
        (counter.labels(fields["receiver"]) if metric in _BY_RECEIVER else counter).inc()

    def late_payment(self, outcome: str, *, in_order: bool, **fields: object) -> None:
        """Count what became of a late payment and log it: as an error unless nobody has to hear of it."""
        self._late_payments.labels(outcome).inc()
        log = self._log.info if in_order else self._log.error
        log("inventory_late_payment", metric="inventory_late_payment", outcome=outcome, **fields)

    def stripe_event(self, kind: str, result: str, *, known: bool, level: int = logging.INFO, **fields: object) -> None:
        """Count and log an event of Stripe's. Types that are not known are one series: nobody makes up others."""
        if result not in ("invalid_signature", "malformed"):
            self._event_time.set_to_current_time()
        self._stripe_events.labels(kind if known else "other", result).inc()
        self._log.log(
            level, "inventory_stripe_event", metric="inventory_stripe_event", type=kind, result=result, **fields
        )

    def validated(self, *, ok: bool, shop_id: str) -> None:
        """Count and log the answer to a validation."""
        result = "ok" if ok else "insufficient"
        self._validations.labels(result).inc()
        self._log.info(
            "checkout_inventory_validation", metric="checkout_inventory_validation", result=result, shop_id=shop_id
        )

    def rejected(self, shop_id: str, items: Iterable[tuple[str, bool]]) -> None:
        """Count and log a checkout refused for stock: each short item's sku, and whether the item exists.

        Only items that exist become labels, at most 1,000 of them a process: nobody fills the memory with made-up skus.
        Nor with shops: one exists that has one of the items.
        """
        shop_exists = False
        for sku, exists in items:
            shop_exists |= exists
            self._rejected.labels(self._skus.label(sku, exists=exists)).inc()
            self._log.info("checkout_rejected_stock", metric="checkout_rejected_stock", shop_id=shop_id, sku=sku)
        self._shop_holds.labels(self._shops.label(shop_id, exists=shop_exists), "refused").inc()

    def audited(self, at: str, looked_at: int, findings: Sequence[tuple[str, bool, Mapping[str, object]]]) -> None:
        """Count and log a part of an audit: of each finding its kind, whether it was set right, and what to log."""
        self.audit_looks.labels(at).inc()
        self._log.info("inventory_audit_looks", metric="inventory_audit_looks", at=at, looked_at=looked_at)
        for kind, mended, fields in findings:
            self.audit_findings.labels(kind).inc()
            log = self._log.warning if mended else self._log.error
            log("inventory_audit_findings", metric="inventory_audit_findings", kind=kind, mended=mended, **fields)


class _Names:
    """The values of a label: names that exist, up to a limit. Any other name is `other`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def label(self, name: str, *, exists: bool) -> str:
        if exists and len(self._known) < self._limit:
            self._known.add(name)
        return name if name in self._known else "other"
