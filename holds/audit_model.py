"""What the audits return."""

from dataclasses import dataclass
from datetime import datetime

from domain.holds import Hold, HoldStatus
from inventory.audit import Drift
from workflows.messages import SettledStatus


@dataclass(frozen=True, slots=True)
class Repair:
    """The outcome of a repair."""

    problem: str | None = None
    """Why it failed; None if it succeeded."""


@dataclass(frozen=True, slots=True)
class StockAudit:
    """The number of items, and those whose figures disagree."""

    items: int
    drifts: list[Drift]


@dataclass(frozen=True, slots=True)
class MissingWorkflow:
    """An active hold whose workflow does not run."""

    hold: Hold
    repair: Repair
    """Of resuming the hold in a new run."""
    ended_before: SettledStatus | None = None
    """How its last run had ended the hold, if it had: the database was restored to an earlier moment."""


@dataclass(frozen=True, slots=True)
class StrayWorkflow:
    """A workflow that runs though its hold has ended in the database, or has no row there (`status` is None)."""

    shop_id: str
    hold_id: str
    status: HoldStatus | None
    repair: Repair | None = None
    """Of ending it, which the audit does itself where the hold has ended."""


@dataclass(frozen=True, slots=True)
class WorkflowAudit:
    """The number of active holds, and those that do not agree with the workflows."""

    active_holds: int
    missing: list[MissingWorkflow]
    orphaned: list[StrayWorkflow]


@dataclass(frozen=True, slots=True)
class LostSale:
    """A hold that Temporal remembers as committed and that has no row."""

    shop_id: str
    hold_id: str
    run_id: str
    committed_at: datetime
