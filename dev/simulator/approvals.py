"""The order approval hook: the shop is asked before a payment is confirmed, as Stripe asks for agentic commerce.

The request has Stripe's documented fields, and `checkout_session` and `metadata`, which Stripe does not document.
"""

import json
from dataclasses import dataclass

import httpx

from dev.simulator.account import Account
from dev.simulator.config import Endpoint
from dev.simulator.errors import StripeError
from dev.simulator.ids import new_id
from dev.simulator.records import Json, Session
from dev.simulator.shapes import line
from dev.simulator.signing import signature

TYPE = "v1.delegated_checkout.finalize_checkout"
_TIMEOUT_SECONDS = 4.0
_PAYMENT_REQUIRED = 402


@dataclass(frozen=True, slots=True)
class Asked:
    """One request and what was made of the answer."""

    request_id: str
    session: str
    status: int | None
    """The status of the answer; None if there was none in time."""
    approved: bool
    reason: str | None


async def require(account: Account, session: Session) -> None:
    """Ask the shop, if it wants to be asked. Raises StripeError unless it approves."""
    endpoint = account.root.approvals
    if endpoint is None or session.status != "open":
        return
    asked = await _ask(account, endpoint, session)
    account.root.asked.append(asked)
    if not asked.approved:
        message = f"The shop did not approve the payment: {asked.reason}"
        raise StripeError(_PAYMENT_REQUIRED, message)


async def _ask(account: Account, endpoint: Endpoint, session: Session) -> Asked:
    request = _request(account, session)
    body = json.dumps(request)
    headers = {"Content-Type": "application/json", "Stripe-Signature": signature(body, endpoint.secrets)}
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            answer = await client.post(endpoint.url, content=body, headers=headers)
        approved, reason = _decision(answer)
    except httpx.HTTPError:
        return Asked(request["id"], session.id, None, approved=False, reason="no answer within 4 s")
    return Asked(request["id"], session.id, answer.status_code, approved=approved, reason=reason)


def _decision(answer: httpx.Response) -> tuple[bool, str | None]:
    if answer.status_code != httpx.codes.OK:
        return False, f"it answered {answer.status_code}"
    try:
        details = answer.json()["manual_approval_details"]
        if details["type"] == "approved":
            return True, None
        return False, str(details["declined"]["reason"])
    except (ValueError, LookupError, TypeError):
        return False, "its answer is not a decision"


def _request(account: Account, session: Session) -> Json:
    lines = [line(each, account.store) for each in session.lines]
    context = {} if account.id is None else {"context": account.id}
    return {
        **context,
        "id": new_id("dcr"),
        "type": TYPE,
        "livemode": False,
        "data": {
            "amount_subtotal": session.amount_total,
            "amount_total": session.amount_total,
            "currency": session.currency,
            "line_items_details": [
                {
                    "id": each["id"],
                    "name": each["description"],
                    "quantity": each["quantity"],
                    "unit_amount": each["price"]["unit_amount"],
                }
                for each in lines
            ],
            "payment_method_details": {"type": session.payment_method_types[0]},
            "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
            "checkout_session": session.id,
            "metadata": session.metadata,
        },
    }
