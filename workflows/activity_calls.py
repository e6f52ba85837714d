"""The activity calls of the workflows of holds, with their time-outs, and why each is local or regular."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypedDict

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from domain.amendments import AmendOutcome, AmendRequest
from domain.holds import ReserveOutcome, ReserveRequest
from workflows import ui_text
from workflows.messages import AttachRequest, DeadlineRequest, ExpiryWarning, Settled, SettledStatus, SettleRequest
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
from workflows.ports import NOT_CONFIGURED, PAYMENT_REFUSED, PaymentsPort, StockPort
from workflows.priorities import Importance, of_step

# Longer than Postgres lets a statement run (lock time-out + 1 s, at most 5 s, after at most 2 s to connect), shorter
# than the workflow task time-out (10 s): a killed worker's statement has ended before another attempt begins.
_STATEMENT = timedelta(seconds=8)

# Several calls of 10 s each: closing checks, closes and checks again.
_CALLS = timedelta(seconds=60)

# A worker that calls Stripe heartbeats every few seconds; after this time without one, the next attempt starts.
_HEARTBEAT = timedelta(seconds=15)

LOCAL_ACTIVITY_ERRORS = (ActivityError, ApplicationError)
"""What a failed local activity raises: the SDK raises the cause itself for the activity's own errors."""

THREE_ATTEMPTS = RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_attempts=3)
# Stripe may be unavailable for hours; a refusal is an answer and is not repeated.
WHILE_STRIPE_IS_UNAVAILABLE = RetryPolicy(
    initial_interval=timedelta(milliseconds=250),
    maximum_interval=timedelta(minutes=5),
    non_retryable_error_types=[PAYMENT_REFUSED, NOT_CONFIGURED],
)
# The state of the database must be known: giving up could leave stock that no workflow releases.
UNTIL_KNOWN = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=10))


_END_IMPORTANCE: dict[SettledStatus, Importance] = {
    "committed": Importance.SALE,
    "released": Importance.END,
    "expired": Importance.EXPIRY,
}


class _Limits(TypedDict):
    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy


class _CallLimits(_Limits):
    heartbeat_timeout: timedelta


_STATEMENT_UNTIL_KNOWN = _Limits(start_to_close_timeout=_STATEMENT, retry_policy=UNTIL_KNOWN)
_STRIPE_CALLS = _CallLimits(
    start_to_close_timeout=_CALLS, heartbeat_timeout=_HEARTBEAT, retry_policy=WHILE_STRIPE_IS_UNAVAILABLE
)


async def finishes_before(work: "asyncio.Future[Any]", stopped: Callable[[], bool]) -> bool:
    """Wait until the work is done or `stopped()` is true; in the second case cancel the work and return False."""
    await workflow.wait_condition(lambda: work.done() or stopped())
    if work.done():
        return True
    await cancel(work)
    return False


async def cancel(work: "asyncio.Future[Any]") -> None:
    """Cancel the work and wait until it has ended."""
    work.cancel()
    with suppress(asyncio.CancelledError, ActivityError):
        await work


def cause_of(error: ActivityError) -> str:
    """Return the message of the error that the activity raised."""
    return str(error.cause or error)


async def reserve(request: ReserveRequest) -> ReserveOutcome:
    """Take the stock, or find out whether an unanswered attempt took it."""
    try:
        return await workflow.execute_local_activity_method(
            StockPort.reserve,
            request,
            summary="take the stock",
            start_to_close_timeout=_STATEMENT,
            retry_policy=THREE_ATTEMPTS,
        )
    except LOCAL_ACTIVITY_ERRORS:
        return await workflow.execute_activity_method(
            StockPort.reserve,
            request,
            summary="find out whether the stock was taken",
            **_STATEMENT_UNTIL_KNOWN,
        )


async def amend(request: AmendRequest) -> AmendOutcome:
    """Change the hold's row and lines, or return why not."""
    # Regular, so that the change is in the history before its effect: a commit that arrives meanwhile comes after it.
    return await workflow.execute_activity_method(
        StockPort.amend,
        request,
        summary="change the hold",
        **_STATEMENT_UNTIL_KNOWN,
    )


async def write_deadline(request: DeadlineRequest) -> bool:
    """Write the hold's deadline. Returns False if the hold has ended."""
    return await workflow.execute_local_activity_method(
        StockPort.move_deadline,
        request,
        summary="write the new deadline",
        **_STATEMENT_UNTIL_KNOWN,
    )


async def warn_of_expiry(warning: ExpiryWarning) -> None:
    """Note the event that the hold is about to expire."""
    await workflow.execute_local_activity_method(
        StockPort.warn_of_expiry,
        warning,
        summary="warn before the deadline",
        **_STATEMENT_UNTIL_KNOWN,
    )


