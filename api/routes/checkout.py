"""Checkout: hold the cart and open a page of Stripe's to pay on."""

import uuid

from fastapi import APIRouter, Request, Response

from api.auth import Authority, KnownCallersRoute
from api.dependencies import Context, context_of
from api.errors import Problem
from api.openapi import WRITE_ERRORS, errors, examples
from api.requests import CheckoutIn, merged
from api.responses import CheckoutOut
from api.routes.holds import Key, checked_key, checked_ttl, lifecycle_of
from api.routes.webhooks import payments_of
from core.settings import Mode
from holds.idempotency import hold_id_for, request_hash
from holds.payments_service import Payments
from holds.service import Wanted
from payments.session_params import Order, PaidLine, session_params

router = APIRouter(prefix="/api/checkout", tags=["checkout"], route_class=KnownCallersRoute)


@router.post(
    "/sessions",
    summary="Hold a cart and open a page to pay on",
    status_code=201,
    responses={
        200: {"model": CheckoutOut, "description": "A repeat: the hold and its page as they are now."},
        **errors(
            Problem.insufficient_stock,
            Problem.hold_exists,
            Problem.hold_not_active,
            Problem.idempotency_conflict,
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
    request: Request, response: Response, caller: Authority, body: CheckoutIn, idempotency_key: Key = None
) -> CheckoutOut:
    """Take the stock of every line, or of none, and open a Stripe Checkout Session for it.

    The page is closed before the stock is given back: nobody pays for what is gone. Repeated with the same `holdId` or
    `Idempotency-Key` it answers the same hold and page. In `validate_only` and under bypass the page is opened without
    a hold.
    """
    context, payments = context_of(request), payments_of(request)
    settings = context.settings
    key = checked_key(idempotency_key)
    lines = merged(body.items)
    ttl_seconds = checked_ttl(body.ttl_seconds, settings.ttl_seconds, settings.max_ttl_seconds)
    _ = payments.stripe  # nothing is held for a page that cannot be opened
    if settings.bypass:
        context.telemetry.warn("inventory_bypassed", route="checkout", shop_id=body.shop_id)
        return await _without_hold(context, payments, body, key, bypassed=True)
    hold_id = hold_id_for(body.shop_id, body.hold_id, key)
    order = _order(body, hold_id)
    wanted = Wanted(
        shop_id=body.shop_id,
        hold_id=hold_id,
        lines=lines,
        ttl_seconds=ttl_seconds,
        reference=body.reference,
        replace=body.replace,
        request_hash=request_hash(
            "checkout", body.shop_id, lines, body.ttl_seconds, body.reference, more=session_params(order)
        ),
        actor=caller.actor,
    )
    if settings.mode is Mode.VALIDATE_ONLY:
        held = await lifecycle_of(request).look_only(wanted)
        if held is None:
            return await _without_hold(context, payments, body, key or body.hold_id, bypassed=False)
    made, page = await payments.open_checkout(wanted, order)
    if not made.created:
        response.status_code = 200
    return CheckoutOut(
        holdId=hold_id,
        shopId=body.shop_id,
        checkoutSessionId=page.session_id if page else None,
        url=page.url if page else None,
        expiresAt=made.hold.expires_at,
        status=made.hold.status,
    )


async def _without_hold(
    context: Context, payments: Payments, body: CheckoutIn, key: str | None, *, bypassed: bool
) -> CheckoutOut:
    page = await payments.open_without_hold(
        _order(body, None), f"checkout:{body.shop_id}:unheld:{key or uuid.uuid4().hex}"
    )
    assert page.expires_at is not None  # noqa: S101 - every session ends
    return CheckoutOut(
        holdId=None,
        shopId=body.shop_id,
        checkoutSessionId=page.session_id,
        url=page.url,
        expiresAt=page.expires_at,
        mode=context.settings.mode,
        bypassed=bypassed,
    )


def _order(body: CheckoutIn, hold_id: str | None) -> Order:
    return Order(
        shop_id=body.shop_id,
        hold_id=hold_id,
        lines=[PaidLine(line.quantity, line.price, line.name, line.unit_amount, line.currency) for line in body.items],
        success_url=body.success_url,
        cancel_url=body.cancel_url,
        reference=body.reference,
        capture_method=body.capture_method,
        payment_method_types=body.payment_method_types,
        locale=body.locale,
        metadata=body.metadata,
    )
