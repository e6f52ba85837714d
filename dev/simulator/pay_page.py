"""What the shopper does on the form of a session: change the total, pay."""

from starlette.responses import RedirectResponse, Response

from dev.simulator import actions, html, pay_html
from dev.simulator.account import Account
from dev.simulator.entries import enter
from dev.simulator.errors import StripeError
from dev.simulator.forms import Params
from dev.simulator.methods import METHODS, PAY_METHODS, PayMethod, way_of
from dev.simulator.page_answers import answer_page
from dev.simulator.records import Session


def pay_page(account: Account, session: Session, error: str | None = None, status: int = 200) -> Response:
    """Return the page of a session, as its status requires."""
    framed = session.ui_mode != "hosted_page"
    match session.status:
        case "complete":
            text = "This checkout is complete. You can close this page."
            return answer_page(html.message("You have paid already", text), framed=framed)
        case "expired":
            text = "Nothing can be paid here any more, and nothing was charged."
            page = html.message("This checkout has expired", text, back=session.cancel_url)
            return answer_page(page, framed=framed)
    intent = account.store.intents.get(session.payment_intent or "")
    if error is None and intent is not None and intent.last_payment_error:
        error = intent.last_payment_error["message"]
    return answer_page(pay_html.checkout(session, account.store, offered_ways(session), error), status, framed=framed)


def offered_ways(session: Session) -> list[tuple[PayMethod, str]]:
    """Return the ways to pay that the session offers, with the label of the method."""
    return [
        (how, next(METHODS[name].label for name in session.payment_method_types if METHODS[name].way == way_of(how)))
        for how in PAY_METHODS
        if any(METHODS[name].way == way_of(how) for name in session.payment_method_types)
    ]


def pay(account: Account, session: Session, params: Params, here: str) -> Response:
    """Record what the shopper entered, and pay unless he only wants the total, or it is another than he saw."""
    if session.status != "open":
        return RedirectResponse(here, 303)
    shown = session.amount_total
    try:
        enter(account, session, params)
    except StripeError as error:
        return pay_page(account, session, error.message, error.status)
    if params.text("action") == "update":
        return RedirectResponse(here, 303)
    if session.amount_total != shown:
        return pay_page(account, session, "The total has changed: please look at it before you pay.")
    chosen = params.choice("how", *PAY_METHODS)
    if chosen is None:
        raise params.absent("how")
    actions.pay(account, session, next(how for how in PAY_METHODS if how == chosen))
    return next_page(account, session, here)


def next_page(account: Account, session: Session, here: str) -> Response:
    """Return where the shopper goes on after an attempt."""
    if session.status == "complete":
        address = here if session.success_url is None else session.success_url
        return RedirectResponse(address.replace("{CHECKOUT_SESSION_ID}", session.id), 303)
    intent = account.store.intents.get(session.payment_intent or "")
    if session.status == "open" and intent is not None and intent.status == "requires_action":
        return RedirectResponse(f"{session.page.partition('/c/pay/')[0]}/authenticate/{intent.id}", 303)
    return RedirectResponse(here, 303)
