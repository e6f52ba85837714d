"""The ledger: amounts requested, captured and refunded per payment."""

from dev.simulator.connect import shares
from dev.simulator.records import Intent, Json, Session
from dev.simulator.shapes import payment_status
from dev.simulator.store import Store


def payments(store: Store) -> list[Json]:
    """Return every PaymentIntent with what was captured and refunded."""
    return [intent_summary(intent, store) for intent in store.intents.values()]


def intent_summary(intent: Intent, store: Store) -> Json:
    """Return one payment's amounts. `net` is captured less refunded, disputes not counted."""
    charges = [charge for charge in store.charges.values() if charge.payment_intent == intent.id]
    refunds = [refund for refund in store.refunds.values() if refund.payment_intent == intent.id]
    captured = sum(charge.amount_captured for charge in charges)
    refunded = sum(refund.amount for refund in refunds if refund.status != "failed")
    return {
        "payment_intent": intent.id,
        "session": intent.session,
        "status": intent.status,
        "currency": intent.currency,
        "amount": intent.amount,
        "capturable": intent.amount_capturable,
        "captured": captured,
        "refunded": refunded,
        "net": captured - refunded,
        "refunds": [{"id": each.id, "amount": each.amount, "status": each.status} for each in refunds],
        "attempts": len(charges),
        "disputed": any(charge.disputed for charge in charges),
        "metadata": intent.metadata,
        "created": intent.created,
        "account": intent.account,
        **shares(intent, captured, refunds),
    }


def session_summary(session: Session, store: Store) -> Json:
    """Return a session with the amounts of its payment."""
    intent = store.intents.get(session.payment_intent or "")
    return {
        "session": session.id,
        "status": session.status,
        "payment_status": payment_status(session, store),
        "expires_at": session.expires_at,
        "url": session.page if session.status == "open" else None,
        "amount": session.amount_total,
        "currency": session.currency,
        "metadata": session.metadata,
        "account": session.account,
        "payment": None if intent is None else intent_summary(intent, store),
    }
