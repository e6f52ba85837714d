"""Pay for an existing hold: open another Checkout Session, in the place of an earlier one."""

import hashlib

from fastapi import APIRouter, Response

from api.auth import Authority, KnownCallersRoute
from api.dependencies import AmendmentsDep, HoldsDep, PaymentsDep, SettingsDep
from api.hold_token import with_token
from api.openapi import NOT_FOUND, WRITE_ERRORS, errors, examples
from api.orders import order_of
from api.parameters import HoldPath, IdempotencyKey, ShopPath, parse_key
from api.problems import Problem
from api.requests import PageIn, merged
from api.responses import CheckoutOut
from domain.holds import HoldKey
from holds.idempotency import amendment_id, request_hash
from payments.session_params import of_hold, session_params
from workflows.messages import Amend, Checkout

router = APIRouter(prefix="/api/inventory/holds", tags=["checkout"], route_class=KnownCallersRoute)


@router.post(
    "/{shopId}/{holdId}/checkout",
    summary="Open a page to pay for a hold",
    status_code=201,
    responses={
        200: {"model": CheckoutOut, "description": "A repeat with the same `Idempotency-Key`: the same page."},
        **NOT_FOUND,
        **errors(
            Problem.insufficient_stock,
            Problem.limit_exceeded,
            Problem.hold_not_active,
            Problem.idempotency_conflict,
            Problem.payment_open,
            Problem.payment_in_progress,
            Problem.payment_provider_refused,
        ),
        **WRITE_ERRORS,
        **errors(Problem.invalid_request, Problem.checkout_refused),
        **errors(Problem.payments_not_configured, Problem.payment_provider_unavailable, Problem.inventory_unavailable),
    },
    openapi_extra=examples("another_checkout"),
)
async def pay_for_hold(
    *,
    response: Response,
    caller: Authority,
    shop_id: ShopPath,
    hold_id: HoldPath,
    body: PageIn,
    idempotency_key: IdempotencyKey = None,
    holds: HoldsDep,
    payments: PaymentsDep,
    amendments: AmendmentsDep,
    settings: SettingsDep,
) -> CheckoutOut:
    """Close an open page of Holdfast's own and open a new one; the deadline stays.

    Where `items` differ from those of the hold, the hold is changed to them in the same step. If Stripe refuses the
    new page, the hold goes on without one.
    """
    payments.require_stripe()
    key = HoldKey(shop_id, hold_id)
    reference = (await holds.read(key)).reference
    lines = merged(body.items)
    request_id = amendment_id(parse_key(idempotency_key))
    page = hashlib.sha256(request_id.encode()).hexdigest()[:32]
    params = session_params(order_of(body, shop_id, hold_id, reference, page=page))
    asked = {name: value for name, value in params.items() if name != "client_reference_id"}  # it may have changed
    change = Amend(
        request_id=request_id,
        request_hash=request_hash("hold-checkout", shop_id, lines, None, None, more={"hold": hold_id, "page": asked}),
        actor=caller.actor,
        lines=lines,
        checkout=Checkout(of_hold(params, reference)),
    )
    opened = await amendments.open_checkout(key, change)
    if not opened.created:
        response.status_code = 200
    return CheckoutOut(
        holdId=hold_id,
        shopId=shop_id,
        checkoutSessionId=opened.session.session_id,
        url=opened.session.url,
        expiresAt=opened.hold.expires_at,
        status=opened.hold.status,
        holdToken=with_token(settings, opened.hold).hold_token,
    )
