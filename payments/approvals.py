"""Stripe's request to approve an order before its payment is confirmed: the order approval hook of agentic commerce.

The request's documented fields name no hold. Its hold is found by `metadata` and `checkout_session`, which Stripe sends
to integrations but does not document: docs/agentic-commerce.md.
"""

from dataclasses import dataclass
from typing import Any

from domain.holds import HoldKey
from payments.errors import InvalidEventError
from payments.events import hold_in_metadata, parse_json, stripe_id

ORDER_APPROVAL = "v1.delegated_checkout.finalize_checkout"
"""Stripe's type of the request."""


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """One signed request. Only one of type ORDER_APPROVAL asks for an approval."""

    request_id: str
    type: str
    hold: HoldKey | None = None
    """The hold that the metadata name."""
    session_id: str | None = None
    intent_id: str | None = None
    livemode: bool = False
    account: str | None = None
    """The account whose order it is, as far as the request says."""

    @property
    def asks_for_approval(self) -> bool:
        """Whether it is to be approved or declined."""
        return self.type == ORDER_APPROVAL


def parse_approval(body: bytes) -> ApprovalRequest:
    """Read a signed request. Raises InvalidEventError."""
    request = parse_json(body)
    request_id = stripe_id(request.get("id")) if isinstance(request, dict) else None
    if request_id is None or not isinstance(request.get("type"), str):
        raise InvalidEventError("the body has no request id and type")
    data: dict[str, Any] = request["data"] if isinstance(request.get("data"), dict) else {}
    metadata = data["metadata"] if isinstance(data.get("metadata"), dict) else {}
    return ApprovalRequest(
        request_id=request_id,
        type=request["type"],
        hold=hold_in_metadata(metadata),
        session_id=stripe_id(data.get("checkout_session")),
        intent_id=stripe_id(data.get("payment_intent")),
        livemode=request.get("livemode") is True,
        account=stripe_id(request.get("context")),
    )
