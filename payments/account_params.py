"""The parameters of a Checkout Session that a shop's account adds, by Stripe's names."""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from core.shop_accounts import Charges, ShopAccount
from payments.currencies import smallest_step
from payments.errors import UnknownFeeError
from payments.session_params import PaidLine


def with_account(params: dict[str, Any], account: ShopAccount | None, lines: Sequence[PaidLine]) -> dict[str, Any]:
    """Return the parameters of a session for these lines, with the transfer and the fee of the shop's account.

    Raises UnknownFeeError where the fee is a percentage and a line has only the id of its price.
    """
    if account is None:
        return params
    more: dict[str, Any] = {}
    if fee := _fee(lines, account):
        more["application_fee_amount"] = fee
    if account.charges is Charges.DESTINATION:
        more["transfer_data"] = {"destination": account.account}
        if account.on_behalf_of:
            more["on_behalf_of"] = account.account
    return params | {"payment_intent_data": {**params["payment_intent_data"], **more}} if more else params


def _fee(lines: Sequence[PaidLine], account: ShopAccount) -> int | None:
    """Return the application fee, which Stripe caps at what is captured; None or 0 for none."""
    if account.application_fee_percent is None:
        return account.application_fee_amount
    total = 0
    for line in lines:
        if line.unit_amount is None:
            raise UnknownFeeError(line.place)
        total += line.unit_amount * line.quantity
    step = smallest_step(lines[0].currency or "") if lines else 1
    return int((total * account.application_fee_percent / 100 / step).quantize(Decimal(1), ROUND_HALF_UP)) * step
