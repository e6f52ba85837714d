"""The state machine of a PaymentIntent (https://docs.stripe.com/payments/paymentintents/lifecycle)."""

from typing import Literal

from dev.simulator.account import Account
from dev.simulator.errors import StripeError, refused
from dev.simulator.ids import new_id, random_text
from dev.simulator.methods import DECLINES, METHODS, PayMethod, way_of
from dev.simulator.records import Charge, Intent, Json, PaymentMethod
from dev.simulator.shapes import render

AUTHORIZATION_SECONDS = 7 * 86_400
"""How long an uncaptured card payment lasts."""
_VOUCHER_SECONDS = 3 * 86_400


def open_intent(account: Account, intent: Intent) -> Intent:
    """Add a new PaymentIntent to the account."""
    account.store.intents[intent.id] = intent
    account.emit("payment_intent.created", intent)
    return intent


def new_secret(intent_id: str) -> str:
    """Return a client secret."""
    return f"{intent_id}_secret_{random_text(25)}"


def pay_with(account: Account, intent: Intent, how: PayMethod, base_url: str) -> None:
    """Attach a payment method of this kind and confirm."""
    kind = next((name for name in intent.payment_method_types if METHODS[name].way == way_of(how)), None)
    if kind is None:
        offered = ", ".join(intent.payment_method_types)
        raise refused(f"The shopper cannot pay by {way_of(how)}: the payment offers {offered}.")
    attempt(account, intent, attach(account, intent, kind, how), base_url)


def attach(account: Account, intent: Intent, kind: str, how: PayMethod) -> PaymentMethod:
    """Attach a payment method."""
    method = PaymentMethod(new_id("pm"), account.clock.now(), kind, how)
    account.store.payment_methods[method.id] = method
    intent.payment_method = method.id
    return method


def attempt(account: Account, intent: Intent, method: PaymentMethod, base_url: str) -> None:
    """Confirm. A declined card is a regular outcome; the API turns it into an error."""
    intent.last_payment_error = intent.next_action = None
    how = method.how
    match how:
        case "card":
            _authorize(account, intent)
        case "declined" | "insufficient_funds":
            _fail(account, intent, *DECLINES[how], kind="card_error")
        case "3ds" | "redirect":
            intent.next_action = {
                "type": "redirect_to_url",
                "redirect_to_url": {"url": f"{base_url}/authenticate/{intent.id}", "return_url": intent.return_url},
            }
            _wait_for_shopper(account, intent)
        case "debit":
            intent.status = "processing"
            account.emit("payment_intent.processing", intent)
            account.emit("charge.pending", _new_charge(account, intent, "pending"))
        case "voucher":
            intent.next_action = _voucher(method.type, account.clock.now(), f"{base_url}/")
            _wait_for_shopper(account, intent)
        case "transfer":
            intent.next_action = _bank_transfer(intent, f"{base_url}/")
            _wait_for_shopper(account, intent)


def authenticate(account: Account, intent: Intent, *, ok: bool) -> None:
    """Finish 3-D Secure, or the payment at the provider to which the page redirected."""
    if intent.status != "requires_action" or intent.waits_for_voucher:
        raise _unexpected("authenticate", intent)
    intent.next_action = None
    if ok:
        _authorize(account, intent)
    else:
        message = "We are unable to authenticate your payment method. Choose a different one and try again."
        code = "payment_intent_authentication_failure"
        _fail(account, intent, code, None, message, kind="invalid_request_error")


def fund(account: Account, intent: Intent, amount: int) -> bool:
    """Let a part of a bank transfer arrive. Returns whether nothing is left to pay: then it is to be settled."""
    action = intent.next_action or {}
    instructions = action.get("display_bank_transfer_instructions")
    if intent.status != "requires_action" or instructions is None:
        raise _unexpected("fund", intent)
    if amount < 1:
        raise refused("The amount must be at least 1.", param="amount")
    left = instructions["amount_remaining"] - amount
    if left <= 0:
        return True
    instructions["amount_remaining"] = left
    account.emit("payment_intent.partially_funded", intent)
    return False


def settle(account: Account, intent: Intent, *, ok: bool) -> None:
    """Settle a processing bank debit, an unpaid voucher or a bank transfer: paid or failed."""
    if intent.status != "processing" and not intent.waits_for_voucher:
        raise _unexpected("settle", intent)
    intent.next_action = None
    charge = (
        account.store.charges[intent.latest_charge] if intent.status == "processing" and intent.latest_charge else None
    )
    if not ok:
        code, message = "payment_method_provider_decline", "The payment was refused by the bank, or not paid in time."
        _fail(account, intent, code, None, message, kind="card_error", charge=charge)
        return
    charge = charge or _new_charge(account, intent, "pending")
    charge.status = "succeeded"
    _take(account, intent, charge, intent.amount)
    account.emit("charge.succeeded", charge)
    account.emit("payment_intent.succeeded", intent)


def capture(account: Account, intent: Intent, amount: int | None) -> None:
    """Capture the authorised amount or a part of it; the rest is released."""
    if intent.status != "requires_capture" or intent.latest_charge is None:
        raise _unexpected("capture", intent)
    if amount is not None and amount > intent.amount_capturable:
        message = "The amount to capture is greater than the amount that can be captured."
        raise refused(message, code="amount_too_large", param="amount_to_capture")
    charge = account.store.charges[intent.latest_charge]
    _take(account, intent, charge, intent.amount_capturable if amount is None else amount)
    account.emit("charge.captured", charge)
    account.emit("payment_intent.succeeded", intent)


