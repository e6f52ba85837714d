"""What an audit looks at and what it finds, each finding in a sentence, and the port to those who look."""

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from temporalio import activity

FindingKind = Literal["held", "balance", "no_item", "lost_run", "stray_run", "lost_sale", "unknown"]
KINDS: tuple[FindingKind, ...] = ("held", "balance", "no_item", "lost_run", "stray_run", "unknown")
"""Those that the scheduled audit looks for.

`held`: not what active holds have. `balance`: on hand is not what the last movement left. `no_item`: active holds
have lines of an item that is not there. `lost_run`: an active hold that nobody would end. `stray_run`: a workflow that
runs for a hold which has ended in the database, or is not there. `unknown`: something could not be looked at.
Only where it is asked for, `lost_sale`: a hold that was sold and has no row."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, for people."""

    kind: FindingKind
    shop_id: str
    subject: str
    """The item (sku and variant) or the hold."""
    sentence: str
    mended: bool = False
    """Whether the audit, or the repair, has set it right."""


@dataclass(frozen=True)
class AuditRequest:
    """What to look at."""

    shop_id: str | None = None
    """None: all shops."""


@dataclass(frozen=True)
class Looked:
    """What one part of an audit looked at and found."""

    looked_at: int
    found: dict[str, int] = field(default_factory=dict)
    """How many findings of each kind."""
    first: list[Finding] = field(default_factory=list)
    """The first of them, as many as a person reads."""


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


FIRST = 100
"""How many findings a report names; all are counted and logged."""


def looked(looked_at: int, findings: list[Finding]) -> Looked:
    """Return the findings counted, the first of them named."""
    return Looked(looked_at, dict(Counter(finding.kind for finding in findings)), findings[:FIRST])


def together(stock: Looked, runs: Looked) -> AuditReport:
    """Return the two parts as one report."""
    found = Counter(stock.found) + Counter(runs.found)
    return AuditReport(stock.looked_at, runs.looked_at, dict(found), [*stock.first, *runs.first][:FIRST])


class AuditPort(ABC):
    """Those who look. Both may be repeated."""

    @activity.defn(name="audit-stock")
    @abstractmethod
    async def audit_stock(self, request: AuditRequest) -> Looked:
        """Compare every item with its active holds and its last movement."""

    @activity.defn(name="audit-runs")
    @abstractmethod
    async def audit_runs(self, request: AuditRequest) -> Looked:
        """Give active holds without a run a new one, and find the runs whose hold is not active."""
