"""The query of the list of holds."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from api.requests import CheckoutSessionId, Cursor, PaymentIntentId, Reference
from core.json_model import Model
from domain.fields import Buyer, Matching, ShopId, Sku, VariantKey
from domain.holds import HoldStatus
from inventory.hold_search import HoldFilter

_STATUS = "|".join(HoldStatus)


class HoldsQuery(Model):
    """Which holds to list."""

    shop_id: ShopId
    status: (
        Annotated[
            str,
            Matching(f"({_STATUS})(,({_STATUS}))*", f"must be {_STATUS.replace('|', ', ')}, or several, with commas"),
            Field(description="Of this status, or of one of several, separated by commas.", examples=["active"]),
        ]
        | None
    ) = None
    reference: Reference | None = None
    buyer: Buyer | None = None
    sku: Sku | None = None
    variant_key: Annotated[VariantKey | None, Field(description="Of the item `sku`; '' without variants.")] = None
    payment_intent_id: PaymentIntentId | None = None
    checkout_session_id: CheckoutSessionId | None = None
    created_from: Annotated[AwareDatetime | None, Field(description="Created at this time or later.")] = None
    created_to: Annotated[AwareDatetime | None, Field(description="Created before this time.")] = None
    expires_to: Annotated[AwareDatetime | None, Field(description="With a deadline before this time.")] = None
    archived: Annotated[bool, Field(description="The archived holds instead of the others.")] = False
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    cursor: Cursor | None = None

    def filter(self) -> HoldFilter:
        """Return what is looked for."""
        return HoldFilter(
            statuses=tuple(HoldStatus(name) for name in (self.status or "").split(",") if name),
            reference=self.reference,
            buyer=self.buyer,
            sku=self.sku,
            variant_key=self.variant_key,
            payment_intent_id=self.payment_intent_id,
            checkout_session_id=self.checkout_session_id,
            created_from=self.created_from,
            created_to=self.created_to,
            expires_to=self.expires_to,
            archived=self.archived,
        )
