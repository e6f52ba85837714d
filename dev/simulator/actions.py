"""What shoppers, banks and time do to a payment, for the pay page, the control API and the faults."""

from typing import Literal, get_args

from dev.simulator import checkout, intents, refunds
from dev.simulator.account import Account
from dev.simulator.errors import refused
from dev.simulator.methods import PayMethod
from dev.simulator.records import Intent, Session

Late = Literal["no", "complete", "expired"]
"""Whether a payment in flight completes on an expired session, and the status that the session then has."""
LATES: tuple[Late, ...] = get_args(Late)


def pay(account: Account, session: Session, how: PayMethod, late: Late = "no") -> None:
    """Pay a session. Raises StripeError if it cannot be paid."""
    if session.status == "complete" or (session.status == "expired" and late == "no"):
        raise refused(f"The session is {session.status}.")
    if session.status == "open" or late == "expired":
        checkout.confirm(account, session, how)
        return
    session.status = "open"
    try:
        checkout.confirm(account, session, how)
    finally:
        if session.status == "open":
            session.status = "expired"


def pay_intent(account: Account, intent: Intent, how: PayMethod, base_url: str) -> None:
    """Confirm a PaymentIntent in the shopper's browser, as Stripe.js does with the client secret."""
    if intent.session is not None:
        raise refused("The PaymentIntent is a Checkout Session's: pay there.")
    check_confirmable(intent)
    intents.pay_with(account, intent, how, base_url)


def check_confirmable(intent: Intent) -> None:
    """Raise unless the PaymentIntent can be confirmed now."""
    if intent.status not in ("requires_payment_method", "requires_confirmation", "requires_action"):
        raise refused(
            f"This PaymentIntent could not be confirmed because it has a status of {intent.status}.",
            code="payment_intent_unexpected_state",
        )


def dispute(account: Account, intent: Intent) -> None:
    """Dispute the charge of a PaymentIntent."""
    if intent.latest_charge is None:
        raise refused("The PaymentIntent has no charge.")
    refunds.dispute(account, account.store.charges[intent.latest_charge])


def tick(account: Account) -> None:
    """Expire the sessions and cancel the authorisations of all accounts that are due."""
    for each in account.everyone():
        _tick(each)


def _tick(account: Account) -> None:
    for object_id in account.due():
        session, intent = account.store.sessions.get(object_id), account.store.intents.get(object_id)
        if session is not None and session.status == "open":
            if session.expires_at > account.clock.now():
                account.check_at(session.expires_at, session.id)
            else:
                checkout.expire(account, session)
        elif intent is not None and intent.status == "requires_capture":
            intents.cancel(account, intent, "automatic", by_api=False)
