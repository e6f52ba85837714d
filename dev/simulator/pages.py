"""The pages: the pay page of a Checkout Session, 3-D Secure, and an overview with the actions of banks.

Also two return pages, for use without a shop.
"""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dev.simulator import approvals, checkout, html
from dev.simulator.account import Account
from dev.simulator.forms import Params
from dev.simulator.page_answers import answer_page, endpoint
from dev.simulator.pay_page import next_page, pay, pay_page
from dev.simulator.records import Intent, Session
from dev.simulator.shapes import payment_status
from dev.simulator.store import find


def page_routes(account: Account) -> list[Route]:
    """Return the routes of the pages."""
    return [
        Route(path, endpoint(account, handler), methods=[method])
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


def _session(account: Account, request: Request) -> Session:
    return find(account.store.sessions, request.path_params["id"], "checkout.session", "id")


def _intent(account: Account, request: Request) -> Intent:
    return find(account.store.intents, request.path_params["id"], "payment_intent", "id")


def _pay_page(account: Account, request: Request, _params: Params) -> Response:
    return pay_page(account, _session(account, request))


async def _pay(account: Account, request: Request, params: Params) -> Response:
    session = _session(account, request)
    await approvals.require(account, session)
    return pay(account, session, params, here=session.page)


def _authentication_page(account: Account, request: Request, _params: Params) -> Response:
    intent = _intent(account, request)
    if intent.status != "requires_action" or intent.waits_for_voucher:
        return answer_page(html.message("Nothing to confirm", "This payment does not wait for a confirmation."))
    return answer_page(html.authentication(intent), framed=intent.session is not None)


def _authenticate(account: Account, request: Request, params: Params) -> Response:
    intent = _intent(account, request)
    checkout.authenticate_shopper(account, intent, ok=params.flag("ok") is True)
    session = account.store.sessions.get(intent.session or "")
    if session is not None:
        return next_page(account, session, _place(session))
    if intent.return_url is not None:
        return RedirectResponse(intent.return_url, 303)
    return answer_page(html.message("Thank you", "You can close this page."))


def _place(session: Session) -> str:
    """Return where the shopper pays: his bank leads back there."""
    if session.client_secret is None:
        return session.page
    base = session.page.partition("/c/pay/")[0]
    if session.ui_mode == "embedded_page":
        return f"{base}/c/embed/{session.client_secret}"
    return session.return_url or base


def _settle(account: Account, request: Request, params: Params) -> Response:
    checkout.settle_later(account, _intent(account, request), ok=params.flag("ok") is True)
    return RedirectResponse("/", 303)


def _thanks(account: Account, request: Request, _params: Params) -> Response:
    session = _session(account, request)
    return answer_page(html.thanks(session, payment_status(session, account.store)))


def _basket(_account: Account, _request: Request, _params: Params) -> Response:
    text = "You have not paid, and nothing was charged. What was held for you stays yours until its time is up: until"
    text += " then you can go back in your browser and pay."
    return answer_page(html.message("Your basket", text))


def _overview(account: Account, _request: Request, _params: Params) -> Response:
    records = account.all_records()
    sessions = sorted(records.sessions.values(), key=lambda each: each.created)[:-101:-1]
    intents = sorted(records.intents.values(), key=lambda each: each.created)[:-101:-1]
    return answer_page(html.overview(sessions, intents, records))
