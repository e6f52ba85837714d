"""What a hold's workflow has done to the world: each activity with its limits, and why it is local or on record."""

from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from workflows import legible
from workflows.messages import (
    DeadlineRequest,
    Reservation,
    ReserveRequest,
    Settled,
    SettleRequest,
    UnclaimedPayment,
)
from workflows.ports import PaymentsPort, StockPort

# Longer than Postgres lets a statement run (lock time-out + 1 s, at most 5 s, after at most 2 s to connect), shorter
# than the workflow task time-out (10 s): a killed worker's statement has ended before another attempt begins.
_STATEMENT = timedelta(seconds=8)

FAILED_HERE = (ActivityError, ApplicationError)
"""How a local activity fails: of its own errors the SDK raises the cause itself."""

ASK_THRICE = RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_attempts=3)
# What the database has must be known: giving up could leave stock held by nobody.
UNTIL_KNOWN = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=10))


async def reserve(request: ReserveRequest) -> Reservation:
    """Take the stock, or find out whether an attempt that was not answered took it."""
    try:
        return await workflow.execute_local_activity_method(
            StockPort.reserve,
            request,
            summary="take the stock",
            start_to_close_timeout=_STATEMENT,
            retry_policy=ASK_THRICE,
        )
    except FAILED_HERE:
        return await workflow.execute_activity_method(
            StockPort.reserve,
            request,
            summary="find out whether the stock was taken",
            start_to_close_timeout=_STATEMENT,
            retry_policy=UNTIL_KNOWN,
        )


async def write_deadline(request: DeadlineRequest) -> bool:
    """Write the hold's deadline. False where the row has ended."""
    return await workflow.execute_local_activity_method(
        StockPort.move_deadline,
        request,
        summary="write the new deadline",
        start_to_close_timeout=_STATEMENT,
        retry_policy=UNTIL_KNOWN,
    )


async def settle(request: SettleRequest) -> Settled:
    """End the hold; answers how the database has it then."""
    if request.to == "committed":
        # Nothing beats a sale: whatever a message that runs this task again may bring, it decides for the sale again,
        # and if nobody remembers why, the database says committed (docs/decisions/0006-a-sale-settles-at-once.md).
        with suppress(*FAILED_HERE):
            return await workflow.execute_local_activity_method(
                StockPort.settle,
                request,
                summary=legible.end(request.to, request.reason),
                start_to_close_timeout=_STATEMENT,
                retry_policy=ASK_THRICE,
            )
    # A regular activity, so that the decision is in the history before its effect: with a local one, a payment that
    # arrives meanwhile would run this task again, decide otherwise, and find the stock given back.
    return await workflow.execute_activity_method(
        StockPort.settle,
        request,
        summary=legible.end(request.to, request.reason),
        start_to_close_timeout=_STATEMENT,
        retry_policy=UNTIL_KNOWN,
    )


async def report(payment: UnclaimedPayment) -> None:
    """Tell operations of a payment that did not buy its hold."""
    await workflow.execute_activity_method(
        PaymentsPort.report_unclaimed_payment,
        payment,
        summary=f"report {payment.payment_id}: it did not buy this hold",
        start_to_close_timeout=_STATEMENT,
        retry_policy=UNTIL_KNOWN,
    )
