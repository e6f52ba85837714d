"""What a person sees: the pay page of a Checkout Session, 3-D Secure, and an overview with what banks would do.

Also two pages that a shop would have, to send a shopper back to where there is no shop.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from dev.simulator import actions as shopper
from dev.simulator import checkout
from dev.simulator import html as markup
from dev.simulator.account import World
from dev.simulator.errors import StripeError
from dev.simulator.forms import Params, decode
from dev.simulator.methods import HOWS, METHODS, way_of
from dev.simulator.records import Intent, Session
from dev.simulator.shapes import payment_status
from dev.simulator.store import find

_HEADERS = {
    # No form-action: Chromium would apply it to the redirect to the shop, too.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Handler = Callable[[World, Request, Params], Response]


def page_routes(world: World) -> list[Route]:
    """Return the routes of the pages."""
    return [
        Route(path, _endpoint(world, handler), methods=[method])
        for method, path, handler in (
            ("GET", "/", _overview),
            ("GET", "/c/pay/{id}", _pay_page),
            ("POST", "/c/pay/{id}", _pay),
            ("GET", "/authenticate/{id}", _authentication_page),
            ("POST", "/authenticate/{id}", _authenticate),
            ("POST", "/payments/{id}/settle", _settle),
            ("GET", "/shop/thanks/{id}", _thanks),
            ("GET", "/shop/basket", _basket),
        )
    ]


def _endpoint(world: World, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        shopper.tick(world)
        try:
            params = Params(decode((await request.body()).decode("utf-8", "replace")))
            return handler(world, request, params)
        except StripeError as error:
            return _page(markup.message("This did not work", error.message), error.status)

    return endpoint


def _page(body: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(body, status, _HEADERS)


def _session(world: World, request: Request) -> Session:
    return find(world.store.sessions, request.path_params["id"], "checkout.session", "id")


def _intent(world: World, request: Request) -> Intent:
    return find(world.store.intents, request.path_params["id"], "payment_intent", "id")


def _pay_page(world: World, request: Request, _params: Params) -> Response:
    session = _session(world, request)
    match session.status:
        case "complete":
            return _page(markup.message("You have paid already", "This checkout is complete. You can close this page."))
        case "expired":
            text = "Nothing can be paid here any more, and nothing was charged."
            return _page(markup.message("This checkout has expired", text, back=session.cancel_url))
    lines = [
        (world.store.products[price.product].name, line.quantity, price.unit_amount * line.quantity)
        for line in session.lines
        for price in [world.store.prices[line.price]]
    ]
    offered = [
        (how, next(METHODS[name].label for name in session.payment_method_types if METHODS[name].way == way_of(how)))
        for how in HOWS
        if any(METHODS[name].way == way_of(how) for name in session.payment_method_types)
    ]
    intent = world.store.intents.get(session.payment_intent or "")
    error = intent.last_payment_error["message"] if intent is not None and intent.last_payment_error else None
    return _page(markup.checkout(session, lines, offered, error))


def _pay(world: World, request: Request, params: Params) -> Response:
    session = _session(world, request)
    if session.status != "open":
        return RedirectResponse(session.page, 303)
    chosen = params.choice("how", *HOWS)
    if chosen is None:
        raise params.absent("how")
    shopper.pay(world, session, next(how for how in HOWS if how == chosen))
    return _next_page(world, session)


def _next_page(world: World, session: Session) -> Response:
    if session.status == "complete":
        return RedirectResponse(session.success_url.replace("{CHECKOUT_SESSION_ID}", session.id), 303)
    intent = world.store.intents.get(session.payment_intent or "")
    if session.status == "open" and intent is not None and intent.status == "requires_action":
        return RedirectResponse(f"{session.page.partition('/c/pay/')[0]}/authenticate/{intent.id}", 303)
    return RedirectResponse(session.page, 303)


def _authentication_page(world: World, request: Request, _params: Params) -> Response:
    intent = _intent(world, request)
    if intent.status != "requires_action" or intent.waits_for_voucher:
        return _page(markup.message("Nothing to confirm", "This payment does not wait for a confirmation."))
    return _page(markup.authentication(intent))


def _authenticate(world: World, request: Request, params: Params) -> Response:
    intent = _intent(world, request)
    checkout.authenticate_shopper(world, intent, ok=params.flag("ok") is True)
    session = world.store.sessions.get(intent.session or "")
    if session is not None:
        return _next_page(world, session)
    if intent.return_url is not None:
        return RedirectResponse(intent.return_url, 303)
    return _page(markup.message("Thank you", "You can close this page."))


def _settle(world: World, request: Request, params: Params) -> Response:
    checkout.settle_later(world, _intent(world, request), ok=params.flag("ok") is True)
    return RedirectResponse("/", 303)


def _thanks(world: World, request: Request, _params: Params) -> Response:
    session = _session(world, request)
    return _page(markup.thanks(session, payment_status(session, world.store)))


def _basket(_world: World, _request: Request, _params: Params) -> Response:
    text = "You have not paid, and nothing was charged. What was held for you stays yours until its time is up: until"
    text += " then you can go back in your browser and pay."
    return _page(markup.message("Your basket", text))


def _overview(world: World, _request: Request, _params: Params) -> Response:
    sessions = list(world.store.sessions.values())[:-101:-1]
    intents = list(world.store.intents.values())[:-101:-1]
    return _page(markup.overview(sessions, intents, world.store))
