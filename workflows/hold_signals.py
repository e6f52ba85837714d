"""The signals of HoldWorkflow that other workflows send."""

from abc import ABC, abstractmethod

from temporalio import workflow

from domain.payments import Payment
from workflows.messages import Cancel


class HoldSignals(ABC):
    """Implemented by HoldWorkflow, which imports LatePaymentWorkflow: the sender needs the signal without it."""

    @workflow.signal
    @abstractmethod
    def cancel(self, message: Cancel) -> None:
        """Release the stock, or learn that it was released."""

    @workflow.signal
    @abstractmethod
    def payment_succeeded(self, payment: Payment) -> None:
        """Record a payment that is paid or authorised."""
