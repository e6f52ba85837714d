"""Checkout: hold the cart and open a Stripe Checkout Session to pay for it."""

import uuid

from fastapi import APIRouter, Request, Response

from api.auth import Authority, KnownCallersRoute
from api.checkout_requests import CheckoutIn
from api.dependencies import HoldsDep, PaymentsDep, SettingsDep, TelemetryDep
from api.disconnects import unless_gone
from api.hold_token import with_token
from api.openapi import WRITE_ERRORS, errors, examples
from api.orders import order_of
from api.parameters import IdempotencyKey, parse_key, parse_ttl, parse_warning
from api.problems import Problem
from api.requests import merged
from api.responses import CheckoutOut
from api.validate_only import validate_only
from core.settings import Mode, Settings
from holds.idempotency import hold_id_for, optional_parts, request_hash
from holds.model import HoldRequest
from holds.payments_service import PaymentsService
from payments.session_params import session_params

router = APIRouter(prefix="/api/checkout", tags=["checkout"], route_class=KnownCallersRoute)


@router.post(
    "/sessions",
    summary="Hold a cart and open a page to pay on",
    status_code=201,
    responses={
        200: {"model": CheckoutOut, "description": "A repeat: the hold and its page as they are now."},
        **errors(
            Problem.insufficient_stock,
            Problem.limit_exceeded,
            Problem.hold_exists,
            Problem.hold_not_active,
            Problem.idempotency_conflict,
            Problem.payment_in_progress,
            Problem.payment_provider_refused,
        ),
        **WRITE_ERRORS,
        **errors(Problem.invalid_request, Problem.checkout_refused),
        **errors(
            Problem.payments_not_configured,
            Problem.payment_provider_unavailable,
            Problem.inventory_unavailable,
        ),
    },
    openapi_extra=examples("checkout"),
)
async def open_checkout(
    *,
    request: Request,
    response: Response,
    caller: Authority,
    body: CheckoutIn,
    idempotency_key: IdempotencyKey = None,
    settings: SettingsDep,
    telemetry: TelemetryDep,
    holds: HoldsDep,
    payments: PaymentsDep,
) -> CheckoutOut:
    """Take the stock of every line, or of none, and open a Stripe Checkout Session for it.

    The session is closed before the stock is released: nobody pays for stock that is gone. Repeated with the same
    `holdId` or `Idempotency-Key` it answers the same hold and session. In `validate_only` and under bypass the session
    is opened without a hold.
    """
    key = parse_key(idempotency_key)
    lines = merged(body.items)
    ttl_seconds = parse_ttl(body.ttl_seconds, settings)
    warn_before = parse_warning(body.warn_before_seconds, ttl_seconds)
    payments.require_stripe(body.shop_id)  # nothing is held for a session that cannot be opened
    if settings.bypass:
        telemetry.warn("inventory_bypassed", route="checkout", shop_id=body.shop_id)
        return await _without_hold(settings, payments, body, key)
    hold_id = hold_id_for(body.shop_id, body.hold_id, key)
    order = order_of(body, body.shop_id, hold_id, body.reference)
    wanted = HoldRequest(
        shop_id=body.shop_id,
        hold_id=hold_id,
        lines=lines,
        ttl_seconds=ttl_seconds,
        reference=body.reference,
        replace=body.replace,
        request_hash=request_hash(
            "checkout",
            body.shop_id,
            lines,
            body.ttl_seconds,
            body.reference,
            more=session_params(order) | optional_parts(body.browser_extensions, body.buyer, body.warn_before_seconds),
        ),
        actor=caller.actor,
        browser_extensions=body.browser_extensions,
        named=(body.hold_id or key or body.reference) is not None,
        buyer=body.buyer,
        warn_before_seconds=warn_before,
    )
    if settings.mode is Mode.VALIDATE_ONLY and await validate_only(holds, telemetry, wanted) is None:
        return await _without_hold(settings, payments, body, key or body.hold_id)
    opening = payments.open_checkout(wanted, order)
    result, session = await opening if wanted.named else await unless_gone(request, opening)
    if not result.created:
        response.status_code = 200
    return CheckoutOut(
        holdId=hold_id,
        shopId=body.shop_id,
        checkoutSessionId=session.session_id if session else None,
        url=session.url if session else None,
        clientSecret=session.client_secret if session else None,
        amountTotal=session.amount_total if session else None,
        currency=session.currency if session else None,
        expiresAt=result.hold.expires_at,
        status=result.hold.status,
        holdToken=with_token(settings, result.hold).hold_token,
    )


async def _without_hold(
    settings: Settings, payments: PaymentsService, body: CheckoutIn, key: str | None
) -> CheckoutOut:
    session = await payments.open_without_hold(
        order_of(body, body.shop_id, None, body.reference), f"checkout:{body.shop_id}:unheld:{key or uuid.uuid4().hex}"
    )
    assert session.expires_at is not None  # noqa: S101 - every session expires
    return CheckoutOut(
        holdId=None,
        shopId=body.shop_id,
        checkoutSessionId=session.session_id,
        url=session.url,
        clientSecret=session.client_secret,
        amountTotal=session.amount_total,
        currency=session.currency,
        expiresAt=session.expires_at,
        mode=settings.mode,
        bypassed=settings.bypass,
    )
