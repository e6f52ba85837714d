"""Webhooks: every event to every endpoint, signed at each attempt, repeated until acknowledged with 2xx."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import httpx

from dev.simulator.config import Config
from dev.simulator.faults import Fault, Faults
from dev.simulator.records import Event
from dev.simulator.shapes import event as render_event
from dev.simulator.signing import signature
from dev.simulator.waiting import wait

_TIMEOUT_SECONDS = 10.0


@dataclass
class Delivery:
    """The delivery of one event to one endpoint."""

    event: Event
    endpoint: int
    number: int
    state: Literal["waiting", "held", "sending", "delivered", "dropped", "given up"] = "waiting"
    answers: list[int | None] = field(default_factory=list)
    """The status of each attempt; None if there was no answer."""
    fault: Fault | None = None
    released: bool = False
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    """Set after its first attempt; the next event of the payment is then sent."""

    @property
    def out_of_order(self) -> bool:
        """Whether a fault takes it out of order: it waits for no other delivery, and none waits for it."""
        return self.fault is not None and self.fault.effect != "duplicate"


class Webhooks:
    """Sends what `send` is given. Events of one payment are sent in order, others concurrently."""

    def __init__(self, config: Config, faults: Faults) -> None:
        self.endpoints = list(config.endpoints)
        self.own_accounts = frozenset(account for _, account in config.keys)
        """The accounts that are nobody's connected accounts."""
        self.deliveries: list[Delivery] = []
        self._config = config
        self._faults = faults
        self._last: dict[tuple[str, int], Delivery] = {}
        self._pending: Counter[str] = Counter()
        self._latest_tried: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: httpx.AsyncClient | None = None

    def send(self, event: Event) -> None:
        """Send an event to all endpoints that get it, subject to the faults."""
        for index in self._takers(event):
            fault = self._faults.draw("webhook", event.type, frozenset({event.chain, str(event.object.get("id"))}))
            delivery = self._delivery(event, index, fault)
            before = self._last.get((event.chain, index))
            if not delivery.out_of_order:
                self._last[event.chain, index] = delivery
            self._start(delivery, before)

    def resend(self, event: Event) -> None:
        """Send an event again, without faults."""
        for index in self._takers(event):
            self._start(self._delivery(event, index, None), None)

    def _takers(self, event: Event) -> list[int]:
        """Return which endpoints get it: a Connect endpoint what happens in connected accounts."""
        own = event.account in self.own_accounts
        return [
            index
            for index, endpoint in enumerate(self.endpoints)
            if (event.account is not None and not own if endpoint.connect else endpoint.account == event.account)
        ]

    def pending(self, event_id: str) -> int:
        """Return how many deliveries of an event are not acknowledged."""
        return self._pending[event_id]

    def _delivery(self, event: Event, endpoint: int, fault: Fault | None) -> Delivery:
        delivery = Delivery(event, endpoint, number=len(self.deliveries), fault=fault)
        self.deliveries.append(delivery)
        self._pending[event.id] += 1
        return delivery

    def release(self, event_id: str | None = None) -> int:
        """Release all held events, or one; return how many."""
        held = [each for each in self.deliveries if each.state == "held" and event_id in (None, each.event.id)]
        for delivery in held:
            delivery.released = True
        return len(held)

    def unsent(self) -> list[str]:
        """Return the ids of the events that some endpoint has not acknowledged."""
        pending = [each for each in self.deliveries if each.state in ("waiting", "held", "sending")]
        return list(dict.fromkeys(delivery.event.id for delivery in pending))

    def reset(self) -> None:
        """Drop all deliveries and restore the configured endpoints."""
        self.endpoints = list(self._config.endpoints)
        for task in self._tasks:
            task.cancel()
        self.deliveries.clear()
        self._last.clear()
        self._pending.clear()
        self._latest_tried.clear()

    async def close(self) -> None:
        """Stop sending."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    def _start(self, delivery: Delivery, before: Delivery | None) -> None:
        task = asyncio.create_task(self._deliver(delivery, before))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, delivery: Delivery, before: Delivery | None) -> None:
        fault = delivery.fault
        if fault is not None and delivery.out_of_order:
            if fault.effect == "drop":
                delivery.state = "dropped"
                return
            await self._out_of_order(delivery, fault)
        elif before is not None:
            await before.tried.wait()
        delivery.state = "sending"
        await self._attempts(delivery)
        if self._last.get((delivery.event.chain, delivery.endpoint)) is delivery:
            del self._last[delivery.event.chain, delivery.endpoint]
        if fault is not None and fault.effect == "duplicate":
            for _ in range(fault.copies):
                await asyncio.sleep(self._faults.pause(fault) if fault.up_to is not None else 0)
                await self._attempt(delivery)

    async def _out_of_order(self, delivery: Delivery, fault: Fault) -> None:
        match fault.effect:
            case "hold":
                delivery.state = "held"
                await wait(unless=lambda: delivery.released or fault.over)
            case "reorder":
                await wait(fault.seconds, unless=lambda: fault.over or self._overtaken(delivery))
            case _:
                await wait(self._faults.pause(fault), unless=lambda: fault.over)

    def _overtaken(self, delivery: Delivery) -> bool:
        return self._latest_tried.get(delivery.endpoint, -1) > delivery.number

    async def _attempts(self, delivery: Delivery) -> None:
        pause = self._config.first_retry
        while not await self._attempt(delivery):
            delivery.tried.set()
            if self._config.attempts is not None and len(delivery.answers) >= self._config.attempts:
                delivery.state = "given up"
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._config.longest_retry)
        delivery.state = "delivered"
        delivery.tried.set()
        self._pending[delivery.event.id] -= 1

    async def _attempt(self, delivery: Delivery) -> bool:
        status = await self._post(delivery)
        delivery.answers.append(status)
        latest = self._latest_tried.get(delivery.endpoint, -1)
        self._latest_tried[delivery.endpoint] = max(latest, delivery.number)
        return status is not None and 200 <= status < 300  # noqa: PLR2004 - a redirect is a failure, as at Stripe

    async def _post(self, delivery: Delivery) -> int | None:
        endpoint = self.endpoints[delivery.endpoint]
        shape = render_event(
            delivery.event, pending=self.pending(delivery.event.id), api_version=self._config.api_version
        )
        if endpoint.connect:
            shape["account"] = delivery.event.account
        body = json.dumps(shape, indent=2)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        if endpoint.secrets:
            headers["Stripe-Signature"] = signature(body, endpoint.secrets)
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False)
        try:
            answer = await self._client.post(endpoint.url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL):
            return None
        return answer.status_code
