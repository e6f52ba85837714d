"""How long stock waits for a payment that is under way, by Stripe's name of its method."""

from collections.abc import Mapping

DAY = 86_400

DEFAULT_GRACE_SECONDS = 7 * DAY
"""For a method that is not in the table; as long as Stripe's slowest common ones take in business days."""

GRACES: dict[str, int] = {
    # Debits: the business days until Stripe knows, by its page on the method; in calendar days, with a day to spare.
    "acss_debit": 9 * DAY,  # up to 5 business days: https://docs.stripe.com/payments/acss-debit
    "au_becs_debit": 7 * DAY,  # up to 3 business days: https://docs.stripe.com/payments/au-becs-debit
    "bacs_debit": 15 * DAY,  # up to 9 with a new mandate: https://docs.stripe.com/payments/payment-methods/bacs-debit
    "nz_bank_account": 7 * DAY,  # up to 3 business days: https://docs.stripe.com/payments/nz-bank-account
    "sepa_debit": 22 * DAY,  # up to 14 business days: https://docs.stripe.com/payments/sepa-debit
    "us_bank_account": 7 * DAY,  # up to 4 business days: https://docs.stripe.com/payments/ach-direct-debit
    # Vouchers: how long the shopper may take to pay, by default, and the business days until Stripe hears of it.
    "boleto": 7 * DAY,  # 3 days, known 1 business day later: https://docs.stripe.com/payments/boleto
    "konbini": 5 * DAY,  # 3 days, known at once: https://docs.stripe.com/payments/konbini
    "multibanco": 10 * DAY,  # 7 days, known within a day: https://docs.stripe.com/payments/multibanco
    "oxxo": 7 * DAY,  # 3 days, known 1 business day later: https://docs.stripe.com/payments/oxxo
    # A transfer that the shopper's bank sends: https://docs.stripe.com/payments/bank-transfers
    "customer_balance": 10 * DAY,
}
"""In seconds. A shop that gives its vouchers more days sets PAYMENT_GRACE_SECONDS."""


def grace_seconds(method: str | None, configured: Mapping[str, int]) -> int:
    """Return how long to wait for a payment by this method, in seconds: as configured, else as in the table."""
    named = {"default": DEFAULT_GRACE_SECONDS, **GRACES, **configured}
    return named.get(method or "default", named["default"])
