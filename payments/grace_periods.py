"""How long a hold stays active for a payment in state `processing`, by Stripe's name of the payment method."""

from collections.abc import Mapping

DAY = 86_400

DEFAULT_GRACE_SECONDS = 7 * DAY
"""For methods that are not in the table: as long as the slowest common ones take."""

GRACE_SECONDS_BY_METHOD: dict[str, int] = {
    # Debits: the business days until Stripe knows the result, by its page on the method; as calendar days plus one.
    "acss_debit": 9 * DAY,  # up to 5 business days: https://docs.stripe.com/payments/acss-debit
    "au_becs_debit": 7 * DAY,  # up to 3 business days: https://docs.stripe.com/payments/au-becs-debit
    "bacs_debit": 15 * DAY,  # up to 9 with a new mandate: https://docs.stripe.com/payments/payment-methods/bacs-debit
    "nz_bank_account": 7 * DAY,  # up to 3 business days: https://docs.stripe.com/payments/nz-bank-account
    "sepa_debit": 22 * DAY,  # up to 14 business days: https://docs.stripe.com/payments/sepa-debit
    "us_bank_account": 7 * DAY,  # up to 4 business days: https://docs.stripe.com/payments/ach-direct-debit
    # Vouchers: the default time to pay, and the business days until Stripe is notified of the payment.
    "boleto": 7 * DAY,  # 3 days, known 1 business day later: https://docs.stripe.com/payments/boleto
    "konbini": 5 * DAY,  # 3 days, known at once: https://docs.stripe.com/payments/konbini
    "multibanco": 10 * DAY,  # 7 days, known within a day: https://docs.stripe.com/payments/multibanco
    "oxxo": 7 * DAY,  # 3 days, known 1 business day later: https://docs.stripe.com/payments/oxxo
    # Bank transfers: https://docs.stripe.com/payments/bank-transfers
    "customer_balance": 10 * DAY,
}
"""A shop that gives its vouchers more days sets PAYMENT_GRACE_SECONDS."""


def grace_seconds(method: str | None, configured: Mapping[str, int]) -> int:
    """Return how long to wait for a payment by this method, in seconds: as configured, else as in the table.

    `configured` may name `default`, for methods in neither.
    """
    named = {"default": DEFAULT_GRACE_SECONDS, **GRACE_SECONDS_BY_METHOD, **configured}
    return named.get(method or "default", named["default"])
