"""One simulated Stripe account: its records, clock, faults and webhooks."""

import heapq
from collections import deque
from dataclasses import dataclass
from typing import Any

from dev.simulator.clock import Clock
from dev.simulator.config import Config
from dev.simulator.faults import Faults
from dev.simulator.ids import new_id
from dev.simulator.records import Charge, Dispute, Event, Intent, Json, Refund, Session
from dev.simulator.shapes import render
from dev.simulator.store import Store
from dev.simulator.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class Call:
    """One API call, recorded for tests."""

    request_id: str
    operation: str
    path: str
    idempotency_key: str | None
    status: int | None
    """None if it was not answered."""
    replayed: bool
    fault: str | None


class Account:
    """The whole state of one simulator. Operations never await, so each is atomic."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.clock = Clock()
        self.store = Store()
        self.faults = Faults(config.seed)
        self.webhooks = Webhooks(config, self.faults)
        self.calls: deque[Call] = deque(maxlen=20_000)
        self.approvals = config.approvals
        self.asked: deque[Any] = deque(maxlen=1_000)
        """The requests for approval, newest last."""
        self.request: tuple[str | None, str | None] = (None, None)
        """Request id and idempotency key of the API call that runs; events carry them."""
        self.changes = 0
        """Number of changes; the state file is written when it has grown."""
        self._due: list[tuple[int, str]] = []

    def emit(self, kind: str, record: Any, previous: Json | None = None) -> None:  # noqa: ANN401 - any record
        """Record an event about a record as it is now, and send it."""
        event = Event(
            id=new_id("evt"),
            created=self.clock.now(),
            type=kind,
            object=render(record, self.store),
            previous=previous,
            request_id=self.request[0],
            idempotency_key=self.request[1],
            chain=self._chain(record),
        )
        self.store.events[event.id] = event
        self.webhooks.send(event)
        self.changes += 1

    def _chain(self, record: Any) -> str:  # noqa: ANN401 - any record
        match record:
            case Session():
                return record.id
            case Intent():
                return record.session or record.id
            case Charge() | Refund() | Dispute():
                return self._chain(self.store.intents[record.payment_intent])
        return str(record.id)

    def check_at(self, when: int, object_id: str) -> None:
        """Schedule a check of a session or PaymentIntent; see `due`."""
        heapq.heappush(self._due, (when, object_id))

    def due(self) -> list[str]:
        """Remove and return the ids whose check is due."""
        now, ids = self.clock.now(), []
        while self._due and self._due[0][0] <= now:
            ids.append(heapq.heappop(self._due)[1])
        return ids

    def reset(self) -> None:
        """Delete everything but the configuration."""
        self.webhooks.reset()
        self.store = Store()
        self.clock.reset()
        self.faults.clear()
        self.calls.clear()
        self.approvals = self.config.approvals
        self.asked.clear()
        self._due.clear()
        self.changes += 1

    def dump(self) -> Json:
        """Return the state as JSON values."""
        return {"store": self.store.dump(), "offset": self.clock.offset, "webhooks": self.webhooks.unsent()}

    def load(self, state: Json) -> None:
        """Restore a dumped state and send undelivered webhooks. Needs a running event loop."""
        self.store = Store.load(state["store"])
        self.clock.offset = state["offset"]
        for session in self.store.sessions.values():
            if self.config.public_url is not None:  # it may have changed since
                session.page = f"{self.config.public_url.rstrip('/')}/c/pay/{session.id}"
            if session.status == "open":
                self.check_at(session.expires_at, session.id)
        for intent in self.store.intents.values():
            if intent.status == "requires_capture" and intent.authorized_until is not None:
                self.check_at(intent.authorized_until, intent.id)
        for event_id in state["webhooks"]:
            self.webhooks.send(self.store.events[event_id])
