"""The activities that the workflows need, as abstract classes: who implements them is no concern of a workflow."""

from abc import ABC, abstractmethod

from temporalio import activity

from domain.holds import ReserveOutcome, ReserveRequest
from workflows.messages import AttachRequest, DeadlineRequest, Settled, SettleRequest
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
"""Types of the errors with which a payment's activity ends for good."""


class StockPort(ABC):
    """The stock in the database. Every activity may be repeated; the hold's id is the key."""

    @activity.defn(name="reserve")
    @abstractmethod
    async def reserve(self, request: ReserveRequest) -> ReserveOutcome:
        """Take the stock of a new hold, or say why not. Raises while it is not known whether it was taken."""

    @activity.defn(name="move-deadline")
    @abstractmethod
    async def move_deadline(self, request: DeadlineRequest) -> bool:
        """Write an active hold's deadline. False where the hold has ended."""

    @activity.defn(name="attach-payment")
    @abstractmethod
    async def attach_payment(self, request: AttachRequest) -> bool:
        """Write an active hold's payment to its row. False where another hold that is active has it."""

    @activity.defn(name="claim-late-payment")
    @abstractmethod
    async def claim_late_payment(self, late: LatePayment) -> Claimed:
        """See what a late payment can still buy, and take the stock again where it can."""

    @activity.defn(name="settle")
    @abstractmethod
    async def settle(self, request: SettleRequest) -> Settled:
        """End the hold with its stock; answers what the database has then."""


class PaymentsPort(ABC):
    """Payments at Stripe. Every activity may be repeated. Of type NOT_CONFIGURED where no key is set."""

    @activity.defn(name="open-checkout")
    @abstractmethod
    async def open_checkout(self, request: OpenCheckout) -> CheckoutOutcome:
        """Open the hold's Checkout Session, or return the one it has. Raises while that is not known."""

    @activity.defn(name="look-at-payment")
    @abstractmethod
    async def look_at_payment(self, query: PaymentQuery) -> PaymentCheck:
        """Tell how a payment stands."""

    @activity.defn(name="close-payment")
    @abstractmethod
    async def close_payment(self, query: PaymentQuery) -> PaymentCheck:
        """See to it that a payment can no longer be made; answers how it stands then, which is never open."""

    @activity.defn(name="capture-payment")
    @abstractmethod
    async def capture_payment(self, query: PaymentQuery) -> None:
        """Take the money that is authorised. Raises of type PAYMENT_REFUSED where Stripe will not."""

    @activity.defn(name="give-money-back")
    @abstractmethod
    async def give_money_back(self, query: PaymentQuery) -> None:
        """Refund a payment, or cancel what is only authorised. Raises of type PAYMENT_REFUSED where Stripe will not."""

    @activity.defn(name="report-payment-trouble")
    @abstractmethod
    async def report_trouble(self, trouble: PaymentTrouble) -> None:
        """Tell operations of a payment that somebody has to look at."""

    @activity.defn(name="report-late-payment")
    @abstractmethod
    async def report_late_payment(self, report: LatePaymentReport) -> None:
        """Tell operations what became of a late payment, and count it."""
