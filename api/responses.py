"""The bodies of answers: JSON in camelCase, times in UTC with a Z."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from api.readiness_checks import Part, Reason
from api.stock_responses import BelowHeldOut, BelowZeroOut, FileProblemOut, NameOut, TooManyOut
from core.json_model import Model, Record
from domain.holds import Hold, HoldStatus, ShortageReason
from domain.limits import LimitName
from holds.hold_json import HoldOut, LineOut
from holds.stock_json import ItemOut


class NotHeldOut(Model):
    """The answer to a request that made no hold, because of the mode or the bypass."""

    hold_id: None = None
    mode: str
    bypassed: bool = False


class CheckoutOut(Model):
    """A hold and its Checkout Session."""

    hold_id: Annotated[str | None, Field(description="Null in `validate_only` and under bypass: nothing is held.")]
    shop_id: str
    checkout_session_id: str | None
    url: Annotated[
        str | None,
        Field(
            description="Redirect the shopper to it. Null once the hold has ended, and where there is a clientSecret."
        ),
    ]
    client_secret: Annotated[
        str | None, Field(description="For Stripe.js, with `stripe.ui_mode` `embedded_page` or `elements`.")
    ] = None
    amount_total: Annotated[
        int | None, Field(description="What it costs so far, in the currency's smallest unit: before shipping and tax.")
    ] = None
    currency: str | None = None
    expires_at: Annotated[datetime, Field(description="The hold's deadline; without a hold, the session's.")]
    status: HoldStatus | None = None
    mode: str | None = None
    bypassed: bool = False
    hold_token: Annotated[str | None, Field(description="As in the answer to a new hold.")] = None


PaymentState = Literal["none", "open", "processing", "paid"]


class BrowserHoldOut(Model):
    """A hold as its shopper's browser sees it. Times are ISO 8601 in UTC."""

    hold_id: str
    shop_id: str
    status: HoldStatus
    items: list[LineOut]
    created_at: datetime
    expires_at: datetime
    expires_in_seconds: Annotated[int, Field(description="By the server's clock, as of this answer; 0 once it ended.")]
    payment: Annotated[
        PaymentState,
        Field(
            description="`open`: a payment is attached and can be made. `processing`: a bank debit or voucher is under "
            "way. `paid`: the hold is committed."
        ),
    ]

    @classmethod
    def of_hold(cls, hold: Hold, *, expires_in_seconds: int, payment: PaymentState) -> Self:
        """Build it from a hold."""
        return cls(
            holdId=hold.hold_id,
            shopId=hold.shop_id,
            status=hold.status,
            items=[LineOut.of(line) for line in hold.lines],
            createdAt=hold.created_at,
            expiresAt=hold.expires_at,
            expiresInSeconds=expires_in_seconds,
            payment=payment,
        )


class ReceivedOut(Model):
    """The event was received."""

    received: Literal[True] = True
    result: Annotated[str, Field(description="What was done, for people.")]


class ValidOut(Model):
    """The cart is available now."""

    ok: Literal[True] = True
    bypassed: Annotated[bool, Field(description="True: nothing was checked, SKIP_INVENTORY_VALIDATION is set.")] = False
    hold_id: None = None


class HoldsOut(Model):
    """A page of holds, newest first."""

    holds: list[HoldOut]
    next_cursor: str | None


class ItemsOut(Model):
    """The items, as they are now."""

    items: list[ItemOut]


class ItemsPageOut(Model):
    """A page of items, by sku and variant."""

    items: list[ItemOut]
    next_cursor: str | None


class AliveOut(Model):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class CheckOut(Model):
    """The check of one dependency."""

    status: Literal["ok", "failed", "not needed"]
    reason: Reason | None = None
    """Why it failed, for programs; `detail` is for people."""
    detail: str | None = None


class PartOut(Model):
    """One part that holds need."""

    status: Annotated[
        Literal["ok", "failed", "unknown"],
        Field(description="`unknown`: cannot be known while another part fails."),
    ]
    needed: Annotated[bool, Field(description="Whether its failure makes this process `unavailable`.")]
    reason: Annotated[Reason | None, Field(description="Why it failed, for programs.")] = None
    detail: Annotated[str | None, Field(description="For people.")] = None
    fix: Annotated[str | None, Field(description="The section of the documentation with the fix.")] = None


class HealthOut(Model):
    """The health of this process. `degraded`: it serves, but with restrictions."""

    status: Literal["ok", "degraded", "unavailable"]
    mode: str
    bypassed: bool
    version: str
    failing: Annotated[Part | None, Field(description="The part that failed; of several the cause.")]
    checks: dict[str, CheckOut]
    parts: Annotated[
        dict[Part, PartOut], Field(description="Each part that holds need, as of at most a second ago; causes first.")
    ]


class FieldProblem(Model):
    """An invalid field of the request, and what is allowed."""

    field: str
    message: str


class ShortOut(Record):
    """An item of which fewer units are available than were requested, over all lines."""

    sku: str
    variant_key: str
    requested: int
    available: int
    reason: Annotated[
        ShortageReason | None,
        Field(
            description="`unknown_item`: the shop has no item of this sku and variant. `retired`: no new hold can have "
            "it. `insufficient`: there are too few."
        ),
    ] = None


class LimitOut(Record):
    """A limit that the request would pass."""

    limit: LimitName
    most: int
    has: Annotated[int, Field(description="What the buyer has already: units, of `maxActiveHoldsPerBuyer` holds.")]
    requested: int
    sku: Annotated[str | None, Field(description="Null where the limit is the shop's.")] = None
    variant_key: str | None = None


class AmendedOut(HoldOut):
    """A hold after a change."""

    closed_checkout_session_id: Annotated[
        str | None,
        Field(
            description="The page that was closed for this change: it had the old items. Unless one was opened since, "
            "the shopper needs a new one, from `/checkout`."
        ),
    ] = None


class ErrorOut(BaseModel):
    """The one shape of every error; docs/errors.md lists them."""

    model_config = ConfigDict(extra="allow")

    error: Annotated[str, Field(description="The kind of error.")]
    code: str | None = None
    message: Annotated[str, Field(description="For people.")]
    fields: Annotated[list[FieldProblem] | None, Field(description="422: the invalid fields.")] = None
    items: Annotated[
        list[ShortOut | BelowHeldOut | BelowZeroOut | TooManyOut | NameOut] | None,
        Field(description="The items concerned."),
    ] = None
    limits: Annotated[list[LimitOut] | None, Field(description="The limits that would be passed.")] = None
    problems: Annotated[
        list[FileProblemOut] | None, Field(description="422 of an import: the first 100 errors in the file.")
    ] = None
    hold_id: Annotated[str | None, Field(alias="holdId", description="The hold concerned.")] = None
    status: Annotated[HoldStatus | None, Field(description="That hold's status.")] = None
    retry_after: Annotated[
        int | None,
        Field(alias="retryAfter", description="When to repeat the request, in milliseconds; see Retry-After."),
    ] = None
