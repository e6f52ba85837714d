"""The search attributes with which workflows are started, cut to what Temporal takes, and memos."""

import json
from collections.abc import Iterable
from typing import Any

from temporalio.common import SearchAttributePair, TypedSearchAttributes

from domain.holds import Line
from workflows.messages import HOLD_REFERENCE, SHOP_ID
from workflows.payment_messages import LatePayment

LATE_PAYMENT_HOLD = "holdId"
"""The name of the hold in the memo of a late payment."""
_BYTES = 2048
"""The longest value that Temporal takes, as JSON."""


def searchable(text: str) -> str:
    """Return the text, cut to what a search attribute can hold."""
    while len(json.dumps(text)) > _BYTES:
        text = text[:-10]
    return text


def searchable_skus(lines: Iterable[Line]) -> list[str]:
    """Return the SKUs, each once, as many as a search attribute can hold."""
    skus = list(dict.fromkeys(line.sku for line in lines))
    while len(json.dumps(skus)) > _BYTES:
        skus.pop()
    return skus


def late_payment_memo(late: LatePayment) -> dict[str, str]:
    """Return the memo of a late payment: its hold, which a list of them then tells."""
    return {LATE_PAYMENT_HOLD: late.hold_id}


def late_payment_attributes(late: LatePayment) -> TypedSearchAttributes:
    """Return the attributes of a late payment: its shop, and the reference of its hold."""
    attributes: list[SearchAttributePair[Any]] = [SearchAttributePair(SHOP_ID, late.shop_id)]
    if late.reference is not None:
        attributes.append(SearchAttributePair(HOLD_REFERENCE, searchable(late.reference)))
    return TypedSearchAttributes(attributes)
