"""The simulator's own API under `/_simulator`: what shoppers, banks and time do, faults, and the books. JSON."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dev.simulator import actions as shopper
from dev.simulator import checkout, refunds
from dev.simulator.account import World
from dev.simulator.api import base_url_of
from dev.simulator.config import Endpoint
from dev.simulator.errors import StripeError, invalid, refused
from dev.simulator.faults import ApiEffect, Fault, WebhookEffect
from dev.simulator.ids import new_request_id
from dev.simulator.ledger import intent_summary, payments, session_summary
from dev.simulator.methods import HOWS, How
from dev.simulator.records import Json
from dev.simulator.store import find

Handler = Callable[[World, Request, Json], Any]


def control_routes(world: World) -> list[Route]:
    """Return the routes of the control API."""
    return [
        Route(f"/_simulator{path}", _endpoint(world, handler), methods=[method])
        for method, path, handler in (
            ("GET", "/health", _health),
            ("GET", "/payments", _payments),
            ("GET", "/sessions", _sessions),
            ("GET", "/calls", _calls),
            ("POST", "/sessions/{id}/pay", _pay_session),
            ("POST", "/sessions/{id}/expire", _expire_session),
            ("POST", "/payment_intents/{id}/pay", _pay_intent),
            ("POST", "/payment_intents/{id}/authenticate", _authenticate),
            ("POST", "/payment_intents/{id}/settle", _settle),
            ("POST", "/payment_intents/{id}/dispute", _dispute),
            ("POST", "/refunds/{id}/settle", _settle_refund),
            ("GET", "/faults", _faults),
            ("POST", "/faults", _add_fault),
            ("DELETE", "/faults", _clear_faults),
            ("DELETE", "/faults/{id}", _remove_fault),
            ("GET", "/webhooks", _deliveries),
            ("POST", "/webhooks/release", _release),
            ("POST", "/webhooks/resend", _resend),
            ("PUT", "/webhooks/endpoints", _set_endpoints),
            ("POST", "/clock", _move_clock),
            ("POST", "/reset", _reset),
        )
    ]


def _endpoint(world: World, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        shopper.tick(world)
        try:
            body = await request.json() if await request.body() else {}
            if not isinstance(body, dict):
                raise invalid("The body must be a JSON object.")
            return JSONResponse(handler(world, request, body))
        except StripeError as error:
            return JSONResponse(error.body(new_request_id()), error.status)
        except (TypeError, ValueError, KeyError) as error:
            return JSONResponse({"error": {"message": repr(error)}}, 400)

    return endpoint


def _health(world: World, _request: Request, _body: Json) -> Json:
    return {"status": "ok", "now": world.clock.now()}


def _payments(world: World, _request: Request, _body: Json) -> list[Json]:
    return payments(world.store)


def _sessions(world: World, _request: Request, _body: Json) -> list[Json]:
    return [session_summary(session, world.store) for session in world.store.sessions.values()]


def _calls(world: World, _request: Request, _body: Json) -> list[Json]:
    return [asdict(call) for call in world.calls]


def _how(body: Json) -> How:
    how = body.get("how", "card")
    if how not in HOWS:
        raise invalid(f"how must be one of {', '.join(HOWS)}", param="how")
    return next(each for each in HOWS if each == how)


def _pay_session(world: World, request: Request, body: Json) -> Json:
    session = find(world.store.sessions, request.path_params["id"], "checkout.session", "id")
    late = next((each for each in shopper.LATES if each == body.get("late", "no")), None)
    if late is None:
        raise invalid(f"late must be one of {', '.join(shopper.LATES)}", param="late")
    shopper.pay(world, session, _how(body), late)
    return session_summary(session, world.store)


def _expire_session(world: World, request: Request, _body: Json) -> Json:
    session = find(world.store.sessions, request.path_params["id"], "checkout.session", "id")
    checkout.expire(world, session)
    return session_summary(session, world.store)


def _pay_intent(world: World, request: Request, body: Json) -> Json:
    intent = find(world.store.intents, request.path_params["id"], "payment_intent", "id")
    shopper.pay_intent(world, intent, _how(body), base_url_of(world, request))
    return intent_summary(intent, world.store)


def _authenticate(world: World, request: Request, body: Json) -> Json:
    intent = find(world.store.intents, request.path_params["id"], "payment_intent", "id")
    checkout.authenticate_shopper(world, intent, ok=body.get("ok", True))
    return intent_summary(intent, world.store)


def _settle(world: World, request: Request, body: Json) -> Json:
    intent = find(world.store.intents, request.path_params["id"], "payment_intent", "id")
    checkout.settle_later(world, intent, ok=body.get("ok", True))
    return intent_summary(intent, world.store)


def _dispute(world: World, request: Request, _body: Json) -> Json:
    intent = find(world.store.intents, request.path_params["id"], "payment_intent", "id")
    shopper.dispute(world, intent)
    return intent_summary(intent, world.store)


def _settle_refund(world: World, request: Request, body: Json) -> Json:
    refund = find(world.store.refunds, request.path_params["id"], "refund", "id")
    refunds.settle(world, refund, ok=body.get("ok", True))
    return intent_summary(world.store.intents[refund.payment_intent], world.store)


def _faults(world: World, _request: Request, _body: Json) -> list[Json]:
    return [asdict(rule) for rule in world.faults.rules.values()]


_CALLERS_FIELDS = {field.name for field in fields(Fault)} - {"id", "seen", "fired", "over"}
_NUMBER = int | float
_TYPES = {
    "skip": int,
    "times": int | None,
    "share": _NUMBER,
    "status": int,
    "stored": bool,
    "seconds": _NUMBER,
    "up_to": _NUMBER,
    "copies": int,
}
"""What the fields of a fault are; the others are text."""
_EFFECTS = {"api": ApiEffect.__args__, "webhook": WebhookEffect.__args__}  # type: ignore[attr-defined]


def _add_fault(world: World, _request: Request, body: Json) -> Json:
    if unknown := body.keys() - _CALLERS_FIELDS:
        raise invalid(f"A fault has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(_CALLERS_FIELDS))}.")
    if body.get("effect") not in _EFFECTS.get(str(body.get("on")), ()):
        raise invalid(f"on and effect must be one of {_EFFECTS}", param="effect")
    for name, value in body.items():
        if not isinstance(value, _TYPES.get(name, str)):
            raise invalid(f"{name} has the wrong type.", param=name)
    return asdict(world.faults.add(Fault(**{**body, "how": _how(body)})))


def _clear_faults(world: World, _request: Request, _body: Json) -> Json:
    world.faults.clear()
    return {"ok": True}


def _remove_fault(world: World, request: Request, _body: Json) -> Json:
    world.faults.remove(request.path_params["id"])
    return {"ok": True}


def _deliveries(world: World, _request: Request, _body: Json) -> list[Json]:
    return [
        {
            "event": delivery.event.id,
            "type": delivery.event.type,
            "object": delivery.event.object.get("id"),
            "about": delivery.event.chain,
            "endpoint": delivery.endpoint,
            "state": delivery.state,
            "answers": delivery.answers,
        }
        for delivery in world.webhooks.deliveries
    ]


def _release(world: World, _request: Request, body: Json) -> Json:
    return {"released": world.webhooks.release(body.get("event"))}


def _resend(world: World, _request: Request, body: Json) -> Json:
    world.webhooks.resend(find(world.store.events, str(body.get("event")), "event", "event"))
    return {"ok": True}


def _set_endpoints(world: World, _request: Request, body: Json) -> Json:
    given = [Endpoint(str(each["url"]), tuple(each.get("secrets", ()))) for each in body["endpoints"]]
    if len(given) < len(world.webhooks.endpoints):
        raise refused("Endpoints can be changed and added; what is on its way to one must keep it.")
    world.webhooks.endpoints = given
    return {"endpoints": [endpoint.url for endpoint in given]}


def _move_clock(world: World, _request: Request, body: Json) -> Json:
    if body.get("reset"):
        world.clock.reset()
    world.clock.advance(float(body.get("advance", 0)))
    world.changes += 1
    shopper.tick(world)
    return {"now": world.clock.now()}


def _reset(world: World, _request: Request, _body: Json) -> Json:
    world.reset()
    return {"ok": True}
