"""The operations of Stripe's v1 API that are simulated: names, addresses, and what each does."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from dev.simulator import catalog, checkout, intent_calls, refunds, shapes
from dev.simulator.account import World
from dev.simulator.forms import Params
from dev.simulator.lists import page
from dev.simulator.records import Charge, Dispute, Event, Intent, Json, Refund, Session
from dev.simulator.shapes import line, page_of, render
from dev.simulator.store import find


@dataclass(frozen=True, slots=True)
class Asked:
    """What an operation gets: the id in its address, its parameters, and where the simulator was called."""

    id: str
    params: Params
    base_url: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `path` has Stripe's own name for the id, as its OpenAPI description has it."""

    name: str
    method: str
    path: str
    run: Callable[[World, Asked], Json]


def _session(world: World, asked: Asked) -> Session:
    return find(world.store.sessions, asked.id, "checkout.session", "session")


def _intent(world: World, asked: Asked) -> Intent:
    return find(world.store.intents, asked.id, "payment_intent", "intent")


def _create_session(world: World, asked: Asked) -> Json:
    return render(checkout.create(world, asked.params, asked.base_url), world.store)


def _retrieve_session(world: World, asked: Asked) -> Json:
    asked.params.refuse_unknown()
    return render(_session(world, asked), world.store)


def _expire_session(world: World, asked: Asked) -> Json:
    asked.params.refuse_unknown()
    session = _session(world, asked)
    checkout.expire(world, session)
    return render(session, world.store)


def _list_sessions(world: World, asked: Asked) -> Json:
    intent = asked.params.text("payment_intent")
    status = asked.params.choice("status", "open", "complete", "expired")
    found = [
        session
        for session in world.store.sessions.values()
        if intent in (None, session.payment_intent) and status in (None, session.status)
    ]
    return page(asked.params, found, "/v1/checkout/sessions", lambda each: render(each, world.store))


def _list_lines(world: World, asked: Asked) -> Json:
    asked.params.integer("limit", least=1)
    asked.params.refuse_unknown()
    lines = [line(each, world.store) for each in _session(world, asked).lines]
    return page_of(lines, f"/v1/checkout/sessions/{asked.id}/line_items")


def _create_intent(world: World, asked: Asked) -> Json:
    return render(intent_calls.create(world, asked.params, asked.base_url), world.store)


def _retrieve_intent(world: World, asked: Asked) -> Json:
    asked.params.text("client_secret")
    asked.params.refuse_unknown()
    return render(_intent(world, asked), world.store)


def _list_intents(world: World, asked: Asked) -> Json:
    found = world.store.intents.values()
    return page(asked.params, found, "/v1/payment_intents", lambda each: render(each, world.store))


def _confirm_intent(world: World, asked: Asked) -> Json:
    intent = _intent(world, asked)
    intent_calls.confirm(world, intent, asked.params, asked.base_url)
    return render(intent, world.store)


def _cancel_intent(world: World, asked: Asked) -> Json:
    intent = _intent(world, asked)
    intent_calls.cancel(world, intent, asked.params)
    return render(intent, world.store)


def _capture_intent(world: World, asked: Asked) -> Json:
    intent = _intent(world, asked)
    intent_calls.capture(world, intent, asked.params)
    return render(intent, world.store)


def _create_refund(world: World, asked: Asked) -> Json:
    return render(refunds.create(world, asked.params), world.store)


def _retrieve_refund(world: World, asked: Asked) -> Json:
    asked.params.refuse_unknown()
    refund: Refund = find(world.store.refunds, asked.id, "refund", "refund")
    return render(refund, world.store)


def _list_refunds(world: World, asked: Asked) -> Json:
    charge, intent = asked.params.text("charge"), asked.params.text("payment_intent")
    found = [
        refund
        for refund in world.store.refunds.values()
        if charge in (None, refund.charge) and intent in (None, refund.payment_intent)
    ]
    return page(asked.params, found, "/v1/refunds", lambda each: render(each, world.store))


def _retrieve_charge(world: World, asked: Asked) -> Json:
    asked.params.refuse_unknown()
    charge: Charge = find(world.store.charges, asked.id, "charge", "charge")
    return render(charge, world.store)


def _list_charges(world: World, asked: Asked) -> Json:
    intent = asked.params.text("payment_intent")
    found = [charge for charge in world.store.charges.values() if intent in (None, charge.payment_intent)]
    return page(asked.params, found, "/v1/charges", lambda each: render(each, world.store))


def _retrieve_dispute(world: World, asked: Asked) -> Json:
    asked.params.refuse_unknown()
    dispute: Dispute = find(world.store.disputes, asked.id, "dispute", "dispute")
    return render(dispute, world.store)


def _event(world: World, event: Event) -> Json:
    return shapes.event(event, pending=world.webhooks.pending(event.id), api_version=world.config.api_version)


def _retrieve_event(world: World, asked: Asked) -> Json:
    asked.params.refuse_unknown()
    return _event(world, find(world.store.events, asked.id, "event", "id"))


def _list_events(world: World, asked: Asked) -> Json:
    pattern, types = asked.params.text("type"), asked.params.texts("types")
    delivered = asked.params.flag("delivery_success")
    found = [
        event
        for event in world.store.events.values()
        if (pattern is None or fnmatchcase(event.type, pattern))
        and (not types or event.type in types)
        and delivered in (None, world.webhooks.pending(event.id) == 0)
    ]
    return page(asked.params, found, "/v1/events", lambda each: _event(world, each))


def _create_price(world: World, asked: Asked) -> Json:
    return render(catalog.create_price(world, asked.params), world.store)


def _retrieve_price(world: World, asked: Asked) -> Json:
    asked.params.refuse_unknown()
    return render(find(world.store.prices, asked.id, "price", "price"), world.store)


def _create_product(world: World, asked: Asked) -> Json:
    return render(catalog.create_product(world, asked.params), world.store)


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
)
