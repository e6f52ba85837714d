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
    account: str | None = None
    """The connected account that it acted as, or that of the key."""


class Account:
    """The whole state of one simulator. Operations never await, so each is atomic."""

    def __init__(self, config: Config, account_id: str | None = None, root: "Account | None" = None) -> None:
        self.id = account_id
        """None for the platform's account, which has all others."""
        self.root: Account = root or self
        self.config = config
        self.clock: Clock = root.clock if root else Clock()
        self.store = Store()
        self.faults: Faults = root.faults if root else Faults(config.seed)
        self.webhooks: Webhooks = root.webhooks if root else Webhooks(config, self.faults)
        self.calls: deque[Call] = root.calls if root else deque(maxlen=20_000)
        self.approvals = config.approvals
        self.asked: deque[Any] = deque(maxlen=1_000)
        """The requests for approval, newest last; like `approvals`, the root's."""
        self.connected_ids = config.accounts
        self.own_keys = config.keys
        self.members: dict[str, Account] = {}
        """The other accounts that were used, by their ids. Nothing of one is visible in another."""
        self.request: tuple[str | None, str | None] = (None, None)
        """Request id and idempotency key of the API call that runs; events carry them."""
        self.own_changes = 0
        self._due: list[tuple[int, str]] = []

    @property
    def changes(self) -> int:
        """Number of changes of all accounts; the state file is written when it has grown."""
        return self.root.own_changes

    @changes.setter
    def changes(self, value: int) -> None:
        self.root.own_changes = value

    def member(self, account_id: str) -> "Account":
        """Return another account of this simulator."""
        if account_id not in self.root.members:
            self.root.members[account_id] = Account(self.config, account_id, self.root)
        return self.root.members[account_id]

    def everyone(self) -> "list[Account]":
        """Return all accounts, the platform's first."""
        return [self.root, *self.root.members.values()]

    def owner_of(self, object_id: str | None) -> "Account":
        """Return the account that has an object, the platform's if none has it."""
        return next((each for each in self.everyone() if each.store.has(object_id)), self.root)

    def all_records(self) -> Store:
        """Return the records of all accounts in one store, to look at."""
        return Store.merged([each.store for each in self.everyone()])

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
            account=self.id,
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
        self.members.clear()
        self.connected_ids, self.own_keys = self.config.accounts, self.config.keys
        self.clock.reset()
        self.faults.clear()
        self.calls.clear()
        self.approvals = self.config.approvals
        self.asked.clear()
        self._due.clear()
        self.changes += 1

    def dump(self) -> Json:
        """Return the state as JSON values."""
        members = {account_id: each.store.dump() for account_id, each in self.members.items()}
        offset, webhooks = self.clock.offset, self.webhooks.unsent()
        return {"store": self.store.dump(), "members": members, "offset": offset, "webhooks": webhooks}

    def load(self, state: Json) -> None:
        """Restore a dumped state and send undelivered webhooks. Needs a running event loop."""
        self.clock.offset = state["offset"]
        self.restore(state["store"])
        for account_id, store in state.get("members", {}).items():
            self.member(account_id).restore(store)
        events = self.all_records().events
        for event_id in state["webhooks"]:
            self.webhooks.send(events[event_id])

    def restore(self, store: Json) -> None:
        """Restore the records of this account alone."""
        self.store = Store.load(store)
        for session in self.store.sessions.values():
            if self.config.public_url is not None:  # it may have changed since
                session.page = f"{self.config.public_url.rstrip('/')}/c/pay/{session.id}"
            if session.status == "open":
                self.check_at(session.expires_at, session.id)
        for intent in self.store.intents.values():
            if intent.status == "requires_capture" and intent.authorized_until is not None:
                self.check_at(intent.authorized_until, intent.id)