def cancel(account: Account, intent: Intent, reason: str | None, *, by_api: bool = True) -> None:
    """Cancel a PaymentIntent that has captured nothing."""
    if by_api and intent.session is not None and intent.status != "requires_capture":
        # Stripe documents no code for this error.
        raise refused(
            "You cannot perform this action on PaymentIntents created by Checkout. Expire the session instead."
        )
    if intent.status in ("succeeded", "canceled", "processing"):
        raise _unexpected("cancel", intent)
    held = intent.status == "requires_capture" and intent.latest_charge is not None
    intent.status, intent.canceled_at, intent.cancellation_reason = "canceled", account.clock.now(), reason
    intent.next_action, intent.amount_capturable = None, 0
    account.emit("payment_intent.canceled", intent)
    if held and intent.latest_charge is not None:
        charge = account.store.charges[intent.latest_charge]
        charge.amount_refunded = charge.amount
        account.emit("charge.refunded", charge)


def _authorize(account: Account, intent: Intent) -> None:
    charge = _new_charge(account, intent, "succeeded")
    if intent.capture_method != "manual":
        _take(account, intent, charge, intent.amount)
        account.emit("charge.succeeded", charge)
        account.emit("payment_intent.succeeded", intent)
        return
    intent.status, intent.amount_capturable = "requires_capture", intent.amount
    intent.authorized_until = account.clock.now() + AUTHORIZATION_SECONDS
    account.check_at(intent.authorized_until, intent.id)
    account.emit("charge.succeeded", charge)
    account.emit("payment_intent.amount_capturable_updated", intent)


def _take(account: Account, intent: Intent, charge: Charge, amount: int) -> None:
    charge.captured, charge.amount_captured = True, amount
    charge.balance_transaction = new_id("txn")
    intent.status, intent.amount_received, intent.amount_capturable = "succeeded", amount, 0
    account.changes += 1


def _wait_for_shopper(account: Account, intent: Intent) -> None:
    intent.status = "requires_action"
    account.emit("payment_intent.requires_action", intent)


def _fail(
    account: Account,
    intent: Intent,
    code: str,
    decline_code: str | None,
    message: str,
    *,
    kind: str,
    charge: Charge | None = None,
) -> None:
    error: Json = {"code": code, "message": message, "type": kind}
    if intent.payment_method is not None:
        error["payment_method"] = render(account.store.payment_methods[intent.payment_method], account.store)
    if kind == "card_error":
        charge = charge or _new_charge(account, intent, "failed")
        charge.status, charge.failure_code, charge.failure_message = "failed", code, message
        charge.decline_code = decline_code
        error["charge"] = charge.id
        if decline_code is not None:
            error["decline_code"] = decline_code
        account.emit("charge.failed", charge)
    intent.status, intent.payment_method, intent.last_payment_error = "requires_payment_method", None, error
    account.emit("payment_intent.payment_failed", intent)


def _new_charge(account: Account, intent: Intent, status: Literal["succeeded", "pending", "failed"]) -> Charge:
    if intent.payment_method is None:
        raise _unexpected("charge", intent)
    method = account.store.payment_methods[intent.payment_method]
    charge = Charge(
        id=new_id("ch" if method.type == "card" else "py"),
        created=account.clock.now(),
        payment_intent=intent.id,
        amount=intent.amount,
        currency=intent.currency,
        payment_method=method.id,
        method_type=method.type,
        metadata=dict(intent.metadata),
        description=intent.description,
        status=status,
        routing=intent.routing,
    )
    account.store.charges[charge.id] = charge
    intent.latest_charge = charge.id
    return charge


def _voucher(method_type: str, now: int, address: str) -> Json:
    until = now + _VOUCHER_SECONDS
    name = f"{method_type}_display_details"
    match method_type:
        case "konbini":
            stores = dict.fromkeys(("familymart", "lawson", "ministop", "seicomart"))
            return {"type": name, name: {"expires_at": until, "hosted_voucher_url": address, "stores": stores}}
        case "boleto":
            details: Json = {"expires_at": until, "hosted_voucher_url": address, "number": "0" * 20, "pdf": None}
            return {"type": name, name: details}
    return {"type": name, name: {"expires_after": until, "hosted_voucher_url": address, "number": "0" * 14}}


_TRANSFERS = {"eur": "eu", "gbp": "gb", "jpy": "jp", "mxn": "mx", "usd": "us"}


def _bank_transfer(intent: Intent, address: str) -> Json:
    kind = "display_bank_transfer_instructions"
    instructions: Json = {
        "amount_remaining": intent.amount,
        "currency": intent.currency,
        "hosted_instructions_url": address,
        "reference": random_text(8).upper(),
        "type": f"{_TRANSFERS[intent.currency]}_bank_transfer",
    }
    return {"type": kind, kind: instructions}


def _unexpected(verb: str, intent: Intent) -> StripeError:
    return refused(
        f"You cannot {verb} this PaymentIntent because it has a status of {intent.status}.",
        code="payment_intent_unexpected_state",
    )
