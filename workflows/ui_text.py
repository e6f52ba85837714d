"""What a person reads of a hold in the Temporal UI. Callers' texts are shown as they are: none is taken for markup."""

import re
from typing import assert_never

from domain.holds import Busy, Held, OverLimit, ReferenceTaken, ReserveOutcome, Shortage, ShortItem, TooLate
from workflows.messages import HoldInput, hold_workflow_id
from workflows.payment_messages import LatePayment

_SUMMARY_BYTES = 400
_DETAILS_BYTES = 20_000
"""What the server takes (limit.userMetadataSummarySize and …DetailsSize)."""
_MARKUP = re.compile(
    r"""[\\`*\[\]<>|~$]
    | (?<![^\W_])_ | _(?![^\W_])  # an underscore between letters or digits is none
    | :(?=//) | (?<=mailto):      # the UI makes links of addresses
    | &(?=\#?\w+;)                # and characters of entities
    | -(?=-) | (?<=-)-            # and dashes of hyphens
    """,
    re.VERBOSE | re.IGNORECASE,
)


def plain(text: str) -> str:
    """Return a caller's text so that a markdown page shows it as it is, on one line: no link, no emphasis, no HTML."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.splitlines()))


def summary(hold: HoldInput) -> str:
    """Return the line that identifies the hold: shop, reference, items."""
    shop = plain(hold.shop_id)
    named = f"{shop}, {plain(hold.reference)}" if hold.reference else shop
    lines = ", ".join(f"{line.quantity} x {_item(line.sku, line.variant_key)}" for line in hold.lines)
    return _cut(f"{named}: {lines}", _SUMMARY_BYTES)


def details(hold: HoldInput) -> str:
    """Return what the hold is about, and what an operator may do with it."""
    parts = [
        f"- Shop: {plain(hold.shop_id)}",
        f"- Hold: {plain(hold.hold_id)}",
        *([f"- Reference: {plain(hold.reference)}"] if hold.reference else []),
        f"- Lives {hold.ttl_seconds} s unless extended, {hold.max_ttl_seconds} s at most",
        "- To release the stock: Request Cancellation. Do not terminate.",
        "- A payment that comes after the end has a workflow of its own, `late-payment:` and the payment's id.",
        "",
        "Items:",
        "",
        *(f"- {line.quantity} x {_item(line.sku, line.variant_key)}" for line in hold.lines),
    ]
    return _cut("\n".join(parts), _DETAILS_BYTES)


def late_payment(late: LatePayment) -> str:
    """Return the line that identifies a late payment."""
    return plain(f"{late.shop_id}: {late.payment.id} for the hold {late.hold_id}")


def late_payment_details(late: LatePayment) -> str:
    """Return what a late payment is about, and where its hold is."""
    hold = hold_workflow_id(late.shop_id, late.hold_id)
    found = (
        f"- Reference: {plain(late.reference)}; `HoldReference` finds all of its workflows" if late.reference else None
    )
    parts = [
        f"- Hold: {plain(late.hold_id)} of {plain(late.shop_id)}, the workflow `{hold}`",
        *([found] if found else []),
        f"- Payment: {plain(late.payment.id)}",
        "- When it is settled by hand, send the signal `close`.",
    ]
    return _cut("\n".join(parts), _DETAILS_BYTES)


def end(status: str, reason: str) -> str:
    """Return how a hold ends and why, in a line."""
    return status if reason == status else _cut(f"{status}: {plain(reason)}", _SUMMARY_BYTES)


def _shortage(item: ShortItem) -> str:
    if item.reason == "insufficient":
        return f"{item.requested} asked, {item.available} there"
    return "retired" if item.reason == "retired" else "no such item"


def refusal(reservation: ReserveOutcome) -> str:
    """Return why no hold was made."""
    match reservation:
        case Shortage(items):
            short = ", ".join(f"{_item(item.sku, item.variant_key)} ({_shortage(item)})" for item in items)
            return _cut(f"Refused: not enough stock of {short}.", _DETAILS_BYTES)
        case OverLimit(limits):
            return f"Refused: it would pass {', '.join(limit.limit for limit in limits)}."
        case ReferenceTaken(hold_id):
            return f"Refused: the active hold {plain(hold_id)} has the reference."
        case Busy():
            return (
                "Refused: the rows of the stock were locked by others for too long; the caller may repeat the request."
            )
        case TooLate():
            return "Refused: the caller no longer waited when the stock could be taken."
        case Held(status=status):
            return f"The hold existed before: {status}."
        case _:
            assert_never(reservation)


def _item(sku: str, variant_key: str) -> str:
    return plain(f"{sku} {variant_key}" if variant_key else sku)


def _cut(text: str, limit: int) -> str:
    """Return the text, cut to the limit in bytes."""
    if len(text.encode()) <= limit:
        return text
    return text.encode()[: limit - len("…".encode())].decode(errors="ignore") + "…"
