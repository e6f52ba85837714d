"""A hold as JSON: in the API's answers and the command line's `--json`."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field

from core.json_model import Model, Record
from domain.holds import Hold, HoldStatus


class LineOut(Record):
    """An item of a hold; the same item asked for on two lines is one, with the sum."""

    sku: str
    variant_key: str
    quantity: int


class LineResultOut(LineOut):
    """An item of a hold, and what became of its units."""

    sold: Annotated[int, Field(description="The units that were sold when the hold was committed.")] = 0
    given_back: Annotated[int, Field(description="The units that the hold gave back when it ended.")] = 0
    restocked: Annotated[int, Field(description="The units of `sold` that were returned later.")] = 0


class HoldOut(Model):
    """A hold. Times are ISO 8601 in UTC."""

    hold_id: str
    shop_id: str
    status: HoldStatus
    expires_at: datetime
    created_at: datetime
    items: list[LineResultOut]
    reference: str | None
    committed_at: datetime | None = None
    released_at: datetime | None = None
    expired_at: datetime | None = None
    reason: str | None = None
    checkout_session_id: str | None = None
    payment_intent_id: str | None = None
    amount_total: Annotated[
        int | None,
        Field(
            description="What the payment costs, in the currency's smallest unit: before it is made without shipping, "
            "tax and promotion codes. Null without a payment."
        ),
    ] = None
    currency: str | None = None
    buyer: str | None = None
    revision: Annotated[int, Field(description="How often the hold was changed.")] = 0
    metadata: Annotated[dict[str, str] | None, Field(description="As given when the hold was made.")] = None
    warn_before_seconds: Annotated[
        int | None, Field(description="How long before its deadline the event `hold.expiring` is sent.")
    ] = None
    archived_at: Annotated[datetime | None, Field(description="Set if the hold was read from the archive.")] = None
    paid_elsewhere: Annotated[
        bool, Field(description="Whether it was committed with `paidElsewhere`: no payment of its page bought it.")
    ] = False
    ending: Annotated[
        Literal["release"] | None, Field(description="Set while the hold is still active and its release continues.")
    ] = None
    hold_token: Annotated[
        str | None,
        Field(
            description="With it the shopper's browser may read, extend, release and follow this hold, and no other. "
            "Of an active hold, where HOLDFAST_BROWSER_TOKEN_SECRET is set."
        ),
    ] = None

    @classmethod
    def of(cls, hold: Hold, ending: Literal["release"] | None = None, *, token: str | None = None) -> Self:
        """Build it from a hold."""
        return cls(
            holdId=hold.hold_id,
            shopId=hold.shop_id,
            status=hold.status,
            expiresAt=hold.expires_at,
            createdAt=hold.created_at,
            items=[LineResultOut.of(result) for result in hold.results()],
            reference=hold.reference,
            committedAt=hold.committed_at,
            releasedAt=hold.released_at,
            expiredAt=hold.expired_at,
            reason=hold.reason,
            checkoutSessionId=hold.payment_session_id,
            paymentIntentId=hold.payment_intent_id,
            amountTotal=hold.amount_total,
            currency=hold.currency,
            buyer=hold.buyer,
            revision=hold.revision,
            metadata=hold.metadata,
            warnBeforeSeconds=hold.warn_before_seconds,
            archivedAt=hold.archived_at,
            paidElsewhere=hold.paid_elsewhere,
            ending=ending,
            holdToken=token if hold.status is HoldStatus.ACTIVE else None,
        )
