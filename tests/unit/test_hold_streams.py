"""A browser's stream of a hold tells every change, however slowly the browser reads."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from api import hold_streams
from api.hold_streams import HoldStream
from domain.holds import Hold, HoldStatus, Line

MADE = datetime(2026, 12, 24, 12, 0, 0, tzinfo=UTC)
HOLD = Hold(
    shop_id="shop-1",
    hold_id="h-1",
    status=HoldStatus.ACTIVE,
    lines=(Line("TEE", "", 1),),
    created_at=MADE,
    expires_at=MADE + timedelta(minutes=15),
    updated_at=MADE,
    committed_at=None,
    released_at=None,
    expired_at=None,
    reason=None,
    reference=None,
    payment_session_id=None,
    payment_intent_id=None,
    request_hash=None,
)


def later(seconds: int, status: HoldStatus = HoldStatus.ACTIVE) -> Hold:
    return replace(HOLD, updated_at=MADE + timedelta(seconds=seconds), status=status)


async def test_what_changes_while_the_browser_reads_is_told_and_so_is_the_end() -> None:
    stream = HoldStream(HOLD)
    states = stream.states(known=None)
    assert await anext(states) == HOLD
    stream.update(later(1))  # while the first state is sent
    assert await anext(states) == later(1)
    stream.update(later(2, HoldStatus.COMMITTED))
    assert [state async for state in states] == [later(2, HoldStatus.COMMITTED)]


async def test_what_the_browser_knows_is_not_told_again() -> None:
    assert [state async for state in HoldStream(later(2, HoldStatus.EXPIRED)).states(MADE + timedelta(seconds=2))] == []


async def test_where_nothing_changes_a_heartbeat_keeps_the_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold_streams, "_HEARTBEAT_SECONDS", 0.001)
    stream = HoldStream(HOLD)
    states = stream.states(known=MADE)
    assert [await anext(states), await anext(states)] == [None, None]
    stream.update(later(1, HoldStatus.RELEASED))
    assert [state async for state in states] == [later(1, HoldStatus.RELEASED)]
