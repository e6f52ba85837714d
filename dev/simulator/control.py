"""The simulator's own API under `/_simulator`: actions of shoppers, banks and time, faults, and the ledger. JSON."""

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields
from inspect import isawaitable
from typing import Any, get_args
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dev.simulator import actions, approvals, checkout, refunds
from dev.simulator.account import Account
from dev.simulator.api import base_url_of
from dev.simulator.config import Endpoint
from dev.simulator.entries import enter
from dev.simulator.errors import StripeError, invalid, refused
from dev.simulator.faults import ApiEffect, Fault, WebhookEffect
from dev.simulator.forms import Params
from dev.simulator.ids import new_request_id
from dev.simulator.ledger import intent_summary, payments, session_summary
from dev.simulator.methods import PAY_METHODS, PayMethod
from dev.simulator.records import Json
from dev.simulator.store import find

Handler = Callable[[Account, Request, Json], Any]


def control_routes(account: Account) -> list[Route]:
    """Return the routes of the control API."""
    return [
        Route(f"/_simulator{path}", _endpoint(account, handler), methods=[method])
        for method, path, handler in (
            ("GET", "/health", _health),
            ("GET", "/payments", _payments),
            ("GET", "/sessions", _sessions),
            ("GET", "/calls", _calls),
            ("POST", "/sessions/{id}/pay", _pay_session),
            ("POST", "/sessions/{id}/enter", _enter),
            ("POST", "/sessions/{id}/expire", _expire_session),
            ("POST", "/sessions/{id}/recover", _recover_session),
            ("POST", "/payment_intents/{id}/pay", _pay_intent),
            ("POST", "/payment_intents/{id}/authenticate", _authenticate),
            ("POST", "/payment_intents/{id}/settle", _settle),
            ("POST", "/payment_intents/{id}/fund", _fund),
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
            ("PUT", "/accounts", _set_accounts),
            ("GET", "/approvals", _approvals),
            ("PUT", "/approvals", _set_approvals),
            ("POST", "/clock", _move_clock),
            ("POST", "/reset", _reset),
        )
    ]


