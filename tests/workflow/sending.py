"""The messages that a hold can hear, sent so that a test knows when the server has them."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.update.v1 import UpdateRef
from temporalio.api.workflowservice.v1 import PollWorkflowExecutionUpdateRequest
from temporalio.client import WithStartWorkflowOperation, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from domain.holds import Line
from domain.payments import Payment
from tests.stack import SHOP, Stack
from workflows.hold import HoldWorkflow
from workflows.messages import (
    Amend,
    AmendAnswer,
    Cancel,
    Commit,
    Ended,
    Extend,
    Extended,
    HoldInput,
    MadeWay,
    MakeWay,
    hold_workflow_id,
)

Handle = WorkflowHandle[HoldWorkflow, Ended]

SELLING = ("commit", "part", "payment", "event")
"""`part` is a commit of one of the units; `event` is a payment as Stripe's events come, by the update."""
GIVING_BACK = ("release", "cancel", "ui_cancel")
MESSAGES = (*SELLING, *GIVING_BACK, "extend", "deadline")
UPDATES = {
    "commit": Ended,
    "part": Ended,
    "event": None,
    "release": Ended,
    "extend": Extended,
    "amend": AmendAnswer,
    "make_way": MadeWay,
}


@dataclass
class Hold:
    """A hold of a test, with its handle and the answers that are awaited."""

    hold_id: str
    handle: Handle
    answers: dict[str, "asyncio.Task[Any]"] = field(default_factory=dict)

    async def answer(self, message: str) -> Any:
        """Return an update's answer, or the type of the error with which it was refused or cut off."""
        try:
            return await self.answers[message]
        except WorkflowUpdateFailedError as error:
            return getattr(error.cause, "type", None)
        except RPCError as error:
            return error.status


def hold_input(*, sku: str = "TEE", units: int = 1, ttl_seconds: int = 1200, **changes: Any) -> HoldInput:
    """Return a hold to make, past the API, which allows no deadline as near as a test wants."""
    return HoldInput(
        shop_id=SHOP,
        hold_id=f"h-{uuid.uuid4().hex}",
        lines=(Line(sku, "", units),),
        ttl_seconds=ttl_seconds,
        **{"max_ttl_seconds": 3600, "request_timeout_ms": 60_000, **changes},
    )


async def start_hold(stack: Stack, **fields: Any) -> Hold:
    """Start a hold's workflow, without waiting for its first task."""
    hold = hold_input(**fields)
    handle = await stack.temporal.start_workflow(
        HoldWorkflow.run, hold, id=hold_workflow_id(SHOP, hold.hold_id), task_queue=stack.task_queue
    )
    return Hold(hold.hold_id, handle)


async def start_and_ask(stack: Stack, update: str, *message: Any, answers: Any, **fields: Any) -> tuple[Hold, Any]:
    """Start a hold's workflow with an update that its first task hears, and return the update's answer."""
    hold = hold_input(**fields)
    start = WithStartWorkflowOperation(
        HoldWorkflow.run,
        hold,
        id=hold_workflow_id(SHOP, hold.hold_id),
        task_queue=stack.task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )
    answer = await stack.temporal.execute_update_with_start_workflow(
        update, args=message, start_workflow_operation=start, result_type=answers
    )
    return Hold(hold.hold_id, stack.run_of(hold.hold_id)), answer


async def held(stack: Stack, count: int, **fields: Any) -> list[Hold]:
    """Start that many holds and wait until all have their stock."""
    holds = await asyncio.gather(*(start_hold(stack, **fields) for _ in range(count)))
    await asyncio.gather(*(hold.handle.execute_update("reserved") for hold in holds))
    return list(holds)


async def send(hold: Hold, message: str) -> None:
    """Send a message and return once the server has it; for the deadline, once its timer has fired."""
    match message:
        case "payment":
            await hold.handle.signal(HoldWorkflow.payment_succeeded, Payment(payment_intent_id=f"pi_{hold.hold_id}"))
        case "cancel":
            await hold.handle.signal(HoldWorkflow.cancel, Cancel(actor="test"))
        case "ui_cancel":
            await hold.handle.cancel()
        case "deadline":
            await until(hold.handle, EventType.EVENT_TYPE_TIMER_FIRED)
        case _:
            await _send_update(hold, message)


async def _send_update(hold: Hold, message: str) -> None:
    name = {"part": "commit_as_told", "event": "payment_succeeded"}.get(message, message)
    update_id = str(uuid.uuid4())
    argument = {
        "event": Payment(payment_intent_id=f"pi_{hold.hold_id}"),
        "commit": Commit("test"),
        "part": Commit("test", items=(Line("TEE", "", 1),)),
        "release": Cancel("test"),
        "extend": Extend(60),
        "make_way": MakeWay(update_id),
        "amend": Amend(update_id, update_id, "test", lines=(Line("TEE", "", 2),)),
    }[message]
    task = hold.answers[message] = asyncio.create_task(
        hold.handle.execute_update(name, argument, id=update_id, result_type=UPDATES[message])
    )
    execution = WorkflowExecution(workflow_id=hold.handle.id)
    poll = PollWorkflowExecutionUpdateRequest(
        namespace="default", update_ref=UpdateRef(workflow_execution=execution, update_id=update_id)
    )
    while not task.done():
        try:
            await hold.handle._client.workflow_service.poll_workflow_execution_update(poll)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            await asyncio.sleep(0.01)
        else:
            return


async def until(handle: Handle, event: "EventType.ValueType", where: Callable[[Any], bool] = lambda _: True) -> None:
    """Return when the run's history has such an event."""
    async for found in handle.fetch_history_events(wait_new_event=True):
        if found.event_type == event and where(found):
            return


async def until_settling(hold: Hold) -> None:
    """Return when the decision is in the history: settle is scheduled."""
    await until(
        hold.handle,
        EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
        lambda e: e.activity_task_scheduled_event_attributes.activity_type.name == "settle",
    )
