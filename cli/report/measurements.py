"""Reads metrics: from Prometheus for the window, else from the API's /metrics since its start."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families

from core.error_messages import first_line

_CALL_SECONDS = 15.0
_HOLDS = "/api/inventory/holds"
ROUTES = {
    "create": _HOLDS,
    "commit": f"{_HOLDS}/{{shopId}}/{{holdId}}/commit",
    "release": f"{_HOLDS}/{{shopId}}/{{holdId}}/release",
    "validate": "/api/inventory/validate",
    "webhook": "/api/webhooks/stripe",
}
_NAMES = {route: name for name, route in ROUTES.items()}
_BUCKET = "inventory_request_seconds_bucket"
_REJECTED = "checkout_rejected_stock_total"
_BUSY = "inventory_hold_busy_total"


@dataclass(frozen=True, slots=True)
class Measurements:
    """Figures over all shops: metrics have no label for the shop."""

    source: str
    """Their source and the time that they cover, for people."""
    p95: Mapping[str, float] = field(default_factory=dict)
    """Seconds, by the names of ROUTES; routes without requests are left out."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Creates that were rejected for lack of stock, by SKU, the highest first."""
    busy: int | None = None
    """Statements that timed out waiting for row locks; None if unknown."""


class NoMeasurementsError(Exception):
    """The metrics could not be read. The message names the source."""


def from_prometheus(url: str, seconds: int) -> Measurements:
    """Query the Prometheus at the URL for the last `seconds`. Raises NoMeasurementsError."""
    window = f"[{seconds}s]"
    quantile = f'histogram_quantile(0.95, sum by (le, route) (increase({_BUCKET}{{method="POST"}}{window})))'
    try:
        with httpx.Client(
            base_url=url.rstrip("/"), timeout=_CALL_SECONDS, trust_env=url.startswith("https://")
        ) as http:
            p95 = _query(http, quantile)
            rejected = _query(http, f"sum by (sku) (increase({_REJECTED}{window}))")
            busy = _query(http, f"sum(increase({_BUSY}{window}))")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise NoMeasurementsError(f"PROMETHEUS_URL {url} cannot be read ({first_line(error)})") from error
    return Measurements(
        source=f"Prometheus at {url}, the whole window",
        p95={_NAMES[labels["route"]]: value for labels, value in p95 if labels.get("route") in _NAMES},
        rejected=_highest_first((labels.get("sku", "other"), value) for labels, value in rejected),
        busy=round(sum(value for _, value in busy)),
    )


def from_api(origin: str) -> Measurements:
    """Read the API's /metrics, counted since its start. Raises NoMeasurementsError."""
    try:
        answer = httpx.get(f"{origin}/metrics", timeout=_CALL_SECONDS, trust_env=False).raise_for_status()
        families = list(text_string_to_metric_families(answer.text))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise NoMeasurementsError(f"{origin}/metrics cannot be read ({first_line(error)})") from error
    buckets: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    rejected: dict[str, float] = defaultdict(float)
    busy = 0.0
    for sample in (sample for family in families for sample in family.samples):
        if sample.name == _BUCKET and sample.labels["method"] == "POST" and sample.labels["route"] in _NAMES:
            buckets[_NAMES[sample.labels["route"]]][float(sample.labels["le"])] += sample.value
        elif sample.name == _REJECTED:
            rejected[sample.labels["sku"]] += sample.value
        elif sample.name == _BUSY:
            busy += sample.value
    quantiles = {name: quantile(0.95, of) for name, of in buckets.items()}
    return Measurements(
        source=f"{origin}/metrics, since the API started, without the workers' lock waits",
        p95={name: value for name, value in quantiles.items() if value is not None},
        rejected=_highest_first(rejected.items()),
        busy=round(busy),
    )


def quantile(share: float, buckets: Mapping[float, float]) -> float | None:
    """Return a quantile of a histogram as Prometheus computes it: linear within a bucket. None if it is empty."""
    rising = sorted(buckets.items())
    if not rising or rising[-1][1] == 0:
        return None
    rank = share * rising[-1][1]
    below, count_below = 0.0, 0.0
    for bound, count in rising:
        if count >= rank:
            if bound == float("inf"):
                return below
            return below + (bound - below) * (rank - count_below) / (count - count_below)
        below, count_below = bound, count
    return below


def _query(http: httpx.Client, query: str) -> list[tuple[dict[str, str], float]]:
    answer = http.get("/api/v1/query", params={"query": query}).raise_for_status()
    found = ((each["metric"], float(each["value"][1])) for each in answer.json()["data"]["result"])
    return [(labels, value) for labels, value in found if value == value]  # noqa: PLR0124 - drops NaN: no requests


def _highest_first(rejected: Iterable[tuple[str, float]]) -> dict[str, int]:
    found = ((sku, round(value)) for sku, value in rejected)
    return dict(sorted(((sku, value) for sku, value in found if value), key=lambda each: (-each[1], each[0])))
