"""Stripe's question whether an order's payment may be confirmed. Its signature authenticates it, not a token."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from api.dependencies import ApprovalsDep, SettingsDep, TelemetryDep
from api.errors import ApiError
from api.openapi import errors, signed_by_stripe
from api.problems import Problem
from holds.errors import RequestTimeoutError, UnavailableError
from payments.approvals import ORDER_APPROVAL, parse_approval
from payments.errors import InvalidEventError, InvalidSignatureError
from payments.events import verify_signature

router = APIRouter(prefix="/api/checkout", tags=["checkout"])


class DeclinedOut(BaseModel):
    """Why the payment is declined."""

    reason: str = Field(description="A sentence for the shopper.")


class ManualApprovalOut(BaseModel):
    """The decision."""

    type: Literal["approved", "declined"]
    declined: DeclinedOut | None = None


class ApprovalOut(BaseModel):
    """The answer, with Stripe's own names. Empty for a request that asks for no approval."""

    manual_approval_details: ManualApprovalOut | None = None


_REQUEST = {
    "id": "dcr_1Pq2Rs",
    "type": ORDER_APPROVAL,
    "livemode": False,
    "context": "acct_1Pq2Rs",
    "data": {
        "currency": "eur",
        "amount_total": 1999,
        "line_items_details": [{"id": "li_1Pq2Rs", "name": "T-shirt", "quantity": 1, "unit_amount": 1999}],
        "checkout_session": "cs_test_a1B2",
        "metadata": {"inventory_reservation_id": "h_5f2c9a", "shop_id": "demo"},
    },
}


@router.post(
    "/approvals",
    summary="May this payment be confirmed?",
    response_model_exclude_none=True,
    responses=errors(
        Problem.invalid_signature,
        Problem.invalid_event,
        Problem.body_too_large,
        Problem.approval_not_configured,
        Problem.inventory_unavailable,
    ),
    openapi_extra=signed_by_stripe(_REQUEST),
)
async def approve_payment(
    request: Request, settings: SettingsDep, telemetry: TelemetryDep, approvals: ApprovalsDep
) -> ApprovalOut:
    """Answer Stripe's order approval hook: yes only while the hold is active and lives CHECKOUT_APPROVAL_SECONDS more.

    It changes nothing, so a repeat is answered by the hold as it is then. Requests of other types get `{}`.
    """
    secrets = [secret.get_secret_value() for secret in settings.stripe_approval_secrets]
    if not secrets:
        raise ApiError(Problem.approval_not_configured)
    body = await request.body()
    try:
        verify_signature(body, request.headers.get("Stripe-Signature"), secrets)
        asked = parse_approval(body)
    except InvalidSignatureError as error:
        telemetry.checkout_approval("invalid_signature", in_order=False, problem=str(error))
        raise ApiError(Problem.invalid_signature) from error
    except InvalidEventError as error:
        telemetry.checkout_approval("malformed", in_order=False, problem=str(error))
        raise ApiError(Problem.invalid_event, f"Not a request of Stripe's: {error}.") from error
    if not asked.asks_for_approval:
        telemetry.checkout_approval("ignored", in_order=True, stripe_request_id=asked.request_id, type=asked.type)
        return ApprovalOut()
    try:
        decided = await approvals.decide(asked)
    except RequestTimeoutError as error:
        raise UnavailableError("The order could not be checked in time.") from error
    known = decided.hold.key if decided.hold else asked.hold
    telemetry.checkout_approval(
        decided.result,
        in_order=decided.hold is not None,
        stripe_request_id=asked.request_id,
        shop_id=known.shop_id if known else None,
        hold_id=known.hold_id if known else None,
        payment_id=asked.intent_id or asked.session_id,
    )
    if decided.reason is None:
        return ApprovalOut(manual_approval_details=ManualApprovalOut(type="approved"))
    declined = DeclinedOut(reason=decided.reason)
    return ApprovalOut(manual_approval_details=ManualApprovalOut(type="declined", declined=declined))
