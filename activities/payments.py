"""What is done about payments. Until payments are built: nobody's money goes by in silence."""

from temporalio import activity

from inventory.telemetry import Telemetry
from workflows.messages import UnclaimedPayment
from workflows.ports import PaymentsPort


class PaymentActivities(PaymentsPort):
    """PaymentsPort that tells operations by the log and a counter."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    @activity.defn(name="report-unclaimed-payment")
    async def report_unclaimed_payment(self, payment: UnclaimedPayment) -> None:
        """Log an error and count it; a person has to look at the payment."""
        self._telemetry.fail(
            "inventory_late_payment",
            shop_id=payment.shop_id,
            hold_id=payment.hold_id,
            payment_id=payment.payment_id,
            status=payment.status,
            problem="a payment came for a hold that it did not buy: look at it in Stripe, refund it or hold anew",
        )
