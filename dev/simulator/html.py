"""The pages' HTML. Whatever comes from outside goes through `escape`; nothing is loaded from elsewhere."""

from html import escape

from dev.simulator.ledger import intent_summary
from dev.simulator.methods import PayMethod
from dev.simulator.records import Intent, Session
from dev.simulator.shapes import PaymentStatus
from dev.simulator.store import Store

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1f36; --soft: #5a6176; --line: #d5dbe1; --paper: #fff; --back: #f4f6f9;
  --accent: #0b57d0; --bad: #a3123a; --bad-back: #fdecf0; --good: #0b6b38; --good-back: #e2f5e9; }
@media (prefers-color-scheme: dark) { :root { --ink: #eceef4; --soft: #a9b1c6; --line: #3b4358; --paper: #1c2130;
  --back: #12151f; --accent: #8ab4f8; --bad: #ffb3c4; --bad-back: #40202a; --good: #8fdcae; --good-back: #173626; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 30rem; margin: 2rem auto; padding: 1.75rem; background: var(--paper);
  border: 1px solid var(--line); border-radius: 12px; }
main.wide { max-width: min(72rem, 100% - 2rem); overflow-x: auto; }
main > :last-child { margin-bottom: 0; }
@media (max-width: 34rem) { main { margin: 0; padding: 1.25rem; border: 0; border-radius: 0; } }
.test { margin: 0; padding: .4rem; background: #ffd9a0; color: #3d2600; text-align: center; font-size: .875rem; }
h1 { margin: 0 0 1rem; font-size: 1.35rem; line-height: 1.25; }
h2 { margin: 2rem 0 .5rem; font-size: 1.1rem; }
.total { margin: 0 0 1rem; font-size: 2rem; font-weight: 650; font-variant-numeric: tabular-nums; }
table { width: 100%; border-collapse: collapse; margin-bottom: 1.25rem; }
th { text-align: left; color: var(--soft); font-weight: 500; }
th, td { padding: .35rem 0 .35rem .75rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child, td:first-child { padding-left: 0; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
fieldset { margin: 0 0 1.25rem; padding: 0; border: 0; }
legend { margin-bottom: .5rem; padding: 0; font-weight: 600; }
label.way { display: flex; gap: .75rem; align-items: start; padding: .7rem .85rem; border: 1px solid var(--line);
  cursor: pointer; }
label.way:first-of-type { border-radius: 8px 8px 0 0; }
label.way:last-of-type { border-radius: 0 0 8px 8px; }
label.way + label.way { border-top: 0; }
label.way:has(:checked) { outline: 2px solid var(--accent); outline-offset: -1px; }
label.way input { margin-top: .3rem; accent-color: var(--accent); }
small, .soft { color: var(--soft); }
small { display: block; font-size: .875rem; }
button { width: 100%; padding: .8rem 1rem; border: 0; border-radius: 8px; background: #0b57d0; color: #fff;
  font: inherit; font-weight: 600; cursor: pointer; }
button.second { margin-top: .6rem; background: transparent; color: var(--ink); border: 1px solid var(--line); }
td button, td button.second { width: auto; margin: 0 .25rem .25rem 0; padding: .3rem .7rem; }
td form { display: inline; }
button:focus-visible, a:focus-visible, input:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
a { color: var(--accent); }
.test a { color: inherit; }
.back { display: block; margin-top: 1.1rem; text-align: center; }
[role=alert] { margin: 0 0 1.25rem; padding: .7rem .85rem; border-radius: 8px; background: var(--bad-back);
  color: var(--bad); font-weight: 500; }
.done { display: grid; place-items: center; width: 3rem; height: 3rem; margin: 0 0 1rem; border-radius: 50%;
  background: var(--good-back); color: var(--good); font-size: 1.5rem; font-weight: 700; }
dl { margin: 1.5rem 0 0; padding-top: 1rem; border-top: 1px solid var(--line); }
dt { color: var(--soft); font-size: .875rem; }
dd { margin: 0 0 .6rem; }
code { font-size: .8125rem; overflow-wrap: anywhere; }
"""

_WITHOUT_CENTS = frozenset({"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf"})

_WAYS: dict[PayMethod, tuple[str, str]] = {
    "card": ("{}", "4242 4242 4242 4242: is paid at once"),
    "declined": ("{}, declined", "4000 0000 0000 0002: the bank says no; you can try again"),
    "insufficient_funds": ("{}, insufficient funds", "4000 0000 0000 9995: the bank says no; you can try again"),
    "3ds": ("{} with 3-D Secure", "4000 0000 0000 3220: the bank asks you to confirm"),
    "debit": ("{}", "the money comes later, or does not: say which on the overview"),
    "voucher": ("{}", "is paid at a counter later, or never: say which on the overview"),
    "redirect": ("{}", "the provider's page asks you to confirm, and brings you back"),
    "transfer": ("{}", "you send the money later, or do not: say which on the overview"),
}


def money(amount: int, currency: str) -> str:
    """Return a formatted amount with its currency."""
    if currency in _WITHOUT_CENTS:
        return f"{amount:,} {currency.upper()}"
    return f"{amount // 100:,}.{amount % 100:02} {currency.upper()}"


def _document(title: str, body: str, kind: str = "") -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        '<body><p class="test" role="note"><strong>Test mode</strong>: a simulated Stripe; no money moves. '
        '<a href="/">Overview</a></p>'
        f'<main class="{kind}">{body}</main></body></html>'
    )


def message(title: str, text: str, *, back: str | None = None) -> str:
    """Return a page with a title and one message."""
    link = "" if back is None else f'<a class="back" href="{escape(back)}">Back to the shop</a>'
    return _document(title, f"<h1>{escape(title)}</h1><p>{escape(text)}</p>{link}")


def checkout(
    session: Session, lines: list[tuple[str, int, int]], offered: list[tuple[PayMethod, str]], error: str | None
) -> str:
    """Return the pay page of an open session. `lines` are name, quantity and amount."""
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{quantity}</td>'
        f'<td class="number">{money(amount, session.currency)}</td></tr>'
        for name, quantity, amount in lines
    )
    ways = "".join(_way(how, label, checked=place == 0) for place, (how, label) in enumerate(offered))
    total = money(session.amount_total, session.currency)
    alert = "" if error is None else f'<p role="alert">{escape(error)}</p>'
    back = (
        ""
        if session.cancel_url is None
        else f'<a class="back" href="{escape(session.cancel_url)}">Back without paying</a>'
    )
    return _document(
        f"Pay {total}",
        f'<h1>Checkout</h1><p class="total">{total}</p>{alert}'
        '<table><thead><tr><th scope="col">Item</th><th scope="col" class="number">Quantity</th>'
        f'<th scope="col" class="number">Amount</th></tr></thead><tbody>{rows}</tbody></table>'
        f'<form method="post"><fieldset><legend>Pay with</legend>{ways}</fieldset>'
        f'<button type="submit" id="pay">Pay {total}</button></form>{back}',
    )


def _way(how: PayMethod, label: str, *, checked: bool) -> str:
    title, hint = _WAYS[how]
    return (
        f'<label class="way"><input type="radio" name="how" value="{how}"{" checked" if checked else ""} required>'
        f"<span>{escape(title.format(label))}<small>{escape(hint)}</small></span></label>"
    )


def thanks(session: Session, paid: PaymentStatus) -> str:
    """Return the page that a shop shows when the shopper comes back from paying."""
    total = money(session.amount_total, session.currency)
    title, mark = "Thank you", '<p class="done" aria-hidden="true">✓</p>'
    match session.status, paid:
        case "complete", "paid":
            text = f"Your payment of {total} has arrived."
        case "complete", "no_payment_required":
            text = "There was nothing to pay."
        case "complete", _:
            text = f"Your payment of {total} was taken on; the money comes later."
        case _:
            title, mark, text = "Not paid", "", "Nothing was charged."
    given = {**session.metadata, "checkout session": session.id}
    facts = "".join(f"<dt>{escape(name)}</dt><dd><code>{escape(value)}</code></dd>" for name, value in given.items())
    return _document(title, f"{mark}<h1>{title}</h1><p>{text}</p><dl>{facts}</dl>")


def authentication(intent: Intent) -> str:
    """Return the page of the shopper's bank."""
    amount = money(intent.amount, intent.currency)
    return _document(
        "Confirm your payment",
        f"<h1>Confirm your payment</h1><p>Your bank asks: do you want to pay <strong>{amount}</strong>?</p>"
        '<form method="post"><button type="submit" name="ok" value="true">Confirm the payment</button>'
        '<button type="submit" name="ok" value="false" class="second">Refuse</button></form>',
    )


def overview(sessions: list[Session], intents: list[Intent], store: Store) -> str:
    """Return the overview, newest first, with buttons for the actions of a bank."""
    session_rows = "".join(_session_row(session) for session in sessions)
    intent_rows = "".join(_intent_row(intent, store) for intent in intents)
    return _document(
        "Simulated Stripe",
        "<h1>Simulated Stripe</h1>"
        "<h2>Checkout sessions</h2>"
        + _table(("Session", "State", "Amount"), session_rows)
        + "<h2>Payments</h2>"
        + _table(("Payment", "State", "Amount", "Captured", "Refunded", "The bank"), intent_rows),
        kind="wide",
    )


_AMOUNTS = frozenset({"Amount", "Captured", "Refunded"})


def _table(columns: tuple[str, ...], rows: str) -> str:
    if not rows:
        return '<p class="soft">None yet.</p>'
    kinds = {column: ' class="number"' if column in _AMOUNTS else "" for column in columns}
    heads = "".join(f'<th scope="col"{kind}>{column}</th>' for column, kind in kinds.items())
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _amount(amount: int, currency: str) -> str:
    return f'<td class="number">{money(amount, currency)}</td>'


def _session_row(session: Session) -> str:
    name = f"<code>{escape(session.id)}</code>"
    if session.status == "open":
        name = f'<a href="{escape(session.page)}">{name}</a>'
    return f"<tr><td>{name}</td><td>{session.status}</td>{_amount(session.amount_total, session.currency)}</tr>"


def _intent_row(intent: Intent, store: Store) -> str:
    books = intent_summary(intent, store)
    taken = (intent.amount, books["captured"], books["refunded"])
    amounts = "".join(_amount(amount, intent.currency) for amount in taken)
    bank = ""
    if intent.status == "processing" or intent.waits_for_voucher:
        bank = (
            f'<form method="post" action="/payments/{escape(intent.id)}/settle">'
            '<button type="submit" name="ok" value="true">The money came</button>'
            '<button type="submit" name="ok" value="false" class="second">It will not come</button></form>'
        )
    return f"<tr><td><code>{escape(intent.id)}</code></td><td>{intent.status}</td>{amounts}<td>{bank}</td></tr>"
