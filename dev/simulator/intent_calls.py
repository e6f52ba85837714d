"""The PaymentIntent calls of a shop's server (https://docs.stripe.com/api/payment_intents)."""

from dev.simulator import intents
from dev.simulator.account import Account
from dev.simulator.actions import check_confirmable
from dev.simulator.connect import routing
from dev.simulator.errors import StripeError, invalid, refused
from dev.simulator.forms import Params
from dev.simulator.ids import new_id
from dev.simulator.intents import attempt, new_secret, open_intent
from dev.simulator.methods import METHODS, TEST_METHODS, PayMethod, allowed_types, check_amount
from dev.simulator.records import Intent
from dev.simulator.shapes import render

IGNORED = frozenset(
    {
        "error_on_requires_action",
        "expand",
        "mandate_data",
        "off_session",
        "payment_method_options",
        "setup_future_usage",
        "shipping",
        "statement_descriptor",
        "statement_descriptor_suffix",
        "use_stripe_sdk",
    }
)
"""Accepted without effect."""


def create(account: Account, params: Params, base_url: str) -> Intent:
    """Create a PaymentIntent, and confirm it if `confirm` is true."""
    amount = params.integer("amount", least=1)
    if amount is None:
        raise params.absent("amount")
    currency = params.currency()
    check_amount(amount, currency, "amount")
    capture_method = params.choice("capture_method", "automatic", "automatic_async", "manual") or "automatic_async"
    automatic = _automatic(params)
    intent_id = new_id("pi")
    intent = Intent(
        id=intent_id,
        created=account.clock.now(),
        amount=amount,
        currency=currency,
        client_secret=new_secret(intent_id),
        payment_method_types=allowed_types(
            params.texts("payment_method_types"), currency, manual=capture_method == "manual"
        ),
        capture_method=capture_method,
        confirmation_method=params.choice("confirmation_method", "automatic", "manual") or "automatic",
        automatic=automatic,
        metadata=params.metadata(),
        description=params.text("description"),
        receipt_email=params.text("receipt_email"),
        customer=params.text("customer"),
        return_url=params.url("return_url"),
        routing=routing(account, params),
        account=account.id,
    )
    how, confirm_now = _how(params), params.flag("confirm")
    params.refuse_unknown(IGNORED)
    if confirm_now and how is None:
        raise _no_method()
    open_intent(account, intent)
    if how is not None:
        _remember(account, intent, how)
        intent.status = "requires_confirmation"
    if confirm_now:
        _confirm(account, intent, base_url)
    return intent


def _automatic(params: Params) -> dict[str, object] | None:
    automatic = params.nested("automatic_payment_methods")
    if automatic is None:
        # With neither named, Stripe's current versions choose the methods themselves.
        return None if params.given("payment_method_types") else {"allow_redirects": "always", "enabled": True}
    if params.given("payment_method_types"):
        raise invalid("You may only specify one of automatic_payment_methods and payment_method_types.")
    redirects = automatic.choice("allow_redirects", "always", "never") or "always"
    return {"allow_redirects": redirects, "enabled": automatic.flag("enabled") is True}


def _how(params: Params) -> tuple[str, PayMethod] | None:
    named = params.text("payment_method")
    data = params.nested("payment_method_data")
    if data is not None:
        kind = data.choice("type", *METHODS)
        if kind is None:
            raise data.absent("type")
        data.take_all()  # other fields of a method have no effect
        return kind, METHODS[kind].way
    if named is None:
        return None
    if named not in TEST_METHODS:
        message = f"No such PaymentMethod: '{named}'; the simulator has {', '.join(TEST_METHODS)}."
        raise invalid(message, param="payment_method", code="resource_missing")
    return TEST_METHODS[named]


def _remember(account: Account, intent: Intent, how: tuple[str, PayMethod]) -> None:
    kind, way = how
    if kind not in intent.payment_method_types:
        raise refused(f"The PaymentIntent does not take {kind}.", param="payment_method")
    intents.attach(account, intent, kind, way)


def confirm(account: Account, intent: Intent, params: Params, base_url: str) -> None:
    """Confirm a PaymentIntent from the server. A declined card is a 402, with the PaymentIntent in the error."""
    how = _how(params)
    if (return_url := params.url("return_url")) is not None:
        intent.return_url = return_url
    params.refuse_unknown(IGNORED)
    if intent.session is not None:
        raise refused("You cannot perform this action on PaymentIntents created by Checkout.")
    check_confirmable(intent)
    if how is not None:
        _remember(account, intent, how)
    _confirm(account, intent, base_url)


def _no_method() -> StripeError:
    message = "You cannot confirm this PaymentIntent because it's missing a payment method."
    return refused(message, code="payment_intent_unexpected_state")


def _confirm(account: Account, intent: Intent, base_url: str) -> None:
    if intent.payment_method is None:
        raise _no_method()
    attempt(account, intent, account.store.payment_methods[intent.payment_method], base_url)
    error = intent.last_payment_error
    if intent.status == "requires_payment_method" and error is not None:
        more = {name: value for name, value in error.items() if name not in ("code", "message", "type")}
        more["payment_intent"] = render(intent, account.store)
        raise StripeError(402, error["message"], kind=error["type"], code=error["code"], more=more)


def capture(account: Account, intent: Intent, params: Params) -> None:
    """Capture the authorised amount or a part of it."""
    amount = params.integer("amount_to_capture", least=1)
    params.flag("final_capture")
    params.refuse_unknown()
    intents.capture(account, intent, amount)


def cancel(account: Account, intent: Intent, params: Params) -> None:
    """Cancel a PaymentIntent that has captured nothing."""
    reason = params.choice("cancellation_reason", "abandoned", "duplicate", "fraudulent", "requested_by_customer")
    params.refuse_unknown()
    intents.cancel(account, intent, reason)
