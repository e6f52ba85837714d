"""What the shopper enters and chooses on a session's page."""

from dev.simulator.account import Account
from dev.simulator.errors import refused
from dev.simulator.forms import Params
from dev.simulator.records import Json, Session
from dev.simulator.session_options import check_coupon
from dev.simulator.totals import add_up

ADDRESS_FIELDS = ("line1", "city", "postal_code", "country")


def enter(account: Account, session: Session, params: Params) -> None:
    """Record what a form has: e-mail, name, phone, address, shipping rate, promotion code; and add up anew."""
    if session.status != "open":
        raise refused(f"The session is {session.status}.")
    _choose_shipping(session, params.text("shipping_rate"))
    _apply_code(account, session, str(params.values.get("promotion_code", "")).strip())
    _enter_shopper(session, params)
    add_up(session, account.store)
    account.changes += 1


def _choose_shipping(session: Session, rate: str | None) -> None:
    if rate is None:
        return
    if rate not in session.shipping_rates:
        raise refused(f"The session has no shipping rate {rate}.")
    session.shipping_rate = rate


def _apply_code(account: Account, session: Session, text: str) -> None:
    if not session.takes_codes:
        return
    if not text:
        session.coupon = session.promotion_code = None
        return
    codes = account.store.promotion_codes.values()
    code = next((each for each in codes if each.code.lower() == text.lower() and each.active), None)
    if code is None:
        raise refused(f"The promotion code {text} is not valid.")
    check_coupon(account, code.coupon, session.currency, "promotion_code")
    session.coupon, session.promotion_code = code.coupon, code.id


def _enter_shopper(session: Session, params: Params) -> None:
    given = {name: str(params.values.get(name, "")).strip() for name in ("email", "name", "phone", *ADDRESS_FIELDS)}
    asks = bool(session.countries or session.asks_phone)
    if not asks and not given["email"]:
        return
    address: Json | None = None
    if session.countries:
        if absent := [name for name in ("name", *ADDRESS_FIELDS) if not given[name]]:
            raise refused(f"Enter your {', '.join(absent).replace('_', ' ')}.")
        if given["country"] not in session.countries:
            raise refused(f"We do not ship to {given['country']}.")
        address = {**{name: given[name] for name in ADDRESS_FIELDS}, "line2": None, "state": None}
    if session.asks_phone and not given["phone"]:
        raise refused("Enter your phone.")
    session.shopper = {
        "address": address,
        "email": session.echoed.get("customer_email") or given["email"] or "shopper@example.com",
        "name": given["name"] or "A. Shopper",
        "phone": given["phone"] or None,
    }
