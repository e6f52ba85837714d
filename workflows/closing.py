"""Closes the run of a hold that has ended: no payment is lost, and every caller gets an answer."""

from contextlib import suppress

from temporalio import workflow
from temporalio.exceptions import WorkflowAlreadyStartedError

from domain.payments import Payment
from workflows import ui_text
from workflows.hold_state import HoldState
from workflows.late_payment import LatePaymentWorkflow
from workflows.messages import HoldInput
from workflows.payment_messages import LatePayment, late_payment_workflow_id
from workflows.payment_steps import PaymentSteps
from workflows.priorities import Importance, of_shop
from workflows.search_attributes import late_payment_attributes, late_payment_memo


async def finish(hold: HoldInput, state: HoldState, steps: PaymentSteps, bought_by: Payment | None) -> None:
    """Start a late payment for each payment that did not buy the hold, and wait for the handlers, until none is left.

    There is no await between the last check and the return: the server delivers a payment again that arrives between
    settle's result and the end of the run, and without this check it would be lost.
    """
    handled: set[str] = set()
    await steps.stop_opening()
    if state.commit is not None and state.commit.paid_elsewhere:
        await steps.close_unneeded()
    while True:
        received = [*state.payments.values(), *state.withdrawn.values(), *state.doubtful.values()]
        payments = [payment for payment in received if payment.id not in handled]
        for payment in payments:
            handled.add(payment.id)
            if not payment.bought(bought_by):
                await _start_late_payment(hold, payment)
            elif payment.needs_capture:
                await steps.capture(payment)
        if not workflow.all_handlers_finished():
            await workflow.wait_condition(workflow.all_handlers_finished)
        elif not payments:
            return


async def _start_late_payment(hold: HoldInput, payment: Payment) -> None:
    late = LatePayment(hold.shop_id, hold.hold_id, payment, reference=hold.reference)
    with suppress(WorkflowAlreadyStartedError):  # a webhook started it first
        await workflow.start_child_workflow(
            LatePaymentWorkflow.run,
            late,
            id=late_payment_workflow_id(payment.id),
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            search_attributes=late_payment_attributes(late),
            memo=late_payment_memo(late),
            static_summary=ui_text.late_payment(late),
            priority=of_shop(late.shop_id, Importance.END),
            static_details=ui_text.late_payment_details(late),
        )
