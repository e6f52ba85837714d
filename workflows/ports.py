"""The activities that the workflows need, as abstract classes: who implements them is no concern of a workflow."""

from abc import ABC, abstractmethod

from temporalio import activity

from workflows.messages import (
    DeadlineRequest,
    Reservation,
    ReserveRequest,
    Settled,
    SettleRequest,
    UnclaimedPayment,
)


class StockPort(ABC):
    """The stock in the database. Every activity may be repeated; the hold's id is the key."""

    @activity.defn(name="reserve")
    @abstractmethod
    async def reserve(self, request: ReserveRequest) -> Reservation:
        """Take the stock of a new hold, or say why not. Raises while it is not known whether it was taken."""

    @activity.defn(name="move-deadline")
    @abstractmethod
    async def move_deadline(self, request: DeadlineRequest) -> bool:
        """Write an active hold's deadline. False where the hold has ended."""

    @activity.defn(name="settle")
    @abstractmethod
    async def settle(self, request: SettleRequest) -> Settled:
        """End the hold with its stock; answers what the database has then."""


class PaymentsPort(ABC):
    """What is to be done about payments."""

    @activity.defn(name="report-unclaimed-payment")
    @abstractmethod
    async def report_unclaimed_payment(self, payment: UnclaimedPayment) -> None:
        """Tell operations of money that came for a hold which it did not buy."""
