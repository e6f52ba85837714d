"""Every error that the API answers with, in one table. docs/errors.md and the OpenAPI document are made from it."""

from dataclasses import dataclass
from enum import Enum

_LOCKED_MS = 250
"""Row locks are held for milliseconds."""
_UNAVAILABLE_MS = 1000


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One kind of error."""

    status: int
    message: str
    """For people; an answer may have a more specific one."""
    advice: str
    """Whether and when to repeat the request, for people."""
    details: str = ""
    """Which further fields the answer has, and what was not changed; for the documents."""
    code: str | None = None
    retry_after_ms: int | None = None
    """When to repeat the request, in milliseconds; the answer has it as `retryAfter` and in the header Retry-After."""

    @property
    def cause(self) -> str:
        """The message with the details."""
        return f"{self.message} {self.details}".strip()


class Problem(Enum):
    """The kinds of errors, by the name that is in `error`."""

    invalid_json = ErrorKind(
        400,
        "The body is not JSON.",
        "No; fix the request.",
        "Or it is not UTF-8, is nested too deeply, or has a number with thousands of digits.",
    )
    invalid_http = ErrorKind(400, "The request is not HTTP/1.1 or HTTP/1.0.", "No; fix the client.")
    invalid_signature = ErrorKind(
        400,
        "The webhook's signature is missing, not made within 300 s of now, over 4 KiB, or not made with a secret "
        "of STRIPE_WEBHOOK_SECRET, of an approval STRIPE_APPROVAL_SECRET.",
        "No; compare the secret with the endpoint's in Stripe.",
    )
    invalid_event = ErrorKind(400, "The webhook's body is signed but is not an event of Stripe's.", "No.")
    unauthorized = ErrorKind(
        401,
        "The token is missing or unknown.",
        "No; send `Authorization: Bearer <token>` with a token of INVENTORY_AUTHORITY_TOKEN or INVENTORY_ADMIN_TOKEN.",
    )
    forbidden = ErrorKind(403, "This route needs the admin token.", "No; use the admin token.")
    not_found = ErrorKind(404, "There is no such route.", "No.", "A trailing slash makes another path.")
    hold_not_found = ErrorKind(404, "The shop has no hold with this id.", "No.")
    order_not_found = ErrorKind(404, "No hold of the shop has this reference.", "No.")
    item_not_found = ErrorKind(
        404,
        "The shop has no such item.",
        "No; create it by a count (`PUT /api/inventory/items`), or correct its name.",
        "`items` names each. Nothing was changed.",
    )
    method_not_allowed = ErrorKind(
        405, "The route does not support this method.", "No.", "The header `Allow` lists the methods."
    )
    request_timed_out = ErrorKind(
        408,
        "The header or the body of the request did not arrive in time.",
        "Yes, with the same key.",
        "HOLDFAST_API_HEADER_SECONDS and HOLDFAST_API_BODY_SECONDS are the limits.",
    )
    insufficient_stock = ErrorKind(
        409,
        "Fewer units are available than were requested.",
        "When there is stock again, with the same key.",
        "`items` has every short item once, with `requested` (the sum over all lines), what is `available`, and the "
        "`reason`: `insufficient`, or with 0 available `unknown_item` (no such sku and variant in this shop) or "
        "`retired`. Nothing was held or changed; of a change, the hold's own units count as available. "
        "`closedCheckoutSessionId` names a page that had been closed for the change.",
        code="inventory_insufficient",
    )
    hold_exists = ErrorKind(
        409,
        "Another active hold of the shop has this `reference`.",
        'With `"replace": true`, which takes over its units, or once it has ended.',
        "`holdId` names it.",
    )
    hold_not_active = ErrorKind(
        409,
        "The hold has ended, or is ending, otherwise than requested.",
        "No; an end is final.",
        "`status` is its present status. Of a restock: it was not committed. With `replace`: the old hold was "
        "committed meanwhile.",
    )
    hold_extend_limit = ErrorKind(
        409,
        "The hold already lives as long as it can (INVENTORY_HOLD_MAX_TTL_SECONDS from its creation), or its browser "
        "has extended it as often as `browserExtensions` allows.",
        "No; make a new hold.",
    )
    idempotency_conflict = ErrorKind(
        409,
        "The hold id or Idempotency-Key was used before with another body.",
        "Not with this key.",
        "Holds have their keys, adjustments and restocks theirs.",
    )
    count_below_held = ErrorKind(
        409,
        "An item was counted lower than what active holds have of it.",
        "After the holds have ended.",
        "`items` has each with its `held` and up to ten of its `holds`, of an import also its `line`. Nothing was "
        "changed.",
    )
    payment_already_attached = ErrorKind(
        409,
        "The hold has another payment that can still be made.",
        'With `"replace": true`, which closes that payment first, or after it was expired or cancelled.',
        "`checkoutSessionId` or `paymentIntentId` names it.",
    )
    payment_in_progress = ErrorKind(
        409,
        "A payment of the hold is in progress (a bank debit, a voucher), which can take days.",
        "After that payment has failed. If it succeeds, that hold is sold.",
        "`holdId` names the hold, with `replace` the one to be replaced, with its `status`, `expiresAt`, and "
        "`checkoutSessionId` or `paymentIntentId`. It stays held for that payment.",
    )
    payment_open = ErrorKind(
        409,
        "A payment of the shop's own can still be made for the items that the hold has.",
        "After that payment was expired or cancelled, or without `items`.",
        "`checkoutSessionId` or `paymentIntentId` names it. Nothing was changed.",
    )
    limit_exceeded = ErrorKind(
        409,
        "The request would pass a limit of an order or of a buyer.",
        "With fewer units, or after holds of the buyer have ended.",
        "`limits` has each: its `limit` (`maxPerOrder`, `maxPerBuyer`, `maxUnitsPerBuyer`, `maxActiveHoldsPerBuyer`), "
        "`most`, what the buyer `has`, what was `requested`, and of an item its `sku` and `variantKey`. No unit "
        "was taken. `closedCheckoutSessionId` names a page that had been closed for the change.",
    )
    payment_not_made = ErrorKind(
        409,
        "The hold is to be sold, and Stripe does not call its attached payment made.",
        'When it is paid: the payment then sells the hold by itself. With `"paidElsewhere": true` if you were paid in '
        "another way.",
        "`paymentState` is its state: `open`, `processing`, `unpayable`, `refunded` or `unknown`. `checkoutSessionId` "
        "or `paymentIntentId` names it. Nothing was changed.",
    )
    payment_not_payable = ErrorKind(
        409, "The payment can no longer be made.", "No; open another one.", "It was cancelled, expired or refunded."
    )
    payment_of_another_hold = ErrorKind(
        409, "The payment belongs to another hold, by its metadata or because it is attached there.", "No."
    )
    stock_below_zero = ErrorKind(
        409,
        "An adjustment would take away more units than are available.",
        "When there is more stock, or after holds were released.",
        "`items` has each with its `delta`, its `quantity` and up to ten of the `holds` that have the rest. Nothing "
        "was changed.",
    )
    stock_above_limit = ErrorKind(
        409,
        "An item would have more than 1,000,000,000 units on hand.",
        "No; correct the figures.",
        "`items` names each. Nothing was changed.",
    )
    restock_above_committed = ErrorKind(
        409,
        "More units would be returned than the hold committed.",
        "No; correct the quantities.",
        "`items` has each with `requested`, `committed`, and what was `restocked` before. Nothing was changed.",
    )
    body_too_large = ErrorKind(
        413, "The body is over 256 KiB, or that of an import over 64 MiB.", "No; send less at once."
    )
    invalid_request = ErrorKind(
        422,
        "A field, parameter or header is missing, unknown, repeated, of the wrong type or out of range.",
        "No; fix the request.",
        "Or the `Content-Type` is not `application/json` (of an import `text/csv`). `fields` names the first 20 and "
        "what is allowed.",
    )
    checkout_refused = ErrorKind(
        422,
        "Stripe refuses the requested session.",
        "With a new key, after the request was fixed.",
        "`message` is Stripe's, `param` Stripe's name of the parameter. The hold of a new checkout is released, "
        "perhaps a moment after the answer; a hold that existed goes on.",
    )
    invalid_import = ErrorKind(
        422,
        "The stock file cannot be imported.",
        "No; fix the file.",
        "`problems` has the first hundred: `line` (the header is line 1), `column`, and what is allowed there. Nothing "
        "was changed.",
    )
    headers_too_large = ErrorKind(
        431, "The address and the header fields of the request are over 16 KiB together.", "No; send less."
    )
    inventory_busy = ErrorKind(
        429,
        "The stock is locked by other requests; nothing was changed.",
        "Yes, after `retryAfter`, with the same key.",
        "Rows could not be locked within INVENTORY_LOCK_TIMEOUT_MS, one hold got more requests at once than Temporal "
        "takes, or another import runs.",
        retry_after_ms=_LOCKED_MS,
    )
    overloaded = ErrorKind(
        429,
        "More requests arrive than can be answered in time; nothing was changed.",
        "Yes, after `retryAfter`, with the same key.",
        "`retryAfter` differs from answer to answer, so that callers do not all return at once. Commits and Stripe's "
        "events have room of their own, and so have releases, extensions, amendments and attached payments: they are "
        "refused last.",
        retry_after_ms=_UNAVAILABLE_MS,
    )
    internal_error = ErrorKind(500, "Internal error; see the log.", "Yes, with the same key.")
    payment_provider_refused = ErrorKind(
        502,
        "Stripe refuses the configured key or the shop's account.",
        "After operations fixed it.",
        "`message` is Stripe's. The hold of a new checkout is released, perhaps a moment after the answer; a hold that "
        "existed goes on.",
    )
    payments_not_configured = ErrorKind(
        503,
        "STRIPE_API_KEY is not set.",
        "After operations set it.",
        "Or HOLDFAST_CHECKOUT_SECRET, for a checkout with `stripe`; `message` says which. Nothing is held.",
    )
    webhook_not_configured = ErrorKind(
        503,
        "STRIPE_WEBHOOK_SECRET is not set, so no signature can be verified.",
        "After operations set it; Stripe repeats by itself.",
    )
    approval_not_configured = ErrorKind(
        503,
        "STRIPE_APPROVAL_SECRET is not set, so no signature can be verified.",
        "After operations set it; until then Stripe declines the payment.",
    )
    payment_provider_unavailable = ErrorKind(
        503,
        "Stripe cannot be reached.",
        "Yes, after `retryAfter`, with the same key.",
        "Nothing was attached or opened. Of a commit: it is not known whether the attached payment was made, and the "
        "hold stays active.",
        retry_after_ms=_UNAVAILABLE_MS,
    )
    inventory_unavailable = ErrorKind(
        503,
        "Postgres or Temporal cannot be reached.",
        "Yes, after `retryAfter`, with the same key or the `holdId` of the answer, which finds a hold that was made.",
        "No request is approved unchecked. Of a create that named nothing to ask by: as at `inventory_timeout`.",
        retry_after_ms=_UNAVAILABLE_MS,
    )
    too_many_connections = ErrorKind(
        503,
        "The process has as many connections as it may have (HOLDFAST_API_CONNECTIONS).",
        "Yes, after `retryAfter`, with the same key.",
        "Connections that wait for their client are closed first, mostly without an answer.",
        retry_after_ms=_UNAVAILABLE_MS,
    )
    too_many_streams = ErrorKind(
        503,
        "The process follows as many holds as it may (half of HOLDFAST_API_CONNECTIONS).",
        "Yes, after `retryAfter`; until then read the hold instead.",
        retry_after_ms=_UNAVAILABLE_MS,
    )
    inventory_timeout = ErrorKind(
        504,
        "No answer within INVENTORY_REQUEST_TIMEOUT_MS. The request may still take effect.",
        "Yes, after `retryAfter`, with the same key or the `holdId` of the answer, which finds what became of it.",
        "Of an import or export: within a minute. A hold that nobody asks for expires at its deadline. If the create "
        "had no `holdId`, `reference` or Idempotency-Key, its hold is given back, and the answer does not name it.",
        retry_after_ms=_UNAVAILABLE_MS,
    )
