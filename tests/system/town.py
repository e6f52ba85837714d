"""A shop on servers of its own with a real Prometheus, and what an operator sees of it."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from temporalio.client import ScheduleIntervalSpec, ScheduleSpec, ScheduleUpdate, ScheduleUpdateInput

from activities.audit_schedule import AUDIT_SCHEDULE
from cli.doctor.command import diagnose
from cli.report.command import report_on
from core.settings import TASK_QUEUE
from tests.commands import Ran, run_holdfast
from tests.e2e.deployment import Deployment
from tests.e2e.house import House, house_in
from tests.operations.diagnosis import faults
from tests.paying import PAGES
from tests.receivers import mailbox
from tests.simulated import API_KEY, SECRET, Simulated, simulated
from tests.stack import SHOP, environment
from tests.system.observed import RULES, Observed, watching
from tests.waiting import until

_PATIENCE = "10s"
"""For how long an alert that waits does wait: longer than a scrape that a busy machine misses."""
_LEFT_OUT = {
    "HoldfastSlow",
    "HoldfastScheduleToStart",
    "HoldfastExpiryLate",
    "HoldfastApiAbsent",
    "HoldfastTargetDown",
    "HoldfastWatchdog",
}
"""Alerts on this machine's speed, on a process that a test starts anew, and the one that always fires."""
_WINDOW = timedelta(seconds=30)
_SHORT = f"{_WINDOW.seconds}s"
"""Every window of a rule up to six hours: what happened before is over for the next fault."""


@dataclass
class Town:
    """The product, Stripe's stand-in, a mail server and Prometheus."""

    house: House
    stripe: Simulated
    observed: Observed
    smtp_url: str

    @property
    def deployment(self) -> Deployment:
        """API and worker."""
        return self.house.deployment

    @property
    def url(self) -> str:
        """The API's address."""
        return str(self.deployment.http.base_url).rstrip("/")

    def variables(self, **changes: str) -> dict[str, str]:
        """Return the environment of the operator's commands."""
        return {
            **environment(self.deployment.database),
            "TEMPORAL_ADDRESS": self.deployment.temporal_address,
            "TEMPORAL_CONFIG_FILE": "/dev/null",
            "STRIPE_API_KEY": API_KEY,
            "STRIPE_API_BASE": self.stripe.url,
            "STRIPE_WEBHOOK_SECRET": f"whsec_{'5' * 32}",
            "INVENTORY_AUTHORITY_URL": self.url,
            "STOCK_ALERT_RECIPIENT": "buyer@example.com",
            "SMTP_URL": self.smtp_url,
            "PROMETHEUS_URL": self.observed.url,
            **changes,
        }

    async def doctor(self, changes: Mapping[str, str], ahead: float = 0.0) -> dict[str, str]:
        """Return the faults that the doctor names. `ahead`: the seconds that this machine's clock is ahead."""
        lines = await diagnose(self.variables(**changes), task_queue=TASK_QUEUE, now=lambda: time.time() + ahead)
        return faults(lines)

    async def command(self, *arguments: str, **changes: str) -> Ran:
        """Run `holdfast` in the operator's environment."""
        return await asyncio.to_thread(run_holdfast, arguments, self.variables(**changes))

    async def audit(self, changes: Mapping[str, str]) -> set[str]:
        """Return the kinds of what `holdfast audit` finds, or what it says where it cannot run."""
        ran = await self.command("audit", "--json", **changes)
        if ran.code not in (0, 1):
            return {ran.err.strip()}
        assert "stray_run" not in ran.out, ran.out
        return {finding["kind"] for finding in json.loads(ran.out)["findings"]}

    async def report(self, changes: Mapping[str, str]) -> set[str]:
        """Return the names of the issues that `holdfast report` sees."""
        report = await asyncio.to_thread(report_on, self.variables(**changes), _WINDOW, None)
        return {issue["name"] for issue in report["issues"]}

    async def health(self) -> tuple[str, str | None]:
        """Return the health and the part that failed."""
        answer = (await self.deployment.http.get("/api/inventory/health")).json()
        return answer["status"], answer["failing"]

    async def checkout(self, sku: str) -> dict[str, Any]:
        """Open a page to pay for one unit, and return the answer."""
        line = {"sku": sku, "quantity": 1, "name": "T-shirt", "unitAmount": 1999, "currency": "eur"}
        body = {"shopId": SHOP, "items": [line], **PAGES}
        answer = await self.deployment.http.post("/api/checkout/sessions", json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {name for name, state in self.observed.alerts().items() if state == "firing"}

    async def until_well(self) -> None:
        """Wait until nothing is the matter."""

        async def well() -> bool:
            return await self.health() == ("ok", None) and not self.firing()

        await until(well, "all is well")

    async def open_webhooks(self, *secrets: str) -> None:
        """Have Stripe's events come, signed with these secrets; none: they do not come."""
        endpoints = [{"url": f"{self.url}/api/webhooks/stripe", "secrets": list(secrets)}] if secrets else []
        await self.stripe.control("/webhooks/endpoints", "PUT", endpoints=endpoints)


@asynccontextmanager
async def town_in(folder: Path) -> AsyncIterator[Town]:
    """Yield a town where all is well, and whose audit runs only when a test asks for it."""
    async with simulated() as stripe, mailbox() as box:
        changes: dict[str, Any] = {
            "STRIPE_API_KEY": API_KEY,
            "STRIPE_API_BASE": stripe.url,
            "STRIPE_WEBHOOK_SECRET": SECRET,
            "HOLDFAST_CHECKOUT_SECRET": "c" * 40,
            "LATE_PAYMENT_POLICY": "keep",
            "INVENTORY_REQUEST_TIMEOUT_MS": "8000",
            "INVENTORY_LOCK_TIMEOUT_MS": "100",
        }
        async with house_in(folder, **changes) as house:
            await _audit_when_asked(house.deployment)
            rules = folder / "rules.yml"
            rules.write_text(compressed(RULES.read_text()))
            targets = {
                "holdfast-api": house.deployment.http.base_url.netloc.decode(),
                "holdfast-worker": f"127.0.0.1:{house.deployment.worker_metrics}",
            }
            with watching(targets, folder, rules, "3s") as observed:
                town = Town(house, stripe, observed, box.url)
                await town.open_webhooks(SECRET)
                await town.until_well()
                yield town


async def _audit_when_asked(deployment: Deployment) -> None:
    def rarely(current: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = current.description.schedule
        schedule.spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(days=300))])
        return ScheduleUpdate(schedule)

    schedule = deployment.temporal.get_schedule_handle(AUDIT_SCHEDULE)
    await schedule.update(rarely)
    await schedule.trigger()  # an installation without any audit yet has an alert of its own


def compressed(rules: str) -> str:
    """Return the rules with short windows, and with alerts that fire soon.

    After how long each fires is in the tests of `ops/`.
    """
    read = yaml.safe_load(rules)
    for group in read["groups"]:
        group["rules"] = [rule for rule in group["rules"] if rule.get("alert") not in _LEFT_OUT]
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = _PATIENCE
            rule["expr"] = re.sub(r"(\[|offset )(?:\d+m|[1-6]h)\b", rf"\g<1>{_SHORT}", rule["expr"])
    return str(yaml.safe_dump(read))
