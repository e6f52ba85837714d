"""Checkout Sessions: create, list, complete, expire (https://docs.stripe.com/api/checkout/sessions)."""

from dataclasses import asdict, replace

from dev.simulator import intents
from dev.simulator.account import Account
from dev.simulator.catalog import find_price, price_in_passing
from dev.simulator.connect import routing
from dev.simulator.errors import invalid, refused
from dev.simulator.forms import Params
from dev.simulator.ids import new_id, new_session_id
from dev.simulator.intents import authenticate, cancel, new_secret, open_intent, pay_with, settle
from dev.simulator.methods import PayMethod, allowed_types, check_amount
from dev.simulator.records import Customer, Intent, Invoice, Json, Line, Session
from dev.simulator.session_options import new_client_secret, read_options
from dev.simulator.shapes import payment_status
from dev.simulator.totals import add_up

SHORTEST_SECONDS = 30 * 60
LONGEST_SECONDS = 24 * 60 * 60
_MOST_LINES = 100

ECHOED = (
    "billing_address_collection",
    "client_reference_id",
    "customer_email",
    "integration_identifier",
    "locale",
    "origin_context",
    "submit_type",
)
IGNORED = frozenset(
    {
        "adaptive_pricing",
        "after_expiration",
        "branding_settings",
        "consent_collection",
        "custom_fields",
        "custom_text",
        "customer_account",
        "customer_update",
        "expand",
        "name_collection",
        "payment_method_collection",
        "payment_method_configuration",
        "payment_method_data",
        "payment_method_options",
        "permissions",
        "saved_payment_method_options",
        "tax_id_collection",
        "wallet_options",
    }
)
"""Accepted without effect: they change the look or the questions of Stripe's page, never the amount."""
_INTENT_TEXTS = ("receipt_email", "statement_descriptor", "statement_descriptor_suffix", "transfer_group")


def create(account: Account, params: Params, base_url: str) -> Session:
    """Open a session for a one-time payment on a page hosted here."""
    now = account.clock.now()
    _check_mode(params)
    lines = [_line(account, entry) for entry in params.each("line_items")]
    if not lines:
        raise params.absent("line_items")
    currencies = {account.store.prices[line.price].currency for line in lines}
    if len(currencies) > 1 or len(lines) > _MOST_LINES:
        raise invalid("Up to 100 line items, all in one currency.", param="line_items")
    currency = currencies.pop()
    options = read_options(account, params, currency)
    data = params.nested("payment_intent_data") or Params({})
    capture_method = data.choice("capture_method", "automatic", "automatic_async", "manual") or "automatic_async"
    for name in _INTENT_TEXTS:
        data.text(name)
    for name in ("setup_future_usage", "shipping"):
        data.ignore(name)
    session_id = new_session_id()
    session = Session(
        id=session_id,
        created=now,
        expires_at=_expiry(params, now),
        currency=currency,
        amount_total=0,
        lines=lines,
        page=f"{base_url}/c/pay/{session_id}",
        payment_method_types=_types(params, currency, manual=capture_method == "manual"),
        capture_method=capture_method,
        metadata=params.metadata(),
        intent_metadata=data.metadata(),
        intent_description=data.text("description"),
        echoed=_echoed(params),
        client_secret=None if options.ui_mode == "hosted_page" else new_client_secret(session_id),
        shipping_rate=next(iter(options.shipping_rates), None),
        **asdict(options),
        routing=routing(account, data),
        account=account.id,
    )
    add_up(session, account.store)
    if session.amount_total:
        check_amount(session.amount_total, currency, "line_items")
    params.refuse_unknown(IGNORED)
    account.store.sessions[session.id] = session
    account.check_at(session.expires_at, session.id)
    account.changes += 1
    return session


def _check_mode(params: Params) -> None:
    mode = params.choice("mode", "payment", "setup", "subscription")
    if mode is None:
        raise params.absent("mode")
    if mode != "payment":
        raise invalid(f"The simulator has no mode={mode}; it has mode=payment.", param="mode")
    if params.given("currency"):
        params.currency()


def _types(params: Params, currency: str, *, manual: bool) -> list[str]:
    excluded = params.texts("excluded_payment_method_types")
    named = params.texts("payment_method_types") or params.texts("allowed_payment_method_types")
    types = allowed_types(named, currency, manual=manual)
    return [name for name in types if name not in excluded]


def _expiry(params: Params, now: int) -> int:
    expires_at = params.integer("expires_at")
    if expires_at is None:
        return now + LONGEST_SECONDS
    if expires_at < now + SHORTEST_SECONDS:
        raise invalid("`expires_at` must be at least 30 minutes after the session's creation.", param="expires_at")
    if expires_at > now + LONGEST_SECONDS:
        raise invalid("`expires_at` must be at most 24 hours after the session's creation.", param="expires_at")
    return expires_at


def _echoed(params: Params) -> Json:
    return {name: value for name in ECHOED if (value := params.text(name)) is not None}


def _line(account: Account, entry: Params) -> Line:
    quantity = entry.integer("quantity", least=1)
    if quantity is None:
        raise entry.absent("quantity")
    data = entry.nested("price_data")
    if (data is None) == (not entry.given("price")):
        raise invalid(f"Pass one of {entry.named('price')} and {entry.named('price_data')}.", param=entry.path)
    price = find_price(account, entry, "price") if data is None else price_in_passing(account, data)
    return Line(new_id("li"), price.id, quantity)


