"""The activities that workflows call, as abstract classes; `activities/` implements them."""

from abc import ABC, abstractmethod

from temporalio import activity

from domain.amendments import AmendOutcome, AmendRequest
from domain.holds import ReserveOutcome, ReserveRequest
from workflows.messages import AttachRequest, DeadlineRequest, ExpiryWarning, Settled, SettleRequest
from workflows.payment_messages import (
    CheckoutOutcome,
    Claimed,
    LatePayment,
    LatePaymentReport,
    OpenCheckout,
    PaymentCheck,
    PaymentQuery,
    PaymentTrouble,
)

PAYMENT_REFUSED = "payment_refused"
NOT_CONFIGURED = "payments_not_configured"
"""Types of the ApplicationErrors that end a payment activity without another attempt."""


class StockPort(ABC):
    """The stock in the database. Every activity may be repeated; the hold's id is the key."""

    @activity.defn(name="reserve")
    @abstractmethod
    async def reserve(self, request: ReserveRequest) -> ReserveOutcome:
        """Take the stock of a new hold, or return why not. Raises while the result is unknown."""

    @activity.defn(name="amend-hold")
    @abstractmethod
    async def amend(self, request: AmendRequest) -> AmendOutcome:
        """Change an active hold, or return why not. Raises while the result is unknown."""

    @activity.defn(name="move-deadline")
    @abstractmethod
    async def move_deadline(self, request: DeadlineRequest) -> bool:
        """Write an active hold's deadline. Returns False if the hold has ended."""

    @activity.defn(name="warn-of-expiry")
    @abstractmethod
    async def warn_of_expiry(self, warning: ExpiryWarning) -> None:
        """Note the event `hold.expiring` of an active hold. A repeat notes it with the same id."""

    @activity.defn(name="attach-payment")
    @abstractmethod
    async def attach_payment(self, request: AttachRequest) -> bool:
        """Write an active hold's payment to its row. Returns False if another active hold has it."""

    @activity.defn(name="claim-late-payment")
    @abstractmethod
    async def claim_late_payment(self, late: LatePayment) -> Claimed:
        """Return what a late payment can still buy, and take the stock again if possible."""

    @activity.defn(name="settle")
    @abstractmethod
    async def settle(self, request: SettleRequest) -> Settled:
        """End the hold together with its stock. Returns the status that the database then has."""


class PaymentsPort(ABC):
    """Payments at Stripe. Every activity may be repeated. Without an API key each raises of type NOT_CONFIGURED."""

    @activity.defn(name="open-checkout")
    @abstractmethod
    async def open_checkout(self, request: OpenCheckout) -> CheckoutOutcome:
        """Open the hold's Checkout Session, or return the one it has. Raises while the result is unknown."""

    @activity.defn(name="look-at-payment")
    @abstractmethod
    async def check_payment(self, query: PaymentQuery) -> PaymentCheck:
        """Read a payment's status."""

    @activity.defn(name="close-payment")
    @abstractmethod
    async def close_payment(self, query: PaymentQuery) -> PaymentCheck:
        """Close a payment, so that it can no longer be made. Returns its status, which is never `open`."""

    @activity.defn(name="capture-payment")
    @abstractmethod
    async def capture_payment(self, query: PaymentQuery) -> None:
        """Capture an authorised payment. Raises of type PAYMENT_REFUSED if Stripe refuses."""

    @activity.defn(name="give-money-back")
    @abstractmethod
    async def refund_or_cancel(self, query: PaymentQuery) -> None:
        """Refund a payment, or cancel an authorised one. Raises of type PAYMENT_REFUSED if Stripe refuses."""

    @activity.defn(name="report-payment-trouble")
    @abstractmethod
    async def report_trouble(self, trouble: PaymentTrouble) -> None:
        """Alert operations to a payment that needs attention."""

    @activity.defn(name="report-late-payment")
    @abstractmethod
    async def report_late_payment(self, report: LatePaymentReport) -> None:
        """Report the outcome of a late payment to operations, and count it."""
