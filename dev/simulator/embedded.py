"""The frames that a shop's own page shows, the stand-in for Stripe.js, and a shop's page that uses them."""

import json
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from dev.simulator import actions, pay_html
from dev.simulator.account import Account
from dev.simulator.assets import COMPLETE_JS, ELEMENT_JS, SHOP_JS, STRIPE_JS
from dev.simulator.entries import enter
from dev.simulator.errors import StripeError, missing, refused
from dev.simulator.forms import Params
from dev.simulator.html import document, message
from dev.simulator.methods import PAY_METHODS
from dev.simulator.page_answers import answer_page, endpoint
from dev.simulator.pay_page import offered_ways, pay, pay_page
from dev.simulator.records import Json, Session
from dev.simulator.shapes import render
from dev.simulator.store import find

_SCRIPTS = {
    "/stripe.js": STRIPE_JS,
    "/c/complete.js": COMPLETE_JS,
    "/c/element.js": ELEMENT_JS,
    "/shop/shop.js": SHOP_JS,
}


def embedded_routes(account: Account) -> list[Route]:
    """Return the routes of the frames, of the scripts and of the shop's page."""
    routes = [
        Route(path, endpoint(account, handler), methods=[method])
        for method, path, handler in (
            ("GET", "/c/embed/{secret}", _embed),
            ("POST", "/c/embed/{secret}", _pay_embedded),
            ("GET", "/c/element/{secret}", _element),
            ("POST", "/c/element/{secret}", _call),
            ("GET", "/shop/embedded/{id}", _shop_page),
        )
    ]
    return routes + [Route(path, _script(text), methods=["GET"]) for path, text in _SCRIPTS.items()]


def _script(text: str) -> Response:
    return Response(text, media_type="text/javascript", headers={"Cache-Control": "no-store"})


def _session(account: Account, request: Request, mode: str) -> Session:
    secret = request.path_params["secret"]
    for session in account.store.sessions.values():
        if session.client_secret == secret and session.ui_mode == mode:
            return session
    raise missing("checkout.session", secret.partition("_secret_")[0], "client_secret")


def _embed(account: Account, request: Request, _params: Params) -> Response:
    session = _session(account, request, "embedded_page")
    if session.status == "complete":
        return answer_page(pay_html.completed(session, return_address(session)), framed=True)
    return pay_page(account, session)


def _pay_embedded(account: Account, request: Request, params: Params) -> Response:
    session = _session(account, request, "embedded_page")
    return pay(account, session, params, here=request.url.path)


def return_address(session: Session) -> str | None:
    """Return where the shop's page goes after the payment, None where it stays."""
    if session.redirect_on_completion != "always" or session.return_url is None:
        return None
    return session.return_url.replace("{CHECKOUT_SESSION_ID}", session.id)


def _element(account: Account, request: Request, _params: Params) -> Response:
    session = _session(account, request, "elements")
    if session.status != "open":
        return answer_page(message("Nothing to pay", f"This checkout is {session.status}."), framed=True)
    return answer_page(pay_html.payment_element(session, offered_ways(session)), framed=True)


def _call(account: Account, request: Request, params: Params) -> Response:
    """Answer a call of the Payment Element's page, which sends JSON."""
    session = _session(account, request, "elements")
    try:
        body = json.loads(params.raw)
        return JSONResponse(_answer(account, session, body))
    except StripeError as error:
        return JSONResponse({"type": "error", "error": {"message": error.message}})
    except (ValueError, LookupError, TypeError, AttributeError):
        return JSONResponse({"type": "error", "error": {"message": "The call cannot be read."}}, 400)


def _answer(account: Account, session: Session, body: Json) -> Json:
    value: Any = body.get("value")
    match body["call"]:
        case "session":
            return {"type": "success", "session": render(session, account.store)}
        case "confirm":
            how = next((each for each in PAY_METHODS if each == body["how"]), None)
            if how is None:
                raise refused(f"how must be one of {', '.join(PAY_METHODS)}")
            actions.pay(account, session, how)
            return _confirmed(account, session)
        case "email":
            given = {"email": str(value)}
        case "address":
            given = {"name": str(value["name"]), **{name: str(each) for name, each in value["address"].items()}}
        case "shipping":
            given = {"shipping_rate": str(value)}
        case "code":
            given = {"promotion_code": str(value)}
        case call:
            raise refused(f"The simulator does not know the call {call}.")
    enter(account, session, Params({**_entered(account, session), **given}))
    return {"type": "success", "session": render(session, account.store)}


def _entered(account: Account, session: Session) -> Json:
    """Return what was entered before, as a form has it."""
    shopper = session.shopper or {}
    code = account.store.promotion_codes.get(session.promotion_code or "")
    entered = {"email": shopper.get("email"), "name": shopper.get("name"), **(shopper.get("address") or {})}
    entered["promotion_code"] = None if code is None else code.code
    return {name: value for name, value in entered.items() if value}


def _confirmed(account: Account, session: Session) -> Json:
    intent = account.store.intents.get(session.payment_intent or "")
    if session.status == "complete":
        address = (session.return_url or "").replace("{CHECKOUT_SESSION_ID}", session.id)
        return {"type": "success", "session": render(session, account.store), "address": address or None}
    if intent is not None and intent.status == "requires_action":
        base = session.page.partition("/c/pay/")[0]
        return {"type": "success", "address": f"{base}/authenticate/{intent.id}"}
    error = intent.last_payment_error if intent is not None else None
    return {"type": "error", "error": {"message": error["message"] if error else "The payment failed."}}


def _shop_page(account: Account, request: Request, _params: Params) -> Response:
    session = find(account.store.sessions, request.path_params["id"], "checkout.session", "id")
    if session.client_secret is None:
        return RedirectResponse(session.page, 303)
    button = '<button id="pay">Pay</button>' if session.ui_mode == "elements" else ""
    body = (
        f'<h1>The shop</h1><p role="alert"></p><div id="checkout" data-secret="{escape(session.client_secret)}" '
        f'data-mode="{session.ui_mode}"></div>{button}<script src="/stripe.js"></script>'
        '<script src="/shop/shop.js"></script>'
    )
    return answer_page(document("The shop", body), framing=True)
