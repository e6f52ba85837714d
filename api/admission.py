"""Lets in as many requests as can be answered in time, and refuses the others at once with 429 `overloaded`.

Requests of each importance have a gate of their own, so none takes the room of another (docs/decisions/0034).
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

from fastapi import Request

from api.disconnects import unless_gone
from api.errors import ApiError
from api.problems import Problem
from core.adaptive_limit import AdaptiveLimit
from core.fair_gate import FairGate, GateClosedError, Ticket
from core.metrics import Telemetry
from core.settings import Settings
from holds.request_timeout import caller_arrived


class Importance(StrEnum):
    """What a request is about, the most important first. Creates and checkouts are as important as each other."""

    PAID = "paid"
    """Webhooks and commits: money has moved."""
    CHANGE = "change"
    """Releases, extensions, changes and attached payments: the hold exists."""
    CREATE = "create"
    CHECKOUT = "checkout"
    """Apart from creates: Stripe's slowness must not refuse them."""
    LIST = "list"


@dataclass(frozen=True, slots=True)
class _Room:
    first: int
    least: int
    most: int
    patience: float
    """The share of the request's time-out that it may wait, by the estimate at its arrival."""
    longest: float
    """The share after which a request that still waits is refused: the estimate was wrong."""
    for_calm_shops: float = 0.5
    """The share of room beyond the limit that is for shops without a request in flight."""


_ROOMS = {
    Importance.PAID: _Room(first=64, least=32, most=400, patience=0.8, longest=0.8),
    Importance.CHANGE: _Room(first=32, least=16, most=400, patience=0.8, longest=0.8),
    Importance.CREATE: _Room(first=24, least=2, most=400, patience=0.05, longest=0.12),
    Importance.CHECKOUT: _Room(first=32, least=16, most=400, patience=0.05, longest=0.12),
}
_YIELDING = {Importance.CREATE, Importance.CHECKOUT}
"""Fewer of them are let in while commits and webhooks are in flight."""
_SPREAD_SECONDS = (1.0, 9.0)
"""Over at least and at most so many seconds the refused are told to come again."""

ROUTES: Mapping[str, Importance] = {
    "commit_hold": Importance.PAID,
    "release_hold": Importance.CHANGE,
    "extend_hold": Importance.CHANGE,
    "attach_payment": Importance.CHANGE,
    "browser_extend": Importance.CHANGE,
    "browser_release": Importance.CHANGE,
    "amend_hold": Importance.CHANGE,
    "resend_order": Importance.CHANGE,
    "create_hold": Importance.CREATE,
    "open_checkout": Importance.CHECKOUT,
    "pay_for_hold": Importance.CHECKOUT,
    "get_holds": Importance.LIST,
    "get_order": Importance.LIST,
    "get_items": Importance.LIST,
    "get_timeline": Importance.LIST,
    "export_items": Importance.LIST,
}
"""By the route's name. The webhook asks by itself, once it has verified the signature. All others are not limited: one
statement each, for people or for one cart."""


class Passage:
    """A request that was let in; it says how it went, before it leaves."""

    def __init__(self, route: str) -> None:
        self.route = route
        """Requests of one route take the same time when the service is idle."""
        self.did_its_work = False
        """Its time tells how busy the service is: of a refusal for stock, or of a repeat, it does not."""
        self.timed_out = False


class _Gate:
    """A gate with what its refusals are made from."""

    def __init__(self, room: _Room, first: FairGate | None = None) -> None:
        self.room = room
        limit = AdaptiveLimit(first=room.first, least=room.least, most=room.most)
        self.line = FairGate(limit, for_calm_shops=room.for_calm_shops, first=first)
        self._second = 0
        self._refused = self._refused_before = 0

    def count_refusal(self, now: float) -> None:
        if self._second != int(now):
            self._refused_before = self._refused if self._second == int(now) - 1 else 0
            self._refused, self._second = 0, int(now)
        self._refused += 1

    @property
    def seconds_to_spread(self) -> float:
        """How long the gate takes for those whom it refuses in a second."""
        needed = max(self._refused_before, self._refused) * (self.line.pace or 0.0)
        return min(max(needed, _SPREAD_SECONDS[0]), _SPREAD_SECONDS[1])


