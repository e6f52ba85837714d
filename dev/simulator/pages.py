"""The pages: the pay page of a Checkout Session, 3-D Secure, and an overview with the actions of banks.

Also two return pages, for use without a shop.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from dev.simulator import actions, approvals, checkout, html
from dev.simulator.account import Account
from dev.simulator.errors import StripeError
from dev.simulator.forms import Params, decode
from dev.simulator.methods import METHODS, PAY_METHODS, way_of
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

Handler = Callable[[Account, Request, Params], Response | Awaitable[Response]]


def page_routes(account: Account) -> list[Route]:
    """Return the routes of the pages."""
    return [
        Route(path, _endpoint(account, handler), methods=[method])
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


def _endpoint(account: Account, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        actions.tick(account)
        try:
            params = Params(decode((await request.body()).decode("utf-8", "replace")))
            answer = handler(account.owner_of(request.path_params.get("id")), request, params)
            return answer if isinstance(answer, Response) else await answer
        except StripeError as error:
            return _page(html.message("This did not work", error.message), error.status)

    return endpoint


def _page(body: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(body, status, _HEADERS)


def _session(account: Account, request: Request) -> Session:
    return find(account.store.sessions, request.path_params["id"], "checkout.session", "id")


def _intent(account: Account, request: Request) -> Intent:
    return find(account.store.intents, request.path_params["id"], "payment_intent", "id")


def _pay_page(account: Account, request: Request, _params: Params) -> Response:
    session = _session(account, request)
    match session.status:
        case "complete":
            return _page(html.message("You have paid already", "This checkout is complete. You can close this page."))
        case "expired":
            text = "Nothing can be paid here any more, and nothing was charged."
            return _page(html.message("This checkout has expired", text, back=session.cancel_url))
    lines = [
        (account.store.products[price.product].name, line.quantity, price.unit_amount * line.quantity)
        for line in session.lines
        for price in [account.store.prices[line.price]]
    ]
    offered = [
        (how, next(METHODS[name].label for name in session.payment_method_types if METHODS[name].way == way_of(how)))
        for how in PAY_METHODS
        if any(METHODS[name].way == way_of(how) for name in session.payment_method_types)
    ]
    intent = account.store.intents.get(session.payment_intent or "")
    error = intent.last_payment_error["message"] if intent is not None and intent.last_payment_error else None
    return _page(html.checkout(session, lines, offered, error))


async def _pay(account: Account, request: Request, params: Params) -> Response:
    session = _session(account, request)
    if session.status != "open":
        return RedirectResponse(session.page, 303)
    chosen = params.choice("how", *PAY_METHODS)
    if chosen is None:
        raise params.absent("how")
    await approvals.require(account, session)
    actions.pay(account, session, next(how for how in PAY_METHODS if how == chosen))
    return _next_page(account, session)


def _next_page(account: Account, session: Session) -> Response:
    if session.status == "complete":
        return RedirectResponse(session.success_url.replace("{CHECKOUT_SESSION_ID}", session.id), 303)
    intent = account.store.intents.get(session.payment_intent or "")
    if session.status == "open" and intent is not None and intent.status == "requires_action":
        return RedirectResponse(f"{session.page.partition('/c/pay/')[0]}/authenticate/{intent.id}", 303)
    return RedirectResponse(session.page, 303)


def _authentication_page(account: Account, request: Request, _params: Params) -> Response:
    intent = _intent(account, request)
    if intent.status != "requires_action" or intent.waits_for_voucher:
        return _page(html.message("Nothing to confirm", "This payment does not wait for a confirmation."))
    return _page(html.authentication(intent))


def _authenticate(account: Account, request: Request, params: Params) -> Response:
    intent = _intent(account, request)
    checkout.authenticate_shopper(account, intent, ok=params.flag("ok") is True)
    session = account.store.sessions.get(intent.session or "")
    if session is not None:
        return _next_page(account, session)
    if intent.return_url is not None:
        return RedirectResponse(intent.return_url, 303)
    return _page(html.message("Thank you", "You can close this page."))


def _settle(account: Account, request: Request, params: Params) -> Response:
    checkout.settle_later(account, _intent(account, request), ok=params.flag("ok") is True)
    return RedirectResponse("/", 303)


def _thanks(account: Account, request: Request, _params: Params) -> Response:
    session = _session(account, request)
    return _page(html.thanks(session, payment_status(session, account.store)))


def _basket(_account: Account, _request: Request, _params: Params) -> Response:
    text = "You have not paid, and nothing was charged. What was held for you stays yours until its time is up: until"
    text += " then you can go back in your browser and pay."
    return _page(html.message("Your basket", text))


def _overview(account: Account, _request: Request, _params: Params) -> Response:
    records = account.all_records()
    sessions = sorted(records.sessions.values(), key=lambda each: each.created)[:-101:-1]
    intents = sorted(records.intents.values(), key=lambda each: each.created)[:-101:-1]
    return _page(html.overview(sessions, intents, records))
