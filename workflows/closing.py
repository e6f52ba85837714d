"""How a hold that has ended leaves: no payment it heard of is dropped, nobody who asked goes without an answer."""

from contextlib import suppress

from temporalio import workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import WorkflowAlreadyStartedError

from domain.payments import Payment
from workflows import ui_text
from workflows.decision import Facts
from workflows.late_payment import LatePaymentWorkflow
from workflows.messages import SHOP_ID, HoldInput
from workflows.payment_messages import LatePayment, late_payment_workflow_id
from workflows.payment_steps import Paying


async def leave_nothing_unanswered(hold: HoldInput, facts: Facts, paying: Paying, bought_by: Payment | None) -> None:
    """Hand on each payment that did not buy the hold and let the handlers answer, until nothing is left.

    The last look and the return have no await between them: a payment that comes between settle's result and
    the end of the run is delivered again by the server, and is lost unless somebody looks.
    """
    handed_on: set[str] = set()
    await paying.leave()
    while True:
        heard_of = [*facts.payments.values(), *facts.withdrawn.values()]
        payments = [payment for payment in heard_of if payment.id not in handed_on]
        for payment in payments:
            handed_on.add(payment.id)
            if bought_by is None or not payment.bought(bought_by):
                await _hand_on(hold, payment)
            elif payment.needs_capture:
                await paying.capture(payment)
        if not workflow.all_handlers_finished():
            await workflow.wait_condition(workflow.all_handlers_finished)
        elif not payments:
            return


async def _hand_on(hold: HoldInput, payment: Payment) -> None:
    late = LatePayment(hold.shop_id, hold.hold_id, payment)
    with suppress(WorkflowAlreadyStartedError):  # a webhook was faster
        await workflow.start_child_workflow(
            LatePaymentWorkflow.run,
            late,
            id=late_payment_workflow_id(payment.id),
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            search_attributes=TypedSearchAttributes([SearchAttributePair(SHOP_ID, late.shop_id)]),
            static_summary=ui_text.late_payment(late),
        )
