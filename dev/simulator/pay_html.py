"""The form on which the shopper pays: of the hosted page, and of the frames in a shop's own page."""

from html import escape

from dev.simulator.html import document, money
from dev.simulator.methods import PayMethod
from dev.simulator.records import Session
from dev.simulator.store import Store

_WAYS: dict[PayMethod, tuple[str, str]] = {
    "card": ("{}", "4242 4242 4242 4242: is paid at once"),
    "declined": ("{}, declined", "4000 0000 0000 0002: the bank says no; you can try again"),
    "insufficient_funds": ("{}, insufficient funds", "4000 0000 0000 9995: the bank says no; you can try again"),
    "3ds": ("{} with 3-D Secure", "4000 0000 0000 3220: the bank asks you to confirm"),
    "debit": ("{}", "the money comes later, or does not: say which on the overview"),
    "voucher": ("{}", "is paid at a counter later, or never: say which on the overview"),
}
_LABELS = {"line1": "Address", "city": "City", "postal_code": "Postal code"}


def checkout(session: Session, store: Store, offered: list[tuple[PayMethod, str]], error: str | None) -> str:
    """Return the pay page of an open session."""
    total = money(session.amount_total, session.currency)
    back = (
        ""
        if session.cancel_url is None
        else f'<a class="back" href="{escape(session.cancel_url)}">Back without paying</a>'
    )
    body = f'<h1>Checkout</h1><p class="total">{total}</p>{_alert(error)}{_lines(session, store)}'
    kind = "" if session.ui_mode == "hosted_page" else "framed"
    return document(f"Pay {total}", f"{body}{_form(session, store, offered)}{back}", kind=kind)


def payment_element(session: Session, offered: list[tuple[PayMethod, str]]) -> str:
    """Return the frame of a Payment Element: only how to pay, which the shop's own page confirms."""
    ways = "".join(_way(how, label, checked=place == 0) for place, (how, label) in enumerate(offered))
    script = '<script src="/c/element.js"></script>'
    form = f'<form data-session="{escape(session.id)}"><fieldset><legend>Pay with</legend>{ways}</fieldset></form>'
    return document("Payment", form + script, kind="framed")


def completed(session: Session, address: str | None) -> str:
    """Return what the frame shows after the payment; its script tells the shop's page, which goes to the address."""
    target = "" if address is None else f' data-address="{escape(address)}"'
    text = "<h1>Thank you</h1><p>Your payment is complete.</p>"
    script = '<script src="/c/complete.js"></script>'
    return document(
        "Thank you", f'<div data-complete="{escape(session.id)}"{target}>{text}</div>{script}', kind="framed"
    )


def _alert(error: str | None) -> str:
    return "" if error is None else f'<p role="alert">{escape(error)}</p>'


def _lines(session: Session, store: Store) -> str:
    rows = ""
    for line in session.lines:
        price = store.prices[line.price]
        product = store.products[price.product]
        text = "" if product.description is None else f"<small>{escape(product.description)}</small>"
        amount = money(price.unit_amount * line.quantity, session.currency)
        rows += (
            f'<tr><td>{escape(product.name)}{text}</td><td class="number">{line.quantity}</td>'
            f'<td class="number">{amount}</td></tr>'
        )
    rows += "".join(
        f'<tr><td colspan="2">{name}</td><td class="number">{money(amount, session.currency)}</td></tr>'
        for name, amount in _sums(session)
    )
    return (
        '<table><thead><tr><th scope="col">Item</th><th scope="col" class="number">Quantity</th>'
        f'<th scope="col" class="number">Amount</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _sums(session: Session) -> list[tuple[str, int]]:
    sums = [("Discount", -session.amount_discount)] if session.coupon else []
    sums += [("Shipping", session.amount_shipping)] if session.shipping_rate else []
    return sums + ([("Tax", session.amount_tax)] if session.taxed and session.shopper is not None else [])


def _form(session: Session, store: Store, offered: list[tuple[PayMethod, str]]) -> str:
    total = money(session.amount_total, session.currency)
    ways = "".join(_way(how, label, checked=place == 0) for place, (how, label) in enumerate(offered))
    asked = _person(session) + _shipping(session, store) + _code(session, store)
    update = '<button name="action" value="update" class="second">Update the total</button>' if asked else ""
    return (
        f'<form method="post">{asked}{update}'
        f"<fieldset><legend>Pay with</legend>{ways}</fieldset>"
        f'<button type="submit" id="pay">Pay {total}</button></form>'
    )


def _person(session: Session) -> str:
    if not (session.countries or session.asks_phone):
        return ""
    shopper = session.shopper or {}
    address = shopper.get("address") or {}
    fields = ""
    if "customer_email" not in session.echoed:
        fields += _field("email", "E-mail", shopper.get("email"), kind="email")
    if session.countries:
        fields += _field("name", "Name", shopper.get("name"))
        fields += "".join(_field(name, label, address.get(name)) for name, label in _LABELS.items())
        options = "".join(
            f"<option{' selected' if each == address.get('country') else ''}>{escape(each)}</option>"
            for each in session.countries
        )
        fields += f'<label>Country<select name="country">{options}</select></label>'
    if session.asks_phone:
        fields += _field("phone", "Phone", shopper.get("phone"), kind="tel")
    return f"<fieldset><legend>Where to</legend>{fields}</fieldset>"


def _field(name: str, label: str, value: str | None, kind: str = "text") -> str:
    return f'<label>{label}<input type="{kind}" name="{name}" value="{escape(value or "")}" required></label>'


def _shipping(session: Session, store: Store) -> str:
    if not session.shipping_rates:
        return ""
    choices = ""
    for rate in (store.shipping_rates[each] for each in session.shipping_rates):
        checked = " checked" if rate.id == session.shipping_rate else ""
        choices += (
            f'<label class="way"><input type="radio" name="shipping_rate" value="{escape(rate.id)}"{checked} required>'
            f"<span>{escape(rate.display_name)}<small>{money(rate.amount, rate.currency)}</small></span></label>"
        )
    return f"<fieldset><legend>Shipping</legend>{choices}</fieldset>"


def _code(session: Session, store: Store) -> str:
    if not session.takes_codes:
        return ""
    code = store.promotion_codes.get(session.promotion_code or "")
    value = "" if code is None else escape(code.code)
    return f'<label>Promotion code<input type="text" name="promotion_code" value="{value}"></label>'


def _way(how: PayMethod, label: str, *, checked: bool) -> str:
    title, hint = _WAYS[how]
    return (
        f'<label class="way"><input type="radio" name="how" value="{how}"{" checked" if checked else ""} required>'
        f"<span>{escape(title.format(label))}<small>{escape(hint)}</small></span></label>"
    )