def _endpoint(account: Account, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        actions.tick(account)
        try:
            _require_own_caller(account, request)
            owner = account.owner_of(request.path_params.get("id"))
            body = await request.json() if await request.body() else {}
            if not isinstance(body, dict):
                raise invalid("The body must be a JSON object.")
            answer = handler(owner, request, body)
            return JSONResponse(await answer if isawaitable(answer) else answer)
        except StripeError as error:
            return JSONResponse(error.body(new_request_id()), error.status)
        except (TypeError, ValueError, KeyError) as error:
            return JSONResponse({"error": {"message": repr(error)}}, 400)

    return endpoint


def _require_own_caller(account: Account, request: Request) -> None:
    """Refuse what a page of another site sends from a browser: by its origin, or by a name that it made ours."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise StripeError(
            403, f"{origin} is another origin; the control API is for programs and the simulator's pages."
        )
    host = request.url.hostname or ""
    if host in ("localhost", urlsplit(account.config.public_url or "").hostname):
        return
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise StripeError(403, f"{host!r} is not a name of this simulator; --public-url sets one.") from None


def _health(account: Account, _request: Request, _body: Json) -> Json:
    return {"status": "ok", "now": account.clock.now()}


def _payments(account: Account, _request: Request, _body: Json) -> list[Json]:
    return payments(account.all_records())


def _sessions(account: Account, _request: Request, _body: Json) -> list[Json]:
    records = account.all_records()
    return [session_summary(session, records) for session in records.sessions.values()]


def _calls(account: Account, _request: Request, _body: Json) -> list[Json]:
    return [asdict(call) for call in account.calls]


def _how(body: Json) -> PayMethod:
    how = body.get("how", "card")
    if how not in PAY_METHODS:
        raise invalid(f"how must be one of {', '.join(PAY_METHODS)}", param="how")
    return next(each for each in PAY_METHODS if each == how)


async def _pay_session(account: Account, request: Request, body: Json) -> Json:
    session = find(account.store.sessions, request.path_params["id"], "checkout.session", "id")
    late = next((each for each in actions.LATES if each == body.get("late", "no")), None)
    if late is None:
        raise invalid(f"late must be one of {', '.join(actions.LATES)}", param="late")
    how = _how(body)
    await approvals.require(account, session)
    actions.pay(account, session, how, late)
    return session_summary(session, account.store)


def _enter(account: Account, request: Request, body: Json) -> Json:
    session = find(account.store.sessions, request.path_params["id"], "checkout.session", "id")
    enter(account, session, Params({name: str(value) for name, value in body.items()}))
    return session_summary(session, account.store)


def _expire_session(account: Account, request: Request, _body: Json) -> Json:
    session = find(account.store.sessions, request.path_params["id"], "checkout.session", "id")
    checkout.expire(account, session)
    return session_summary(session, account.store)


def _recover_session(account: Account, request: Request, _body: Json) -> Json:
    session = find(account.store.sessions, request.path_params["id"], "checkout.session", "id")
    return session_summary(checkout.recover(account, session), account.store)


def _pay_intent(account: Account, request: Request, body: Json) -> Json:
    intent = find(account.store.intents, request.path_params["id"], "payment_intent", "id")
    actions.pay_intent(account, intent, _how(body), base_url_of(account, request))
    return intent_summary(intent, account.store)


def _authenticate(account: Account, request: Request, body: Json) -> Json:
    intent = find(account.store.intents, request.path_params["id"], "payment_intent", "id")
    checkout.authenticate_shopper(account, intent, ok=body.get("ok", True))
    return intent_summary(intent, account.store)


def _settle(account: Account, request: Request, body: Json) -> Json:
    intent = find(account.store.intents, request.path_params["id"], "payment_intent", "id")
    checkout.settle_later(account, intent, ok=body.get("ok", True))
    return intent_summary(intent, account.store)


def _fund(account: Account, request: Request, body: Json) -> Json:
    intent = find(account.store.intents, request.path_params["id"], "payment_intent", "id")
    amount = body.get("amount")
    if not isinstance(amount, int) or isinstance(amount, bool):
        raise invalid("amount must be a whole number.", param="amount")
    checkout.fund(account, intent, amount)
    return intent_summary(intent, account.store)


def _dispute(account: Account, request: Request, _body: Json) -> Json:
    intent = find(account.store.intents, request.path_params["id"], "payment_intent", "id")
    actions.dispute(account, intent)
    return intent_summary(intent, account.store)


def _settle_refund(account: Account, request: Request, body: Json) -> Json:
    refund = find(account.store.refunds, request.path_params["id"], "refund", "id")
    refunds.settle(account, refund, ok=body.get("ok", True))
    return intent_summary(account.store.intents[refund.payment_intent], account.store)


def _faults(account: Account, _request: Request, _body: Json) -> list[Json]:
    return [asdict(rule) for rule in account.faults.rules.values()]


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
"""The types of the fields of a fault; the others are text."""
_EFFECTS = {"api": get_args(ApiEffect), "webhook": get_args(WebhookEffect)}


def _add_fault(account: Account, _request: Request, body: Json) -> Json:
    if unknown := body.keys() - _CALLERS_FIELDS:
        raise invalid(f"A fault has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(_CALLERS_FIELDS))}.")
    if body.get("effect") not in _EFFECTS.get(str(body.get("on")), ()):
        raise invalid(f"on and effect must be one of {_EFFECTS}", param="effect")
    for name, value in body.items():
        if not isinstance(value, _TYPES.get(name, str)):
            raise invalid(f"{name} has the wrong type.", param=name)
    return asdict(account.faults.add(Fault(**{**body, "how": _how(body)})))


def _clear_faults(account: Account, _request: Request, _body: Json) -> Json:
    account.faults.clear()
    return {"ok": True}


def _remove_fault(account: Account, request: Request, _body: Json) -> Json:
    account.faults.remove(request.path_params["id"])
    return {"ok": True}


def _deliveries(account: Account, _request: Request, _body: Json) -> list[Json]:
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
        for delivery in account.webhooks.deliveries
    ]


def _release(account: Account, _request: Request, body: Json) -> Json:
    return {"released": account.webhooks.release(body.get("event"))}


def _resend(account: Account, _request: Request, body: Json) -> Json:
    account.webhooks.resend(find(account.all_records().events, str(body.get("event")), "event", "event"))
    return {"ok": True}


def _set_endpoints(account: Account, _request: Request, body: Json) -> Json:
    given = [
        Endpoint(
            str(each["url"]),
            tuple(each.get("secrets", ())),
            connect=bool(each.get("connect", False)),
            account=each.get("account"),
        )
        for each in body["endpoints"]
    ]
    if len(given) < len(account.webhooks.endpoints):
        raise refused("Endpoints can be changed and added; what is on its way to one must keep it.")
    account.webhooks.endpoints = given
    return {"endpoints": [endpoint.url for endpoint in given]}


def _set_accounts(account: Account, _request: Request, body: Json) -> Json:
    account.connected_ids = tuple(map(str, body.get("accounts", ())))
    account.own_keys = tuple((str(key), str(owner)) for key, owner in body.get("keys", {}).items())
    account.webhooks.own_accounts = frozenset(owner for _, owner in account.own_keys)
    return {"accounts": account.connected_ids, "keys": dict(account.own_keys)}


def _approvals(account: Account, _request: Request, _body: Json) -> list[Json]:
    return [asdict(asked) for asked in account.asked]


def _set_approvals(account: Account, _request: Request, body: Json) -> Json:
    url = body.get("url")
    account.approvals = None if url is None else Endpoint(str(url), tuple(body.get("secrets", ())))
    return {"url": url}


def _move_clock(account: Account, _request: Request, body: Json) -> Json:
    if body.get("reset"):
        account.clock.reset()
    account.clock.advance(float(body.get("advance", 0)))
    account.changes += 1
    actions.tick(account)
    return {"now": account.clock.now()}


def _reset(account: Account, _request: Request, _body: Json) -> Json:
    account.reset()
    return {"ok": True}
