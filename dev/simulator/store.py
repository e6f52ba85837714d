"""All records of one simulator, by id, in the order of creation."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import TypeVar, get_args, get_type_hints

from dev.simulator.errors import missing
from dev.simulator.records import (
    Answer,
    Charge,
    Coupon,
    Customer,
    Dispute,
    Event,
    Intent,
    Invoice,
    Json,
    Line,
    PaymentMethod,
    Price,
    Product,
    PromotionCode,
    Refund,
    Session,
    ShippingRate,
)

Record = TypeVar("Record")


@dataclass
class Store:
    """The whole state apart from undelivered webhooks."""

    products: dict[str, Product] = field(default_factory=dict)
    prices: dict[str, Price] = field(default_factory=dict)
    shipping_rates: dict[str, ShippingRate] = field(default_factory=dict)
    coupons: dict[str, Coupon] = field(default_factory=dict)
    promotion_codes: dict[str, PromotionCode] = field(default_factory=dict)
    customers: dict[str, Customer] = field(default_factory=dict)
    invoices: dict[str, Invoice] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    payment_methods: dict[str, PaymentMethod] = field(default_factory=dict)
    intents: dict[str, Intent] = field(default_factory=dict)
    charges: dict[str, Charge] = field(default_factory=dict)
    refunds: dict[str, Refund] = field(default_factory=dict)
    disputes: dict[str, Dispute] = field(default_factory=dict)
    events: dict[str, Event] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)

    def has(self, object_id: str | None) -> bool:
        """Return whether it has this session, PaymentIntent, refund or event."""
        return any(object_id in table for table in (self.sessions, self.intents, self.refunds, self.events))

    @classmethod
    def merged(cls, stores: Iterable["Store"]) -> "Store":
        """Return one store with the records of all."""
        merged = cls()
        for store in stores:
            for table in fields(cls):
                getattr(merged, table.name).update(getattr(store, table.name))
        return merged

    def dump(self) -> Json:
        """Return everything as JSON values. Keys whose first request still runs are left out: that request is lost."""
        state = asdict(self)
        state["answers"] = {key: answer for key, answer in state["answers"].items() if answer["status"] is not None}
        return state

    @classmethod
    def load(cls, state: Json) -> "Store":
        """Return the store that was dumped."""
        store = cls()
        for table in fields(cls):
            kind = _KINDS[table.name]
            getattr(store, table.name).update(
                {key: kind(**values) for key, values in state.get(table.name, {}).items()}
            )
        for session in store.sessions.values():
            session.lines = [Line(**line) for line in state["sessions"][session.id]["lines"]]
        return store


_KINDS = {name: get_args(kind)[1] for name, kind in get_type_hints(Store).items()}
"""The class of the records of each table."""


def find(table: dict[str, Record], object_id: str, kind: str, param: str, *, in_url: bool = True) -> Record:
    """Return the record or raise Stripe's `resource_missing`."""
    record = table.get(object_id)
    if record is None:
        raise missing(kind, object_id, param, in_url=in_url)
    return record
