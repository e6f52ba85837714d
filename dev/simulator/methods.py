"""The supported payment methods and the outcomes of a payment."""

from dataclasses import dataclass
from typing import Literal, get_args

from dev.simulator.currencies import smallest_step
from dev.simulator.errors import StripeError, invalid

PayMethod = Literal["card", "declined", "insufficient_funds", "3ds", "debit", "voucher", "redirect", "transfer"]
"""How the shopper pays: by card, a declined card, a card that needs 3-D Secure, bank debit, voucher, at a provider to
which the page redirects, or by bank transfer."""
PAY_METHODS: tuple[PayMethod, ...] = get_args(PayMethod)

Way = Literal["card", "debit", "voucher", "redirect", "transfer"]


@dataclass(frozen=True, slots=True)
class Method:
    """One of Stripe's payment method types: which currencies it takes, and whether the money comes later."""

    way: Way
    label: str
    currencies: tuple[str, ...] = ()
    """Empty: every currency."""
    by_default: bool = True
    """Whether a payment that names no types offers it; otherwise it has to be asked for."""


METHODS: dict[str, Method] = {
    "card": Method("card", "Card"),
    "us_bank_account": Method("debit", "US bank account", ("usd",)),
    "sepa_debit": Method("debit", "SEPA direct debit", ("eur",)),
    "bacs_debit": Method("debit", "Bacs direct debit", ("gbp",)),
    "boleto": Method("voucher", "Boleto", ("brl",)),
    "konbini": Method("voucher", "Konbini", ("jpy",)),
    "oxxo": Method("voucher", "OXXO", ("mxn",)),
    "klarna": Method("redirect", "Klarna", ("eur", "gbp", "usd"), by_default=False),
    "customer_balance": Method("transfer", "Bank transfer", ("eur", "gbp", "jpy", "mxn", "usd"), by_default=False),
}

TEST_METHODS: dict[str, tuple[str, PayMethod]] = {
    "pm_card_visa": ("card", "card"),
    "pm_card_mastercard": ("card", "card"),
    "pm_card_visa_chargeDeclined": ("card", "declined"),
    "pm_card_chargeDeclined": ("card", "declined"),
    "pm_card_visa_chargeDeclinedInsufficientFunds": ("card", "insufficient_funds"),
    "pm_card_chargeDeclinedInsufficientFunds": ("card", "insufficient_funds"),
    "pm_card_authenticationRequired": ("card", "3ds"),
    "pm_card_threeDSecure2Required": ("card", "3ds"),
    "pm_usBankAccount_success": ("us_bank_account", "debit"),
}
"""Stripe's named test payment methods (https://docs.stripe.com/testing) that are known here."""

DECLINES = {
    "declined": ("card_declined", "generic_decline", "Your card was declined."),
    "insufficient_funds": ("card_declined", "insufficient_funds", "Your card has insufficient funds."),
}
"""Code, decline code and message for each way a card is declined."""


def way_of(how: PayMethod) -> Way:
    """Return the kind of method that this takes."""
    return how if how in ("debit", "voucher", "redirect", "transfer") else "card"


def allowed_types(requested: list[str], currency: str, *, manual: bool) -> list[str]:
    """Return the types of a new payment: those requested, else all that take this currency and capture."""
    if not requested:
        return [
            name
            for name, method in METHODS.items()
            if method.by_default
            and currency in (method.currencies or (currency,))
            and (method.way == "card" or not manual)
        ]
    for index, name in enumerate(requested):
        if problem := _problem(name, currency, manual=manual):
            raise _bad_type(problem, index)
    return requested


def _problem(name: str, currency: str, *, manual: bool) -> str | None:
    method = METHODS.get(name)
    if method is None:
        return f"The simulator knows no payment method type {name}; it has {', '.join(METHODS)}."
    if currency not in (method.currencies or (currency,)):
        return f"The payment method type {name} does not support the currency {currency}."
    if manual and method.way not in ("card", "redirect"):
        return f"The payment method type {name} does not support manual capture."
    return None


def _bad_type(message: str, index: int) -> StripeError:
    return invalid(message, param=f"payment_method_types[{index}]")


_LEAST = {"usd": 50, "eur": 50, "gbp": 30, "jpy": 50, "mxn": 1000, "brl": 50}


def check_amount(amount: int, currency: str, param: str) -> None:
    """Raise if the amount is outside Stripe's limits for the currency."""
    if amount % (step := smallest_step(currency)):
        raise invalid(f"Amounts in {currency} are multiples of {step}", param=param)
    if amount < (least := _LEAST.get(currency, 50)):
        raise invalid(f"Amount must be at least {least} {currency}", param=param, code="amount_too_small")
    if amount > 99_999_999:  # noqa: PLR2004 - eight digits, Stripe's limit
        raise invalid("Amount must be no more than 99999999", param=param, code="amount_too_large")
