"""The row of a hold that has ended, as a message."""

from dataclasses import dataclass
from datetime import datetime

from domain.holds import Hold, HoldKey, HoldStatus, Line
from domain.payments import Payment


@dataclass(frozen=True)
class EndedHold:
    """The row of a hold that has ended, so that the caller need not read it again."""

    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    ended_at: datetime
    lines: tuple[Line, ...]
    reason: str | None = None
    reference: str | None = None
    payment_session_id: str | None = None
    payment_intent_id: str | None = None
    request_hash: str | None = None
    buyer: str | None = None
    revision: int = 0
    sold: tuple[Line, ...] | None = None
    metadata: dict[str, str] | None = None
    warn_before_seconds: int | None = None
    amount_total: int | None = None
    currency: str | None = None
    paid_elsewhere: bool = False

    @classmethod
    def of(cls, hold: Hold) -> "EndedHold":
        """Return the message about a hold that has ended."""
        ended_at = hold.committed_at or hold.released_at or hold.expired_at
        return cls(
            created_at=hold.created_at,
            updated_at=hold.updated_at,
            expires_at=hold.expires_at,
            ended_at=ended_at or hold.updated_at,
            lines=hold.lines,
            reason=hold.reason,
            reference=hold.reference,
            payment_session_id=hold.payment_session_id,
            payment_intent_id=hold.payment_intent_id,
            request_hash=hold.request_hash,
            buyer=hold.buyer,
            revision=hold.revision,
            sold=hold.sold,
            metadata=hold.metadata,
            warn_before_seconds=hold.warn_before_seconds,
            amount_total=hold.amount_total,
            currency=hold.currency,
            paid_elsewhere=hold.paid_elsewhere,
        )

    def as_hold(self, key: HoldKey, status: HoldStatus) -> Hold:
        """Return the hold as its row has it."""
        return Hold(
            hold_id=key.hold_id,
            shop_id=key.shop_id,
            status=status,
            expires_at=self.expires_at,
            created_at=self.created_at,
            updated_at=self.updated_at,
            committed_at=self.ended_at if status is HoldStatus.COMMITTED else None,
            released_at=self.ended_at if status is HoldStatus.RELEASED else None,
            expired_at=self.ended_at if status is HoldStatus.EXPIRED else None,
            reason=self.reason,
            reference=self.reference,
            payment_session_id=self.payment_session_id,
            payment_intent_id=self.payment_intent_id,
            request_hash=self.request_hash,
            lines=self.lines,
            buyer=self.buyer,
            revision=self.revision,
            sold=self.sold,
            metadata=self.metadata,
            warn_before_seconds=self.warn_before_seconds,
            amount_total=self.amount_total,
            currency=self.currency,
            paid_elsewhere=self.paid_elsewhere,
        )

    @property
    def bought_by(self) -> Payment | None:
        """Of a committed hold the payment that bought it. None where a part was sold, or it was paid elsewhere."""
        if self.sold is not None or self.paid_elsewhere:
            return None
        return Payment(self.payment_intent_id, self.payment_session_id)
