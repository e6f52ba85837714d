"""Random interleavings of payments, commits, ends, refunds by hand and lost events: no money is kept for nothing.

The decisions are the product's (`HoldState`, `decide`); Stripe, the row and the late payment are the smallest models of
what the other tests check on real servers. `EXAMPLES_TIMES` times 1,000 interleavings; `make chaos` tries 10,000.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from domain.payments import Payment
from tests.examples import examples
from workflows.decision import ClosePayment, CommitHold, ExpireHold, ReleaseHold, Wait, decide
from workflows.hold_state import HoldState
from workflows.messages import Cancel, Commit

START = datetime(2026, 11, 28, tzinfo=UTC)
DEADLINE = START + timedelta(minutes=20)
PAGE, OTHER = Payment("pi_page", "cs_page"), Payment("pi_other")
BOTH = {PAGE.id: PAGE, OTHER.id: OTHER}
ACTS = ("pay", "authorise", "event", "lose", "refund", "commit", "elsewhere", "release", "wait", "reconcile")


@dataclass
class World:
    """One hold with a page, and another payment that names the hold and that nobody attached."""

    dice: Random
    now: datetime = START
    state: HoldState = field(default_factory=lambda: HoldState(DEADLINE))
    money: dict[str, str] = field(default_factory=lambda: dict.fromkeys(BOTH, "open"))
    events: list[str] = field(default_factory=list)
    status: str = "active"
    bought_by: str | None = None
    elsewhere: bool = False
    cases: set[str] = field(default_factory=set)
    story: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state.attach(PAGE)
        self.state.page = PAGE

    def act(self, what: str) -> None:
        name = self.dice.choice(list(BOTH))
        self.story.append(f"{what} {name}")
        match what:
            case "pay" | "authorise" if self.money[name] == "open":
                self.money[name] = "paid" if what == "pay" else "authorized"
                self.events.append(name)
            case "event" if self.events:
                self.tell(self.dice.choice(self.events))  # it stays: events repeat
            case "lose":
                self.events.clear()
            case "refund" if self.money[name] == "paid":
                self.money[name] = "refunded"
            case "commit" | "elsewhere" if self.status == "active":
                self.commit(paid_elsewhere=what == "elsewhere")
            case "release" if self.status == "active":
                self.state.record_cancel(Cancel("shop"))
            case "wait":
                self.now += timedelta(minutes=self.dice.randint(1, 15))
            case "reconcile":
                for each in BOTH:
                    self.tell(each)

    def commit(self, *, paid_elsewhere: bool) -> None:
        made = self.money[PAGE.id] in ("paid", "authorized")
        if not paid_elsewhere and not self.state.paid and not made:
            return  # payment_not_made
        payment = None if paid_elsewhere or self.state.paid else self.as_read(PAGE.id)
        self.state.record_commit(Commit("shop", paid_elsewhere=paid_elsewhere, payment=payment))

    def as_read(self, name: str) -> Payment:
        payment = BOTH[name]
        return Payment(payment.payment_intent_id, payment.session_id, self.money[name] == "authorized")

    def tell(self, name: str) -> None:
        """Deliver the event of a payment: what was taken back since does not count."""
        if self.money[name] not in ("paid", "authorized"):
            return
        if self.status == "active":
            self.state.record_payment(self.as_read(name))
        elif self.bought_by != name and name not in self.cases:
            self.late(name)

    def run(self) -> None:
        while self.status == "active":
            match decide(self.state, self.now):
                case CommitHold() as sale:
                    self.status, self.elsewhere = "committed", sale.paid_elsewhere
                    self.bought_by = sale.payment.id if sale.payment else None
                case ReleaseHold():
                    self.status = "released"
                case ExpireHold():
                    self.status = "expired"
                case ClosePayment(cancelled):
                    self.close(cancelled=cancelled)
                case Wait():
                    return
                case other:
                    raise AssertionError(other)
        self.finish()

    def close(self, *, cancelled: bool) -> None:
        if self.money[PAGE.id] == "open" or (cancelled and self.money[PAGE.id] == "authorized"):
            self.money[PAGE.id] = "canceled"
        if self.money[PAGE.id] in ("paid", "authorized"):
            self.state.record_payment(self.as_read(PAGE.id))
        else:
            self.state.record_unpayable(PAGE)

    def finish(self) -> None:
        if self.elsewhere and self.state.payable:
            self.close(cancelled=True)
        for payment in [*self.state.payments.values(), *self.state.withdrawn.values()]:
            if payment.id == self.bought_by:
                self.capture(payment.id)
            elif payment.id not in self.cases:
                self.late(payment.id)

    def capture(self, name: str) -> None:
        if self.money[name] == "authorized":
            self.money[name] = "paid"

    def late(self, name: str) -> None:
        if self.money[name] not in ("paid", "authorized"):
            return
        if self.status == "committed" and self.elsewhere:
            self.cases.add(name)
        elif self.status == "committed" and self.bought_by is None:
            self.bought_by = name
            self.capture(name)
        elif self.status == "committed" or self.dice.random() < 0.5:  # bought by another, or the stock is gone
            self.money[name] = "refunded" if self.money[name] == "paid" else "canceled"
        else:
            self.status, self.bought_by = "committed", name
            self.capture(name)


def test_each_payment_bought_the_hold_or_went_back_or_is_a_case() -> None:
    for seed in range(examples(1000)):
        dice = Random(seed)  # noqa: S311 - nothing secret
        world = World(dice)
        for _ in range(dice.randint(2, 8)):
            for _ in range(dice.randint(1, 3)):  # what arrives in one task of the workflow is decided on together
                world.act(dice.choice(ACTS))
            world.run()
        world.now = DEADLINE
        world.run()
        world.act("reconcile")
        world.run()

        assert world.status != "active", world.story
        for name, state in world.money.items():
            settled = state in ("open", "canceled", "refunded") or name in world.cases
            assert settled or (state == "paid" and world.bought_by == name), (seed, name, state, world)
        assert not (world.elsewhere and world.bought_by), (seed, world)
        assert PAGE.id in world.cases or world.money[PAGE.id] != "open" or not world.elsewhere, (seed, world)
