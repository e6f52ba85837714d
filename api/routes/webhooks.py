"""Stripe's webhook. Its signature authenticates it, not a token."""

import logging

from fastapi import APIRouter, Request

from api.admission import Importance
from api.dependencies import AdmissionDep, PaymentsDep, SettingsDep, TelemetryDep, resources_of
from api.errors import ApiError
from api.openapi import errors, signed_by_stripe
from api.problems import Problem
from api.responses import ReceivedOut
from core.database import DatabaseBusyError
from domain.smoke import is_smoke
from holds.errors import RequestTimeoutError, TemporalBusyError, UnavailableError
from inventory.moments import note_stripe_event
from payments.errors import InvalidEventError, InvalidSignatureError
from payments.events import HANDLED_EVENT_TYPES, parse_event, verify_signature

router = APIRouter(prefix="/api/webhooks", tags=["webhooks"])

_EVENT = {
    "id": "evt_1Pq2Rs",
    "object": "event",
    "type": "payment_intent.succeeded",
    "livemode": False,
    "data": {
        "object": {
            "id": "pi_3Pq2Rs",
            "object": "payment_intent",
            "metadata": {"inventory_reservation_id": "h_5f2c9a", "shop_id": "demo"},
        }
    },
}


@router.post(
    "/stripe",
    operation_id="hear_stripe",  # part of the contract: generated clients name their method after it
    summary="Stripe's events",
    responses=errors(
        Problem.invalid_signature,
        Problem.invalid_event,
        Problem.body_too_large,
        Problem.overloaded,
        Problem.webhook_not_configured,
        Problem.inventory_unavailable,
    ),
    openapi_extra=signed_by_stripe(_EVENT),
)
async def receive_stripe_event(
    request: Request, settings: SettingsDep, telemetry: TelemetryDep, payments: PaymentsDep, admission: AdmissionDep
) -> ReceivedOut:
    """Receive a snapshot event. It is acknowledged once its effect is durable, never before.

    Repeats and events of other shops, holds, kinds, accounts or of the other mode (test or live) are acknowledged
    too, and do nothing.
    """
    of_shops = [secret for account in settings.shop_accounts.values() for secret in account.webhook_secret_file]
    secrets = [secret.get_secret_value() for secret in [*settings.stripe_webhook_secrets, *of_shops]]
    if not secrets:
        raise ApiError(Problem.webhook_not_configured)
    body = await request.body()
    try:
        secret = verify_signature(body, request.headers.get("Stripe-Signature"), secrets)
        event = parse_event(body)
    except InvalidSignatureError as error:
        telemetry.stripe_event("unverified", "invalid_signature", known=False, problem=str(error))
        if error.by_another_secret:
            telemetry.warn("inventory_webhook_other_secret", problem="signed with another STRIPE_WEBHOOK_SECRET")
        raise ApiError(Problem.invalid_signature) from error
    except InvalidEventError as error:
        telemetry.stripe_event("malformed", "malformed", known=False, problem=str(error))
        raise ApiError(Problem.invalid_event, f"Not an event of Stripe's: {error}.") from error
    shop_id = event.hold.shop_id if event.hold else ""
    try:
        async with admission.admitted(Importance.PAID, shop_id, request) as passage:
            try:
                received = await payments.receive_event(event, secret)
            except RequestTimeoutError:
                passage.timed_out = True
                raise
            passage.did_its_work = received.result == "told"
    except (TemporalBusyError, DatabaseBusyError, RequestTimeoutError) as error:  # 503, so that Stripe repeats it
        raise UnavailableError("The event could not be processed in time.") from error
    if received.result != "wrong_mode" and not is_smoke(shop_id):
        await note_stripe_event(resources_of(request).engine)
    telemetry.stripe_event(
        event.type,
        received.result,
        known=event.type in HANDLED_EVENT_TYPES,
        level=logging.INFO if is_smoke(shop_id) else received.level,
        livemode=event.livemode,
        event_id=event.event_id,
        about=event.object_id,
        shop_id=shop_id or None,
        hold_id=event.hold.hold_id if event.hold else None,
        account=event.account,
    )
    return ReceivedOut(result=received.result)