def expire(account: Account, session: Session) -> None:
    """Expire an open session: it can no longer be paid."""
    if session.status != "open":
        # Without a code, as at Stripe: a caller must retrieve the session to learn its status.
        message = (
            f'Only sessions with a status in ["open"] can be expired; this one has a status of `{session.status}`.'
        )
        raise refused(message)
    session.status = "expired"
    if session.payment_intent is not None:
        intent = account.store.intents[session.payment_intent]
        if intent.status in ("requires_payment_method", "requires_confirmation", "requires_action"):
            cancel(account, intent, "expired", by_api=False)
    account.emit("checkout.session.expired", session)


def recover(account: Account, session: Session) -> Session:
    """Open a copy of an expired session, as its shopper does by the link that `after_expiration.recovery` makes."""
    if session.status != "expired":
        raise refused(f"Only an expired session is recovered; this one is {session.status}.")
    copy_id = new_session_id()
    copied = replace(
        session,
        id=copy_id,
        created=account.clock.now(),
        expires_at=account.clock.now() + LONGEST_SECONDS,
        page=session.page.replace(session.id, copy_id),
        status="open",
        payment_intent=None,
        client_secret=None if session.client_secret is None else new_client_secret(copy_id),
        shopper=None,
        customer_details=None,
        recovered_from=session.id,
    )
    account.store.sessions[copied.id] = copied
    account.check_at(copied.expires_at, copied.id)
    account.changes += 1
    return copied


def confirm(account: Account, session: Session, how: PayMethod) -> None:
    """Confirm the payment of the session, which creates its PaymentIntent."""
    if session.shopper is None:
        session.shopper = default_shopper(session)
        add_up(session, account.store)
    session.customer_details = _details(session)
    if session.amount_total == 0:
        complete(account, session)
        return
    intent = account.store.intents.get(session.payment_intent or "")
    if intent is None or intent.status == "canceled":
        intent_id = new_id("pi")
        intent = Intent(
            id=intent_id,
            created=account.clock.now(),
            amount=session.amount_total,
            currency=session.currency,
            client_secret=new_secret(intent_id),
            payment_method_types=session.payment_method_types,
            capture_method=session.capture_method,
            metadata=dict(session.intent_metadata),
            description=session.intent_description,
            return_url=session.page,
            session=session.id,
            routing=session.routing,
            account=account.id,
        )
        session.payment_intent = intent_id
        open_intent(account, intent)
    intent.amount = session.amount_total  # the shopper may have chosen anew since a declined attempt
    pay_with(account, intent, how, session.page.partition("/c/pay/")[0])
    after_attempt(account, intent)


def default_shopper(session: Session) -> Json:
    """Return what a shopper enters where nobody says otherwise."""
    email = session.echoed.get("customer_email", "shopper@example.com")
    address: Json | None = None
    if session.countries:
        address = {"city": "Springfield", "country": session.countries[0], "line1": "1 Main Street"}
        address |= {"line2": None, "postal_code": "12345", "state": None}
    phone = "+15555550100" if session.asks_phone else None
    return {"address": address, "email": email, "name": "A. Shopper", "phone": phone}


def _details(session: Session) -> Json:
    empty = ("business_name", "individual_name")
    return {**dict.fromkeys(empty), **(session.shopper or {}), "tax_exempt": "none", "tax_ids": []}


def after_attempt(account: Account, intent: Intent) -> None:
    """Complete the session of a PaymentIntent that needs no further action of the shopper."""
    session = account.store.sessions.get(intent.session or "")
    if session is None or session.status != "open":
        return
    if intent.status in ("succeeded", "requires_capture", "processing") or intent.waits_for_voucher:
        complete(account, session)


def complete(account: Account, session: Session) -> None:
    """Complete a session, paid or not yet paid."""
    session.status = "complete"
    shopper = session.shopper or {}
    if session.customer is None and (session.invoiced or session.makes_customer):
        customer = Customer(new_id("cus"), account.clock.now(), shopper.get("email"), shopper.get("name"))
        account.store.customers[customer.id] = customer
        session.customer = customer.id
    if session.invoiced and session.customer is not None:
        invoice = Invoice(
            id=new_id("in"),
            created=account.clock.now(),
            session=session.id,
            customer=session.customer,
            email=shopper.get("email"),
            currency=session.currency,
            subtotal=session.amount_total - session.amount_shipping,
            shipping=session.amount_shipping,
            total=session.amount_total,
        )
        account.store.invoices[invoice.id] = invoice
        session.invoice = invoice.id
    account.emit("checkout.session.completed", session)


def authenticate_shopper(account: Account, intent: Intent, *, ok: bool) -> None:
    """Finish 3-D Secure, for a session or a PaymentIntent without one."""
    authenticate(account, intent, ok=ok)
    after_attempt(account, intent)


def settle_later(account: Account, intent: Intent, *, ok: bool) -> None:
    """Settle a bank debit or a voucher, and emit the session's event."""
    settle(account, intent, ok=ok)
    _tell_of_the_end(account, intent)


def fund(account: Account, intent: Intent, amount: int) -> None:
    """Let a part of a bank transfer arrive; the last part pays."""
    if intents.fund(account, intent, amount):
        settle_later(account, intent, ok=True)


def _tell_of_the_end(account: Account, intent: Intent) -> None:
    session = account.store.sessions.get(intent.session or "")
    if session is not None:
        paid = payment_status(session, account.store) == "paid"
        account.emit(f"checkout.session.async_payment_{'succeeded' if paid else 'failed'}", session)
