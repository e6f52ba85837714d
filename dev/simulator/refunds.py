"""Refunds (https://docs.stripe.com/api/refunds) and disputes."""

from dev.simulator.account import Account
from dev.simulator.errors import invalid, refused
from dev.simulator.forms import Params
from dev.simulator.ids import new_id
from dev.simulator.methods import METHODS
from dev.simulator.records import Charge, Dispute, Refund
from dev.simulator.store import find


def create(account: Account, params: Params) -> Refund:
    """Refund a charge, wholly or in part. A card's refund succeeds at once, others stay pending."""
    charge = _charge(account, params)
    amount = params.integer("amount", least=1)
    reason = params.choice("reason", "duplicate", "fraudulent", "requested_by_customer")
    metadata = params.metadata()
    returns_fee, reverses = params.flag("refund_application_fee"), params.flag("reverse_transfer")
    params.refuse_unknown(frozenset({"expand", "instructions_email"}))
    _check(charge, amount)
    if returns_fee and "application_fee_amount" not in charge.routing:
        raise invalid("The simulator has no application fee of this charge.", param="refund_application_fee")
    if reverses and "transfer_data" not in charge.routing:
        raise invalid("The simulator has no transfer of this charge.", param="reverse_transfer")
    left = charge.amount_captured - charge.amount_refunded
    refund = Refund(
        id=new_id("re"),
        created=account.clock.now(),
        charge=charge.id,
        payment_intent=charge.payment_intent,
        amount=left if amount is None else amount,
        currency=charge.currency,
        reason=reason,
        metadata=metadata,
        status="succeeded" if METHODS[charge.method_type].way == "card" else "pending",
        returns_fee=returns_fee is True,
        reverses_transfer=reverses is True,
    )
    account.store.refunds[refund.id] = refund
    before = charge.amount_refunded
    charge.amount_refunded += refund.amount
    account.emit("refund.created", refund)
    account.emit("charge.refunded", charge, {"amount_refunded": before})
    return refund


def _charge(account: Account, params: Params) -> Charge:
    charge_id, intent_id = params.text("charge"), params.text("payment_intent")
    if charge_id is not None:
        charge = find(account.store.charges, charge_id, "charge", "charge", in_url=False)
        if intent_id not in (None, charge.payment_intent):
            raise invalid("The charge is not one of the PaymentIntent's.", param="charge")
        return charge
    if intent_id is None:
        raise invalid("One of the following params should be provided: payment_intent, charge.")
    intent = find(account.store.intents, intent_id, "payment_intent", "payment_intent", in_url=False)
    if intent.latest_charge is None:
        raise refused(f"This PaymentIntent ({intent.id}) does not have a successful charge to refund.")
    return account.store.charges[intent.latest_charge]


def _check(charge: Charge, amount: int | None) -> None:
    if not charge.captured:
        message = f"This PaymentIntent ({charge.payment_intent}) does not have a successful charge to refund."
        raise refused(message)
    if charge.disputed:
        raise refused(f"Charge {charge.id} has been charged back; cannot issue a refund.", code="charge_disputed")
    left = charge.amount_captured - charge.amount_refunded
    if left == 0:
        raise refused(f"Charge {charge.id} has already been refunded.", code="charge_already_refunded")
    if amount is not None and amount > left:
        raise refused(f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})", param="amount")


def settle(account: Account, refund: Refund, *, ok: bool) -> None:
    """Settle a refund. A succeeded refund can still fail later: the bank returns the money."""
    if refund.status == "failed" or (ok and refund.status == "succeeded"):
        raise refused(f"The refund is {refund.status} already.")
    previous = {"status": refund.status}
    charge = account.store.charges[refund.charge]
    if ok:
        refund.status = "succeeded"
    else:
        refund.status, refund.failure_reason = "failed", "expired_or_canceled_card"
        charge.amount_refunded -= refund.amount
    account.emit("refund.updated", refund, previous)
    account.emit("charge.refund.updated", refund, previous)
    if not ok:
        account.emit("refund.failed", refund)


def dispute(account: Account, charge: Charge) -> Dispute:
    """Open a dispute: the bank withdraws the money."""
    if not charge.captured or charge.disputed:
        raise refused("Only a captured charge can be disputed, and only once.")
    opened = Dispute(
        new_id("du"), account.clock.now(), charge.id, charge.payment_intent, charge.amount_captured, charge.currency
    )
    account.store.disputes[opened.id] = opened
    charge.disputed = True
    account.emit("charge.dispute.created", opened)
    return opened
