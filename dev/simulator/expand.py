"""`expand`: ids in an answer replaced by their objects (https://docs.stripe.com/api/expanding_objects)."""

from dev.simulator.errors import StripeError, invalid
from dev.simulator.records import Json
from dev.simulator.shapes import line, page_of, render
from dev.simulator.store import Store

_TABLES = {
    "checkout.session": {"payment_intent": "intents"},
    "payment_intent": {"latest_charge": "charges", "payment_method": "payment_methods"},
    "charge": {"payment_intent": "intents"},
    "refund": {"charge": "charges", "payment_intent": "intents"},
    "dispute": {"charge": "charges", "payment_intent": "intents"},
    "price": {"product": "products"},
}
_MOST_LEVELS = 4


def expand(answer: Json, paths: list[str], store: Store) -> None:
    """Replace what the paths name, in place. Raises Stripe's error for what cannot be expanded."""
    for path in paths:
        parts = path.split(".")
        if len(parts) > _MOST_LEVELS:
            raise invalid(f"You cannot expand more than {_MOST_LEVELS} levels of a property.", param="expand")
        _expand(answer, parts, path, store)


def _expand(at: Json, parts: list[str], path: str, store: Store) -> None:
    name, rest = parts[0], parts[1:]
    if at["object"] == "list":
        if name != "data":
            raise _not_expandable(path)
        for entry in at["data"] if rest else []:
            _expand(entry, rest, path, store)
        return
    if not _replace(at, name, store):
        raise _not_expandable(path)
    if rest and isinstance(at[name], dict):
        _expand(at[name], rest, path, store)


def _replace(at: Json, name: str, store: Store) -> bool:
    match at["object"], name:
        case "checkout.session", "line_items":
            _put_lines(at, store)
        case "charge", "refunds":
            _put_refunds(at, store)
        case "item", "price":
            pass  # is never an id there
        case kind, _ if name in _TABLES.get(kind, {}):
            if isinstance(at[name], str):
                at[name] = render(getattr(store, _TABLES[kind][name])[at[name]], store)
        case _:
            return False
    return True


def _put_lines(session: Json, store: Store) -> None:
    if "line_items" not in session:
        url = f"/v1/checkout/sessions/{session['id']}/line_items"
        session["line_items"] = page_of([line(each, store) for each in store.sessions[session["id"]].lines], url)


def _put_refunds(charge: Json, store: Store) -> None:
    refunds = [render(refund, store) for refund in store.refunds.values() if refund.charge == charge["id"]]
    charge["refunds"] = page_of(refunds[::-1], f"/v1/charges/{charge['id']}/refunds")


def _not_expandable(path: str) -> StripeError:
    return invalid(f"This property cannot be expanded ({path}).", param="expand")
