"""Fault injection for API calls and webhooks."""

import random
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from dev.simulator.ids import new_id
from dev.simulator.methods import PayMethod

On = Literal["api", "webhook"]

ApiEffect = Literal["error", "timeout", "delay", "pay"]
"""Answer an error, never answer, answer slowly, or let the shopper pay at that moment."""

WebhookEffect = Literal["duplicate", "delay", "reorder", "drop", "hold"]
"""Send again, send later, send after the next one, never send, or send when released."""


@dataclass
class Fault:
    """A rule. It fires on those matching calls or events that come after the first `skip`, up to `times` of them."""

    on: On
    effect: ApiEffect | WebhookEffect
    match: str = "*"
    """A pattern for the operation, as `checkout.sessions.expire`, or for the event type."""
    about: str | None = None
    """Only what is about this payment: a session's or PaymentIntent's id."""
    skip: int = 0
    times: int | None = 1
    """None: every one."""
    share: float = 1.0
    """Fires on this share of the rest, by the seeded random generator."""
    when: Literal["before", "after"] = "before"
    """Whether the call fails before or after it took effect."""
    status: int = 500
    """Of an error."""
    code: str | None = None
    """Of an error."""
    stored: bool = True
    """Whether an error is kept under the idempotency key, as Stripe keeps its 500s."""
    seconds: float = 1.0
    """How long to delay; how long at most to leave a call without answer, or to wait for another event."""
    up_to: float | None = None
    """Delays are spread from `seconds` to this."""
    copies: int = 1
    """How many more times an event is sent."""
    how: PayMethod = "card"
    """How the shopper pays."""
    id: str = field(default_factory=lambda: new_id("fault"))
    seen: int = 0
    fired: int = 0
    over: bool = False
    """Set when the rule is removed; delayed calls and webhooks then continue."""


class Faults:
    """All rules of one simulator in the order of creation; the first that fires applies."""

    def __init__(self, seed: int) -> None:
        self.rules: dict[str, Fault] = {}
        self._random = random.Random(seed)  # noqa: S311 - chance, not secrets

    def add(self, rule: Fault) -> Fault:
        """Add a rule."""
        self.rules[rule.id] = rule
        return rule

    def remove(self, rule_id: str) -> None:
        """Remove a rule. Raises KeyError if it does not exist."""
        self.rules.pop(rule_id).over = True

    def clear(self) -> None:
        """Remove all rules."""
        for rule_id in list(self.rules):
            self.remove(rule_id)

    def draw(self, on: On, name: str, about: frozenset[str]) -> Fault | None:
        """Return the rule that fires on this call or event."""
        for rule in self.rules.values():
            if rule.on != on or not fnmatchcase(name, rule.match):
                continue
            if rule.about is not None and rule.about not in about:
                continue
            if rule.times is not None and rule.fired >= rule.times:
                continue
            rule.seen += 1
            if rule.seen > rule.skip and (rule.share >= 1 or self._random.random() < rule.share):
                rule.fired += 1
                return rule
        return None

    def pause(self, rule: Fault) -> float:
        """Return how long this firing of a rule lasts."""
        return rule.seconds if rule.up_to is None else self._random.uniform(rule.seconds, rule.up_to)
