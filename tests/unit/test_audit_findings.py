"""A finding has the state of its repair in fields."""

import pytest

from holds.audit_findings import finding_of_orphaned, findings_of_drift
from holds.audit_model import Repair, StrayWorkflow
from inventory.audit import Drift, ItemKey
from workflows.findings import Finding

ITEM = ItemKey("demo", "TEE", "size:M")
HELD_DIFFERS = Drift(ITEM, quantity=5, held=5, active=3, last_on_hand=10)
NO_MOVEMENT = Drift(ITEM, quantity=5, held=3, active=3, last_on_hand=None)
NO_ITEM = Drift(ITEM, quantity=None, held=None, active=3, last_on_hand=None)


def state_of(finding: Finding) -> tuple[bool, bool, str | None]:
    return finding.repairable, finding.mended, finding.problem


@pytest.mark.parametrize(
    ("repair", "state"),
    [
        (None, (True, False, None)),
        (Repair(), (True, True, None)),
        (Repair("the database is busy"), (True, False, "the database is busy")),
    ],
)
def test_a_repairable_drift_has_the_outcome_of_its_repair(
    repair: Repair | None, state: tuple[bool, bool, str | None]
) -> None:
    (finding,) = findings_of_drift(HELD_DIFFERS, repair)
    assert (finding.kind, finding.shop_id, finding.subject) == ("held", "demo", "TEE size:M")
    assert state_of(finding) == state
    assert finding.details == {"active": 3, "quantity": 5, "held": 5, "last_movement_on_hand": 10}


@pytest.mark.parametrize(("drift", "kind"), [(NO_MOVEMENT, "balance"), (NO_ITEM, "no_item")])
def test_a_drift_that_needs_a_person_is_never_repaired(drift: Drift, kind: str) -> None:
    (finding,) = findings_of_drift(drift)
    assert finding.kind == kind
    assert state_of(finding) == (False, False, None)


def test_the_sentence_tells_an_open_a_done_and_a_failed_repair_apart() -> None:
    orphaned = StrayWorkflow("demo", "h1", None)
    sentences = {finding_of_orphaned(orphaned, repair).sentence for repair in (None, Repair(), Repair("no"))}
    assert len(sentences) == 3


@pytest.mark.parametrize("drift", [HELD_DIFFERS, NO_MOVEMENT, NO_ITEM])
def test_a_drift_that_is_gone_when_it_is_repaired_counts_as_repaired(drift: Drift) -> None:
    assert {state_of(finding) for finding in findings_of_drift(drift, Repair())} == {(True, True, None)}
