"""A payment, named by Stripe's ids."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Payment:
    """A payment: its PaymentIntent, or its Checkout Session while there is no PaymentIntent yet."""

    payment_intent_id: str | None = None
    session_id: str | None = None
    needs_capture: bool = False
    """Whether the money is only authorised and still has to be captured."""
    amount_total: int | None = field(default=None, compare=False)
    """What it costs, in the currency's smallest unit, as far as it is known here."""
    currency: str | None = field(default=None, compare=False)
    recovered_from: str | None = field(default=None, compare=False)
    """The expired session of which its session is a copy, with the same lines and prices (Stripe's recovery)."""

    @property
    def id(self) -> str:
        """The id that distinguishes this payment from others: the PaymentIntent's, else the session's."""
        return self.payment_intent_id or self.session_id or "unknown"

    def bought(self, of_row: "Payment | None") -> bool:
        """Return whether a committed hold whose row names `of_row` was bought by this payment."""
        if of_row is None:
            return False
        if self.payment_intent_id is None:
            return of_row.payment_intent_id is None and of_row.session_id == self.session_id
        return of_row.payment_intent_id == self.payment_intent_id

    def is_same(self, other: "Payment | None") -> bool:
        """Return whether both name the same PaymentIntent or the same session."""
        if other is None:
            return False
        return (self.payment_intent_id is not None and self.payment_intent_id == other.payment_intent_id) or (
            self.session_id is not None and self.session_id == other.session_id
        )


ClaimOutcome = Literal[
    "reacquired",
    "recorded",
    "already",
    "second_payment",
    "sold_in_part",
    "changed",
    "short",
    "declined",
    "active",
    "missing",
]
"""What a payment that came after its hold had ended could buy.

`reacquired`: the stock was taken again. `recorded`: the shop had committed the hold without naming a payment.
`already`: the hold was bought by this payment. `second_payment`: it was bought by another. `sold_in_part`:
the shop sold some of its units, or sold it as paid elsewhere, and nobody knows what the money is for. `changed`: the
money is for the items that the hold had before it was changed. `short`: the stock is gone. `declined`: the policy takes
no stock again. `active`: the hold has not ended. `missing`: there is no such hold."""
