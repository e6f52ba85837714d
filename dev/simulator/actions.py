"""What people and time do to a payment: the one door for the pay page, the control API and the faults."""

from typing import Literal, get_args

from dev.simulator import checkout, intents, refunds
from dev.simulator.account import World
from dev.simulator.errors import refused
from dev.simulator.methods import How
from dev.simulator.records import Intent, Session

Late = Literal["no", "complete", "expired"]
"""Whether a payment may land on an expired session, as one in flight does, and what the session shows then."""
LATES: tuple[Late, ...] = get_args(Late)


def pay(world: World, session: Session, how: How, late: Late = "no") -> None:
    """Pay at a session. Raises StripeError where the session cannot be paid at."""
    if session.status == "complete" or (session.status == "expired" and late == "no"):
        raise refused(f"The session is {session.status}.")
    if session.status == "open" or late == "expired":
        checkout.confirm(world, session, how)
        return
    session.status = "open"
    try:
        checkout.confirm(world, session, how)
    finally:
        if session.status == "open":
            session.status = "expired"


def pay_intent(world: World, intent: Intent, how: How, base_url: str) -> None:
    """Confirm a PaymentIntent in the shopper's browser, as Stripe.js does with the client secret."""
    if intent.session is not None:
        raise refused("The PaymentIntent is a Checkout Session's: pay there.")
    check_confirmable(intent)
    intents.pay_with(world, intent, how, base_url)


def check_confirmable(intent: Intent) -> None:
    """Raise unless the PaymentIntent can be confirmed now."""
    if intent.status not in ("requires_payment_method", "requires_confirmation", "requires_action"):
        raise refused(
            f"This PaymentIntent could not be confirmed because it has a status of {intent.status}.",
            code="payment_intent_unexpected_state",
        )


def dispute(world: World, intent: Intent) -> None:
    """Take the money of a PaymentIntent back through the bank."""
    if intent.latest_charge is None:
        raise refused("The PaymentIntent has no charge.")
    refunds.dispute(world, world.store.charges[intent.latest_charge])


def tick(world: World) -> None:
    """Do what time does: sessions expire, authorisations fall back."""
    for object_id in world.due():
        session, intent = world.store.sessions.get(object_id), world.store.intents.get(object_id)
        if session is not None and session.status == "open":
            if session.expires_at > world.clock.now():
                world.remind(session.expires_at, session.id)
            else:
                checkout.expire(world, session)
        elif intent is not None and intent.status == "requires_capture":
            intents.cancel(world, intent, "automatic", by_api=False)
