"""The findings of an audit, and the port to the activities that look for them."""

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from temporalio import activity

FindingKind = Literal["held", "balance", "no_item", "lost_run", "stray_run", "lost_sale", "unknown"]
"""What is wrong.

- `held`: `held` of an item is not the sum of its active holds.
- `balance`: on hand is not what the item's last movement left.
- `no_item`: active holds have lines of an item that does not exist.
- `lost_run`: the workflow of an active hold is missing.
- `stray_run`: a workflow waits for a hold that has ended in the database (the audit ends it) or has no row there.
- `lost_sale`: Temporal remembers a committed hold that has no row; looked for only after a restore.
- `unknown`: something could not be checked.
"""

Value = int | str | None


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. Recorded in workflow histories: fields are only added, with defaults."""

    kind: FindingKind
    shop_id: str
    subject: str
    """The item (sku and variant), the hold's id, or what could not be checked."""
    sentence: str
    """The finding for people. Programs read the other fields."""
    mended: bool = False
    """Whether the audit, or `--repair`, has repaired it."""
    repairable: bool = False
    """Whether `holdfast audit --repair` can repair it, or has."""
    problem: str | None = None
    """Why the repair failed, or why the check did."""
    details: dict[str, Value] = field(default_factory=dict)
    """The figures or the state that were found, by kind; see holds/audit_findings.py."""


@dataclass(frozen=True)
class AuditRequest:
    """What to check."""

    shop_id: str | None = None
    """None: all shops."""


@dataclass(frozen=True)
class AuditPart:
    """The result of checking the stock, or the workflows."""

    looked_at: int
    """How many items, or active holds, were checked."""
    found: dict[str, int] = field(default_factory=dict)
    """The number of findings by kind."""
    first: list[Finding] = field(default_factory=list)
    """At most MAX_REPORTED of them."""


@dataclass(frozen=True)
class AuditReport:
    """The result of an audit."""

    items: int
    active_holds: int
    found: dict[str, int] = field(default_factory=dict)
    first: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.found


MAX_REPORTED = 100
"""A report has this many findings, to limit its size; all are counted and logged."""


def part_of(looked_at: int, findings: list[Finding]) -> AuditPart:
    """Count the findings and keep the first of them."""
    return AuditPart(looked_at, dict(Counter(finding.kind for finding in findings)), findings[:MAX_REPORTED])


def report_of(stock: AuditPart, workflows: AuditPart) -> AuditReport:
    """Merge both parts."""
    found = Counter(stock.found) + Counter(workflows.found)
    first = [*stock.first, *workflows.first][:MAX_REPORTED]
    return AuditReport(stock.looked_at, workflows.looked_at, dict(found), first)


def not_checked(subject: Literal["stock", "workflows"], problem: str) -> Finding:
    """Return the finding that a part of the audit failed."""
    return Finding("unknown", "", subject, f"The {subject} could not be checked: {problem}", problem=problem)


class AuditPort(ABC):
    """The two parts of an audit. Each may be repeated."""

    @activity.defn(name="audit-stock")
    @abstractmethod
    async def audit_stock(self, request: AuditRequest) -> AuditPart:
        """Compare every item with its active holds and its last movement."""

    @activity.defn(name="audit-runs")
    @abstractmethod
    async def audit_workflows(self, request: AuditRequest) -> AuditPart:
        """Compare active holds with running workflows, and resume the holds whose workflow is missing."""
