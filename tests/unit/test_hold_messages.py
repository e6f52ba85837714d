"""The messages about a hold carry all that its row has."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from domain.holds import Held, Hold, HoldKey, HoldStatus, Line
from workflows.ended_hold import EndedHold

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ACTIVE = Hold(
    hold_id="h1",
    shop_id="shop-1",
    status=HoldStatus.ACTIVE,
    expires_at=CREATED + timedelta(minutes=20),
    created_at=CREATED,
    updated_at=CREATED,
    committed_at=None,
    released_at=None,
    expired_at=None,
    reason=None,
    reference="order-1",
    payment_session_id="cs_1",
    payment_intent_id="pi_1",
    request_hash="digest",
    lines=(Line("MUG", "", 1), Line("TEE", "size:M", 2)),
)
KEY = HoldKey("shop-1", "h1")


def test_a_hold_that_was_just_made_survives_its_message() -> None:
    assert Held.of(ACTIVE).as_new_hold(KEY) == ACTIVE


@pytest.mark.parametrize(
    ("status", "at"),
    [
        (HoldStatus.COMMITTED, "committed_at"),
        (HoldStatus.RELEASED, "released_at"),
        (HoldStatus.EXPIRED, "expired_at"),
    ],
)
def test_a_hold_that_has_ended_survives_its_message(status: HoldStatus, at: str) -> None:
    ended = CREATED + timedelta(minutes=3)
    hold = replace(ACTIVE, status=status, updated_at=ended, reason="why", **{at: ended})  # type: ignore[arg-type]
    assert EndedHold.of(hold).as_hold(KEY, status) == hold
