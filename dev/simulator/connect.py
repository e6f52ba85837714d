"""Connect: accounts that are kept apart, and payments of the platform with a transfer or an application fee."""

from dev.simulator.account import Account
from dev.simulator.errors import StripeError, invalid
from dev.simulator.forms import Params
from dev.simulator.records import Intent, Json, Refund


def acting(root: Account, key: str, named: str | None) -> Account:
    """Return the account that a call acts as: that of the key, or the connected one that `Stripe-Account` names."""
    own = dict(root.own_keys).get(key)
    if named is None:
        return root if own is None else root.member(own)
    if own is None and named in root.connected_ids:
        return root.member(named)
    message = f"The provided key does not have access to account '{named}' (or that account does not exist)."
    raise StripeError(403, message, code="account_invalid", executed=False)


def routing(account: Account, params: Params) -> Json:
    """Read the transfer and the application fee of a payment."""
    given: Json = {}
    transfer = params.nested("transfer_data")
    if transfer is not None:
        given["transfer_data"] = {"destination": _connected(account, transfer, "destination")}
    if params.given("on_behalf_of"):
        given["on_behalf_of"] = _connected(account, params, "on_behalf_of")
    fee = params.integer("application_fee_amount", least=1)
    if fee is not None:
        direct = account.id is not None and account.id not in dict(account.root.own_keys).values()
        if not direct and transfer is None:
            message = "The simulator takes an application fee of direct and of destination charges only."
            raise invalid(message, param=params.named("application_fee_amount"))
        given["application_fee_amount"] = fee
    return given


def _connected(account: Account, params: Params, name: str) -> str:
    named = params.required(name)
    if account.id is not None or named not in account.root.connected_ids:
        raise invalid(f"No such destination: '{named}'", param=params.named(name), code="resource_missing")
    return named


def shares(intent: Intent, captured: int, refunds: list[Refund]) -> Json:
    """Return whose the money of a payment is: the platform's fee, and what another account was transferred.

    A refund gives back all of them or nothing.
    """
    fee = min(intent.routing.get("application_fee_amount", 0), captured)
    if any(refund.returns_fee for refund in refunds):
        fee = 0
    transferred = captured if "transfer_data" in intent.routing else 0
    if any(refund.reverses_transfer for refund in refunds):
        transferred = 0
    return {"application_fee": fee, "transferred": transferred}
