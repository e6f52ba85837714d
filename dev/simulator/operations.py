"""The simulated operations of Stripe's v1 API: name, path, and implementation."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from dev.simulator import catalog, checkout, discounts, intent_calls, refunds, shapes
from dev.simulator.account import Account
from dev.simulator.forms import Params
from dev.simulator.lists import page
from dev.simulator.records import Charge, Dispute, Event, Intent, Json, Refund, Session
from dev.simulator.session_options import create_shipping_rate
from dev.simulator.shapes import line, page_of, render
from dev.simulator.store import find


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """The input of an operation: the id in its path, its parameters, and the simulator's base URL."""

    id: str
    params: Params
    base_url: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `path` has Stripe's own name for the id, as its OpenAPI description has it."""

    name: str
    method: str
    path: str
    run: Callable[[Account, ApiRequest], Json]


def _session(account: Account, api_request: ApiRequest) -> Session:
    return find(account.store.sessions, api_request.id, "checkout.session", "session")


def _intent(account: Account, api_request: ApiRequest) -> Intent:
    return find(account.store.intents, api_request.id, "payment_intent", "intent")


def _create_session(account: Account, api_request: ApiRequest) -> Json:
    return render(checkout.create(account, api_request.params, api_request.base_url), account.store)


def _retrieve_session(account: Account, api_request: ApiRequest) -> Json:
    api_request.params.refuse_unknown()
    return render(_session(account, api_request), account.store)


def _expire_session(account: Account, api_request: ApiRequest) -> Json:
    api_request.params.refuse_unknown()
    session = _session(account, api_request)
    checkout.expire(account, session)
    return render(session, account.store)


def _list_sessions(account: Account, api_request: ApiRequest) -> Json:
    intent = api_request.params.text("payment_intent")
    status = api_request.params.choice("status", "open", "complete", "expired")
    found = [
        session
        for session in account.store.sessions.values()
        if intent in (None, session.payment_intent) and status in (None, session.status)
    ]
    return page(api_request.params, found, "/v1/checkout/sessions", lambda each: render(each, account.store))


def _list_lines(account: Account, api_request: ApiRequest) -> Json:
    api_request.params.integer("limit", least=1)
    api_request.params.refuse_unknown()
    lines = [line(each, account.store) for each in _session(account, api_request).lines]
    return page_of(lines, f"/v1/checkout/sessions/{api_request.id}/line_items")


def _create_intent(account: Account, api_request: ApiRequest) -> Json:
    return render(intent_calls.create(account, api_request.params, api_request.base_url), account.store)


def _retrieve_intent(account: Account, api_request: ApiRequest) -> Json:
    api_request.params.text("client_secret")
    api_request.params.refuse_unknown()
    return render(_intent(account, api_request), account.store)


def _list_intents(account: Account, api_request: ApiRequest) -> Json:
    found = account.store.intents.values()
    return page(api_request.params, found, "/v1/payment_intents", lambda each: render(each, account.store))


def _confirm_intent(account: Account, api_request: ApiRequest) -> Json:
    intent = _intent(account, api_request)
    intent_calls.confirm(account, intent, api_request.params, api_request.base_url)
    return render(intent, account.store)


def _cancel_intent(account: Account, api_request: ApiRequest) -> Json:
    intent = _intent(account, api_request)
    intent_calls.cancel(account, intent, api_request.params)
    return render(intent, account.store)


def _capture_intent(account: Account, api_request: ApiRequest) -> Json:
    intent = _intent(account, api_request)
    intent_calls.capture(account, intent, api_request.params)
    return render(intent, account.store)


def _create_refund(account: Account, api_request: ApiRequest) -> Json:
    return render(refunds.create(account, api_request.params), account.store)


def _retrieve_refund(account: Account, api_request: ApiRequest) -> Json:
    api_request.params.refuse_unknown()
    refund: Refund = find(account.store.refunds, api_request.id, "refund", "refund")
    return render(refund, account.store)


def _list_refunds(account: Account, api_request: ApiRequest) -> Json:
    charge, intent = api_request.params.text("charge"), api_request.params.text("payment_intent")
    found = [
        refund
        for refund in account.store.refunds.values()
        if charge in (None, refund.charge) and intent in (None, refund.payment_intent)
    ]
    return page(api_request.params, found, "/v1/refunds", lambda each: render(each, account.store))


def _retrieve_charge(account: Account, api_request: ApiRequest) -> Json:
    api_request.params.refuse_unknown()
    charge: Charge = find(account.store.charges, api_request.id, "charge", "charge")
    return render(charge, account.store)


def _list_charges(account: Account, api_request: ApiRequest) -> Json:
    intent = api_request.params.text("payment_intent")
    found = [charge for charge in account.store.charges.values() if intent in (None, charge.payment_intent)]
    return page(api_request.params, found, "/v1/charges", lambda each: render(each, account.store))


def _retrieve_dispute(account: Account, api_request: ApiRequest) -> Json:
    api_request.params.refuse_unknown()
    dispute: Dispute = find(account.store.disputes, api_request.id, "dispute", "dispute")
    return render(dispute, account.store)


