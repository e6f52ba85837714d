"""Holds as their workflow tells of them, so that the row need not be read again."""

from inventory.holds import Hold, HoldStatus, Line
from workflows.messages import Ended, Held


def hold_made(shop_id: str, hold_id: str, held: Held) -> Hold:
    """Return the hold that a reserve has just made."""
    return Hold(
        hold_id=hold_id,
        shop_id=shop_id,
        status=HoldStatus(held.status),
        expires_at=held.expires_at,
        created_at=held.created_at,
        updated_at=held.created_at,
        committed_at=None,
        released_at=None,
        expired_at=None,
        reason=None,
        reference=held.reference,
        payment_session_id=None,
        payment_intent_id=None,
        request_hash=held.request_hash,
        lines=tuple(Line(line.sku, line.variant_key, line.quantity) for line in held.lines),
    )


def hold_ended(shop_id: str, hold_id: str, ended: Ended | None) -> Hold | None:
    """Return the hold as its settle left it; None where the answer does not tell and the row has to be read."""
    if ended is None or ended.hold is None:
        return None
    told, status = ended.hold, HoldStatus(ended.status)
    return Hold(
        hold_id=hold_id,
        shop_id=shop_id,
        status=status,
        expires_at=told.expires_at,
        created_at=told.created_at,
        updated_at=told.updated_at,
        committed_at=told.ended_at if status is HoldStatus.COMMITTED else None,
        released_at=told.ended_at if status is HoldStatus.RELEASED else None,
        expired_at=told.ended_at if status is HoldStatus.EXPIRED else None,
        reason=told.reason,
        reference=told.reference,
        payment_session_id=told.payment_session_id,
        payment_intent_id=told.payment_intent_id,
        request_hash=told.request_hash,
        lines=tuple(Line(line.sku, line.variant_key, line.quantity) for line in told.lines),
    )