class Admission:
    """The gates of a process."""

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self._timeout = settings.request_timeout_ms / 1000
        self._telemetry = telemetry
        lists = max(1, settings.pool_size // 2)  # the others keep connections to Postgres
        rooms = _ROOMS | {Importance.LIST: _Room(lists, lists, lists, patience=0.1, longest=0.4, for_calm_shops=0)}
        paid = _Gate(rooms.pop(Importance.PAID))
        self._gates = {Importance.PAID: paid} | {
            importance: _Gate(room, paid.line if importance in _YIELDING else None)
            for importance, room in rooms.items()
        }
        for importance in self._gates:
            telemetry.expect_refusals(importance)
            self._show(importance)

    @asynccontextmanager
    async def admitted(self, importance: Importance, shop_id: str, request: Request) -> AsyncIterator[Passage]:
        """Run the block once it may run. Raises the 429, and ClientDisconnect if the caller left while it waited."""
        ticket = await self._enter(importance, shop_id, request)
        passage = Passage(request.scope["route"].name)
        arrived = caller_arrived.set(ticket.arrived)
        try:
            yield passage
        finally:
            caller_arrived.reset(arrived)
            self._leave(importance, ticket, passage)

    async def _enter(self, importance: Importance, shop_id: str, request: Request) -> Ticket:
        await request.body()  # a slow sender takes no room; and after the body only the end of the connection comes
        gate, now = self._gates[importance], time.monotonic()
        try:
            ticket = gate.line.arrive(shop_id, gate.room.patience * self._timeout, now)
        except GateClosedError:
            raise self._refusal(importance, shop_id, "full") from None
        if ticket.entered is None:
            await self._wait(importance, ticket, request)
        self._show(importance)
        return ticket

    async def _wait(self, importance: Importance, ticket: Ticket, request: Request) -> None:
        let_in = asyncio.Event()
        ticket.wake = let_in.set
        self._show(importance)
        try:
            async with asyncio.timeout(self._gates[importance].room.longest * self._timeout):
                await unless_gone(request, let_in.wait())
        except TimeoutError:
            pass
        except BaseException:  # the caller has left, or the process ends
            if ticket.entered is None:
                self._gates[importance].line.give_up(ticket)
            else:
                self._make_room(importance, ticket)
            raise
        if ticket.entered is None:
            self._gates[importance].line.give_up(ticket)
            raise self._refusal(importance, ticket.shop, "waited")

    def _leave(self, importance: Importance, ticket: Ticket, passage: Passage) -> None:
        line, now = self._gates[importance].line, time.monotonic()
        if passage.timed_out:
            line.limit.timed_out()
        elif passage.did_its_work and ticket.entered is not None:
            line.limit.answered(passage.route, now - ticket.entered, shop=ticket.shop, full=line.is_full, now=now)
            if importance is not Importance.LIST:  # the list of a shop that does not exist is empty
                self._telemetry.shop_seen(ticket.shop)
        self._make_room(importance, ticket)

    def _make_room(self, importance: Importance, ticket: Ticket) -> None:
        self._gates[importance].line.leave(ticket, time.monotonic())
        self._show(importance)

    def _refusal(self, importance: Importance, shop_id: str, reason: str) -> ApiError:
        gate = self._gates[importance]
        gate.count_refusal(time.monotonic())
        self._telemetry.refused(importance, reason, shop_id)
        seconds = random.uniform(1.0, 1.0 + gate.seconds_to_spread)  # noqa: S311 - not for secrets
        refusal = ApiError(Problem.overloaded)
        refusal.retry_after_ms = int(seconds * 1000)
        return refusal

    def _show(self, importance: Importance) -> None:
        line = self._gates[importance].line
        self._telemetry.show_admission(importance, line.limit.value, line.inside, line.waiting)