def _event(account: Account, event: Event) -> Json:
    return shapes.event(event, pending=account.webhooks.pending(event.id), api_version=account.config.api_version)


def _retrieve_event(account: Account, api_request: ApiRequest) -> Json:
    api_request.params.refuse_unknown()
    return _event(account, find(account.store.events, api_request.id, "event", "id"))


def _list_events(account: Account, api_request: ApiRequest) -> Json:
    pattern, types = api_request.params.text("type"), api_request.params.texts("types")
    delivered = api_request.params.flag("delivery_success")
    found = [
        event
        for event in account.store.events.values()
        if (pattern is None or fnmatchcase(event.type, pattern))
        and (not types or event.type in types)
        and delivered in (None, account.webhooks.pending(event.id) == 0)
    ]
    return page(api_request.params, found, "/v1/events", lambda each: _event(account, each))


def _create_price(account: Account, api_request: ApiRequest) -> Json:
    return render(catalog.create_price(account, api_request.params), account.store)


def _retrieve_price(account: Account, api_request: ApiRequest) -> Json:
    api_request.params.refuse_unknown()
    return render(find(account.store.prices, api_request.id, "price", "price"), account.store)


def _create_product(account: Account, api_request: ApiRequest) -> Json:
    return render(catalog.create_product(account, api_request.params), account.store)


def _create_coupon(account: Account, api_request: ApiRequest) -> Json:
    return render(discounts.create_coupon(account, api_request.params), account.store)


def _create_promotion_code(account: Account, api_request: ApiRequest) -> Json:
    return render(discounts.create_promotion_code(account, api_request.params), account.store)


def _create_shipping_rate(account: Account, api_request: ApiRequest) -> Json:
    rate = create_shipping_rate(account, api_request.params)
    api_request.params.refuse_unknown(frozenset({"expand"}))
    account.changes += 1
    return render(rate, account.store)


def _create_customer(account: Account, api_request: ApiRequest) -> Json:
    return render(discounts.create_customer(account, api_request.params), account.store)


def _retrieve_customer(account: Account, api_request: ApiRequest) -> Json:
    api_request.params.refuse_unknown()
    return render(find(account.store.customers, api_request.id, "customer", "customer"), account.store)


def _retrieve_invoice(account: Account, api_request: ApiRequest) -> Json:
    api_request.params.refuse_unknown()
    return render(find(account.store.invoices, api_request.id, "invoice", "invoice"), account.store)


OPERATIONS = (
    Operation("checkout.sessions.create", "POST", "/v1/checkout/sessions", _create_session),
    Operation("checkout.sessions.list", "GET", "/v1/checkout/sessions", _list_sessions),
    Operation("checkout.sessions.retrieve", "GET", "/v1/checkout/sessions/{session}", _retrieve_session),
    Operation("checkout.sessions.expire", "POST", "/v1/checkout/sessions/{session}/expire", _expire_session),
    Operation("checkout.sessions.line_items", "GET", "/v1/checkout/sessions/{session}/line_items", _list_lines),
    Operation("payment_intents.create", "POST", "/v1/payment_intents", _create_intent),
    Operation("payment_intents.list", "GET", "/v1/payment_intents", _list_intents),
    Operation("payment_intents.retrieve", "GET", "/v1/payment_intents/{intent}", _retrieve_intent),
    Operation("payment_intents.confirm", "POST", "/v1/payment_intents/{intent}/confirm", _confirm_intent),
    Operation("payment_intents.cancel", "POST", "/v1/payment_intents/{intent}/cancel", _cancel_intent),
    Operation("payment_intents.capture", "POST", "/v1/payment_intents/{intent}/capture", _capture_intent),
    Operation("refunds.create", "POST", "/v1/refunds", _create_refund),
    Operation("refunds.list", "GET", "/v1/refunds", _list_refunds),
    Operation("refunds.retrieve", "GET", "/v1/refunds/{refund}", _retrieve_refund),
    Operation("charges.list", "GET", "/v1/charges", _list_charges),
    Operation("charges.retrieve", "GET", "/v1/charges/{charge}", _retrieve_charge),
    Operation("disputes.retrieve", "GET", "/v1/disputes/{dispute}", _retrieve_dispute),
    Operation("events.list", "GET", "/v1/events", _list_events),
    Operation("events.retrieve", "GET", "/v1/events/{id}", _retrieve_event),
    Operation("prices.create", "POST", "/v1/prices", _create_price),
    Operation("prices.retrieve", "GET", "/v1/prices/{price}", _retrieve_price),
    Operation("products.create", "POST", "/v1/products", _create_product),
    Operation("coupons.create", "POST", "/v1/coupons", _create_coupon),
    Operation("promotion_codes.create", "POST", "/v1/promotion_codes", _create_promotion_code),
    Operation("shipping_rates.create", "POST", "/v1/shipping_rates", _create_shipping_rate),
    Operation("customers.create", "POST", "/v1/customers", _create_customer),
    Operation("customers.retrieve", "GET", "/v1/customers/{customer}", _retrieve_customer),
    Operation("invoices.retrieve", "GET", "/v1/invoices/{invoice}", _retrieve_invoice),
)
