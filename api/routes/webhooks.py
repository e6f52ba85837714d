"""Stripe's webhook: whose word it is decides its signature, not a token."""

from fastapi import APIRouter, Request

from api.dependencies import context_of
from api.errors import ApiError, CrowdedError, Problem
from api.openapi import errors
from api.responses import ReceivedOut
from core.database import DatabaseBusyError
from holds.payments_service import Payments
from payments.errors import InvalidEventError, InvalidSignatureError
from payments.events import parse_event, verify_signature

router = APIRouter(prefix="/api/webhooks", tags=["webhooks"])

_EVENT = {
    "id": "evt_1Pq2Rs",
    "object": "event",
    "type": "payment_intent.succeeded",
    "data": {
        "object": {
            "id": "pi_3Pq2Rs",
            "object": "payment_intent",
            "metadata": {"inventory_reservation_id": "h_5f2c9a", "shop_id": "demo"},
        }
    },
}
_LATER = frozenset({Problem.inventory_timeout, Problem.inventory_busy, Problem.inventory_unavailable})


def payments_of(request: Request) -> Payments:
    """Return the process's Payments."""
    payments: Payments = request.app.state.payments
    return payments


@router.post(
    "/stripe",
    summary="Stripe's events",
    responses=errors(
        Problem.invalid_signature,
        Problem.invalid_event,
        Problem.body_too_large,
        Problem.webhook_not_configured,
        Problem.inventory_unavailable,
    ),
    openapi_extra={
        "parameters": [
            {
                "name": "Stripe-Signature",
                "in": "header",
                "required": True,
                "schema": {"type": "string"},
                "description": "`t=…,v1=…`: HMAC-SHA256 over the raw body, not older than 300 s.",
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}, "example": _EVENT}},
        },
    },
)
async def hear_stripe(request: Request) -> ReceivedOut:
    """Take in a snapshot event. It is acknowledged once what follows from it is durable, never before.

    Repeats and events of other shops, holds or kinds are acknowledged too, and do nothing.
    """
    context = context_of(request)
    secrets = [secret.get_secret_value() for secret in context.settings.stripe_webhook_secrets]
    if not secrets:
        raise ApiError(Problem.webhook_not_configured)
    body = await request.body()
    try:
        verify_signature(body, request.headers.get("Stripe-Signature"), secrets)
        event = parse_event(body)
    except InvalidSignatureError as error:
        context.telemetry.stripe_event("unverified", "invalid_signature", known=False, problem=str(error))
        raise ApiError(Problem.invalid_signature) from error
    except InvalidEventError as error:
        context.telemetry.stripe_event("malformed", "malformed", known=False, problem=str(error))
        raise ApiError(Problem.invalid_event, f"No event of Stripe's: {error}.") from error
    try:
        return ReceivedOut(result=await payments_of(request).hear(event))
    except (CrowdedError, DatabaseBusyError) as error:
        raise ApiError(Problem.inventory_unavailable, "Too many want the same at this moment.") from error
    except ApiError as error:
        if error.problem in _LATER:
            raise ApiError(Problem.inventory_unavailable, error.message) from error
        raise