async def settle(request: SettleRequest, *, locally: bool) -> Settled:
    """End the hold. Returns the status that the database then has.

    A local activity costs half, but is recorded only with the end of its task: a message that arrives meanwhile repeats
    the task, which may then decide otherwise, and finds in the database how the hold has ended.
    """
    if locally:
        with suppress(*LOCAL_ACTIVITY_ERRORS):
            return await workflow.execute_local_activity_method(
                StockPort.settle,
                request,
                summary=ui_text.end(request.to, request.reason),
                start_to_close_timeout=_STATEMENT,
                retry_policy=THREE_ATTEMPTS,
            )
    return await workflow.execute_activity_method(
        StockPort.settle,
        request,
        summary=ui_text.end(request.to, request.reason),
        priority=of_step(_END_IMPORTANCE[request.to]),
        **_STATEMENT_UNTIL_KNOWN,
    )


async def attach(request: AttachRequest) -> bool:
    """Write the hold's payment to its row. Returns False if another active hold has it."""
    return await workflow.execute_activity_method(
        StockPort.attach_payment,
        request,
        summary=f"write the payment {request.payment.id} to the hold",
        **_STATEMENT_UNTIL_KNOWN,
    )


async def open_checkout(request: OpenCheckout, give_up_after: timedelta) -> CheckoutOutcome:
    """Open the hold's Checkout Session. Raises ActivityError if the result is unknown after that time."""
    return await workflow.execute_activity_method(
        PaymentsPort.open_checkout,
        request,
        summary="open the Checkout Session",
        schedule_to_close_timeout=give_up_after,
        **_STRIPE_CALLS,
    )


async def check_payment(query: PaymentQuery, within: timedelta = timedelta(seconds=10)) -> PaymentCheck:
    """Read the payment's status from Stripe. Raises ActivityError after that time."""
    return await workflow.execute_activity_method(
        PaymentsPort.check_payment,
        query,
        summary=f"check {query.payment.id}",
        schedule_to_close_timeout=within,
        retry_policy=WHILE_STRIPE_IS_UNAVAILABLE,
    )


async def close(query: PaymentQuery, give_up_after: timedelta, importance: Importance) -> PaymentCheck:
    """Close a payment. Raises ActivityError if the result is unknown after that time."""
    return await workflow.execute_activity_method(
        PaymentsPort.close_payment,
        query,
        summary=f"close {query.payment.id} before the stock is released",
        priority=of_step(importance),
        schedule_to_close_timeout=give_up_after,
        **_STRIPE_CALLS,
    )


async def capture(query: PaymentQuery) -> None:
    """Capture a payment. Raises ActivityError if Stripe refuses."""
    await workflow.execute_activity_method(
        PaymentsPort.capture_payment,
        query,
        summary=f"capture {query.payment.id}",
        priority=of_step(Importance.SALE),
        **_STRIPE_CALLS,
    )


async def refund_or_cancel(query: PaymentQuery) -> None:
    """Refund a payment, or cancel an authorised one. Raises ActivityError if Stripe refuses."""
    await workflow.execute_activity_method(
        PaymentsPort.refund_or_cancel,
        query,
        summary=f"refund or cancel {query.payment.id}",
        priority=of_step(Importance.END),
        **_STRIPE_CALLS,
    )


async def check_payment_until_known(query: PaymentQuery) -> PaymentCheck:
    """Read the payment's status from Stripe, however long that takes. Raises ActivityError without an API key."""
    return await workflow.execute_activity_method(
        PaymentsPort.check_payment,
        query,
        summary=f"check {query.payment.id}",
        **_STRIPE_CALLS,
    )


async def claim(late: LatePayment) -> Claimed:
    """Return what a late payment can still buy, and take the stock again if possible."""
    return await workflow.execute_activity_method(
        StockPort.claim_late_payment,
        late,
        summary="take the stock again, if available",
        **_STATEMENT_UNTIL_KNOWN,
    )


async def report_trouble(trouble: PaymentTrouble) -> None:
    """Alert operations to a payment that needs attention."""
    await workflow.execute_activity_method(
        PaymentsPort.report_trouble,
        trouble,
        summary=ui_text.plain(trouble.problem),
        priority=of_step(Importance.REPORT),
        **_STATEMENT_UNTIL_KNOWN,
    )


async def report_late_payment(report: LatePaymentReport) -> None:
    """Report the outcome of a late payment to operations."""
    await workflow.execute_activity_method(
        PaymentsPort.report_late_payment,
        report,
        summary=f"report: {report.outcome}",
        priority=of_step(Importance.REPORT),
        **_STATEMENT_UNTIL_KNOWN,
    )
