"""What a hold's workflow has done to the world: each activity with its limits, and why it is local or on record."""

from contextlib import suppress
from datetime import timedelta
from typing import TypedDict

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from domain.holds import ReserveOutcome, ReserveRequest
from workflows import ui_text
from workflows.messages import AttachRequest, DeadlineRequest, Settled, SettleRequest
from workflows.payment_messages import (
    CheckoutOutcome,
    Claimed,
    LatePayment,
    LatePaymentReport,
    OpenCheckout,
    PaymentQuery,
    PaymentStanding,
    PaymentTrouble,
)
from workflows.ports import NOT_CONFIGURED, PAYMENT_REFUSED, PaymentsPort, StockPort

# Longer than Postgres lets a statement run (lock time-out + 1 s, at most 5 s, after at most 2 s to connect), shorter
# than the workflow task time-out (10 s): a killed worker's statement has ended before another attempt begins.
_STATEMENT = timedelta(seconds=8)

# Several calls of 10 s each: a close looks, closes and looks again.
_CALLS = timedelta(seconds=60)

# A worker that asks Stripe gives a sign of life every few seconds: after this long without, the next one asks.
_SIGN_OF_LIFE = timedelta(seconds=15)

FAILED_HERE = (ActivityError, ApplicationError)
"""How a local activity fails: of its own errors the SDK raises the cause itself."""

ASK_THRICE = RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_attempts=3)
# What the database has must be known: giving up could leave stock held by nobody.
# Stripe may be away for hours; a refusal is not repeated, it is an answer.
WITH_PATIENCE = RetryPolicy(
    initial_interval=timedelta(milliseconds=250),
    maximum_interval=timedelta(minutes=5),
    non_retryable_error_types=[PAYMENT_REFUSED, NOT_CONFIGURED],
)
UNTIL_KNOWN = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=10))


class _Limits(TypedDict):
    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy


class _LimitsOfCalls(_Limits):
    heartbeat_timeout: timedelta


_STATEMENT_UNTIL_KNOWN = _Limits(start_to_close_timeout=_STATEMENT, retry_policy=UNTIL_KNOWN)
_CALLS_WITH_PATIENCE = _LimitsOfCalls(
    start_to_close_timeout=_CALLS, heartbeat_timeout=_SIGN_OF_LIFE, retry_policy=WITH_PATIENCE
)


async def reserve(request: ReserveRequest) -> ReserveOutcome:
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
            **_STATEMENT_UNTIL_KNOWN,
        )


async def write_deadline(request: DeadlineRequest) -> bool:
    """Write the hold's deadline. False where the row has ended."""
    return await workflow.execute_local_activity_method(
        StockPort.move_deadline,
        request,
        summary="write the new deadline",
        **_STATEMENT_UNTIL_KNOWN,
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
                summary=ui_text.end(request.to, request.reason),
                start_to_close_timeout=_STATEMENT,
                retry_policy=ASK_THRICE,
            )
    # A regular activity, so that the decision is in the history before its effect: with a local one, a payment that
    # arrives meanwhile would run this task again, decide otherwise, and find the stock given back.
    return await workflow.execute_activity_method(
        StockPort.settle,
        request,
        summary=ui_text.end(request.to, request.reason),
        **_STATEMENT_UNTIL_KNOWN,
    )


async def attach(request: AttachRequest) -> bool:
    """Write the hold's payment to its row. False where another active hold has it."""
    return await workflow.execute_activity_method(
        StockPort.attach_payment,
        request,
        summary=f"write the payment {request.payment.id} to the hold",
        **_STATEMENT_UNTIL_KNOWN,
    )


async def open_checkout(request: OpenCheckout, give_up_after: timedelta) -> CheckoutOutcome:
    """Open the hold's Checkout Session. Raises ActivityError when nothing was known for all that time."""
    return await workflow.execute_activity_method(
        PaymentsPort.open_checkout,
        request,
        summary="open the Checkout Session",
        schedule_to_close_timeout=give_up_after,
        **_CALLS_WITH_PATIENCE,
    )


async def look(query: PaymentQuery, within: timedelta = timedelta(seconds=10)) -> PaymentStanding:
    """Ask Stripe how a payment stands. Raises ActivityError when it does not say in that time."""
    return await workflow.execute_activity_method(
        PaymentsPort.look_at_payment,
        query,
        summary=f"look at {query.payment.id}",
        schedule_to_close_timeout=within,
        retry_policy=WITH_PATIENCE,
    )


async def close(query: PaymentQuery, give_up_after: timedelta) -> PaymentStanding:
    """Close a payment. Raises ActivityError when nothing was known for all that time."""
    return await workflow.execute_activity_method(
        PaymentsPort.close_payment,
        query,
        summary=f"close {query.payment.id}, so that nobody pays for stock that is given back",
        schedule_to_close_timeout=give_up_after,
        **_CALLS_WITH_PATIENCE,
    )


async def capture(query: PaymentQuery) -> None:
    """Take the money. Raises ActivityError where Stripe will not."""
    await workflow.execute_activity_method(
        PaymentsPort.capture_payment,
        query,
        summary=f"capture {query.payment.id}",
        **_CALLS_WITH_PATIENCE,
    )


async def give_money_back(query: PaymentQuery) -> None:
    """Refund, or cancel. Raises ActivityError where Stripe will not."""
    await workflow.execute_activity_method(
        PaymentsPort.give_money_back,
        query,
        summary=f"give {query.payment.id} back",
        **_CALLS_WITH_PATIENCE,
    )


async def look_until_known(query: PaymentQuery) -> PaymentStanding:
    """Ask Stripe how a payment stands, for as long as it takes. Raises ActivityError where no key is set."""
    return await workflow.execute_activity_method(
        PaymentsPort.look_at_payment,
        query,
        summary=f"look at {query.payment.id}",
        **_CALLS_WITH_PATIENCE,
    )


async def claim(late: LatePayment) -> Claimed:
    """See what a late payment can still buy, and take the stock again where it can."""
    return await workflow.execute_activity_method(
        StockPort.claim_late_payment,
        late,
        summary="take the stock again, if it is there",
        **_STATEMENT_UNTIL_KNOWN,
    )


async def report_trouble(trouble: PaymentTrouble) -> None:
    """Tell operations of a payment that somebody has to look at."""
    await workflow.execute_activity_method(
        PaymentsPort.report_trouble,
        trouble,
        summary=ui_text.plain(trouble.problem),
        **_STATEMENT_UNTIL_KNOWN,
    )


async def report_late_payment(report: LatePaymentReport) -> None:
    """Tell operations what became of a late payment."""
    await workflow.execute_activity_method(
        PaymentsPort.report_late_payment,
        report,
        summary=f"report: {report.outcome}",
        **_STATEMENT_UNTIL_KNOWN,
    )
