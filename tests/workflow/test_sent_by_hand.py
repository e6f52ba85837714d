"""What people send in the Temporal UI: with any data or none, it acts or is ignored in the open, and stops no run."""

import asyncio
import uuid
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.common import RawValue

from domain.payments import Payment
from holds.event_delivery import background_task_queue
from tests.stack import SHOP, Stack
from tests.waiting import until
from tests.workflow.sending import hold_input
from workflows.audit import AuditWorkflow
from workflows.deliveries import HoldEvents, LowItem, ShopAlerts
from workflows.findings import AuditRequest
from workflows.hold import HoldWorkflow
from workflows.hold_events import HoldEventsWorkflow
from workflows.late_payment import LatePaymentWorkflow
from workflows.low_stock import LowStockAlertWorkflow
from workflows.low_stock_digest import LowStockDigestWorkflow
from workflows.messages import Ended, hold_workflow_id
from workflows.payment_messages import LatePayment

WORKFLOWS = [
    HoldWorkflow,
    LatePaymentWorkflow,
    HoldEventsWorkflow,
    LowStockAlertWorkflow,
    LowStockDigestWorkflow,
    AuditWorkflow,
]
METADATA = "__temporal_workflow_metadata"


def json_payload(data: bytes, encoding: bytes = b"json/plain") -> RawValue:
    return RawValue(Payload(metadata={"encoding": encoding}, data=data))


NOTHING: list[list[Any]] = [[], [{}], [None], [json_payload(b"null")], [json_payload(b"")]]
UNREADABLE: list[list[Any]] = [
    ["please"],
    [{"actor": 7, "payment": "x", "event_id": 1, "at": "2026-01-02T03:04:05"}],
    [{"payment": {}, "event_id": "evt_1", "actor": None}],
    [{"actor": "a\0b", "note": 7, "payment_intent_id": "x" * 2000}],
    [json_payload(b'{"actor": ')],
    [json_payload(b"mara", b"binary/plain")],
    [json_payload(b"mara", b"of/mine")],
    ["mara", "why"],
]
WITHOUT_DATA = {"cancel", "close", "record_commit", "refund_failed"}
"""Signals that need no data to act."""


def signals_of(kind: type) -> list[str]:
    return [name for name in workflow._Definition.must_from_class(kind).signals if name]


async def started(stack: Stack, kind: Any) -> WorkflowHandle[Any, Any]:
    """Start a run that waits: for messages, or for a person."""
    inputs: dict[type, object] = {
        HoldWorkflow: hold_input(),
        LatePaymentWorkflow: LatePayment(SHOP, "h-1", Payment(f"pi_{uuid.uuid4().hex}")),
        HoldEventsWorkflow: HoldEvents(SHOP, "h-1"),
        LowStockAlertWorkflow: LowItem(SHOP, "TEE", ""),
        LowStockDigestWorkflow: ShopAlerts(SHOP),
        AuditWorkflow: AuditRequest(SHOP),
    }
    hold = inputs[HoldWorkflow]
    background = kind not in (HoldWorkflow, LatePaymentWorkflow)
    return await stack.temporal.start_workflow(
        kind.run,
        inputs[kind],
        id=hold_workflow_id(SHOP, hold.hold_id) if kind is HoldWorkflow else f"by-hand-{uuid.uuid4().hex}",  # type: ignore[attr-defined]
        task_queue=background_task_queue(stack.task_queue) if background else stack.task_queue,
    )


async def details_of(run: WorkflowHandle[Any, Any]) -> str:
    """Return the current details, when the run has taken in all that was sent before."""
    return str((await run.query(METADATA)).current_details).replace("\\", "")


async def assert_not_blocked(run: WorkflowHandle[Any, Any]) -> None:
    failed = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    assert [event async for event in run.fetch_history_events() if event.event_type == failed] == []


async def test_data_that_no_signal_can_read_is_shown_in_its_run_and_stops_nothing(stack: Stack) -> None:
    async def ignored(kind: type, signal: str) -> None:
        run = await started(stack, kind)
        for data in UNREADABLE if signal in WITHOUT_DATA else [*NOTHING, *UNREADABLE]:
            await run.signal(signal, args=data)
        shown = await details_of(run)
        assert (f"The signal {signal} was ignored" in shown) is (signal != "refund_failed"), shown
        assert (await run.describe()).status is WorkflowExecutionStatus.RUNNING
        await assert_not_blocked(run)
        await run.terminate()

    await asyncio.gather(*(ignored(kind, signal) for kind in WORKFLOWS for signal in signals_of(kind)))


async def test_a_cancel_without_data_releases_the_hold(stack: Stack) -> None:
    for data in NOTHING:
        hold = await stack.made()

        await stack.run_of(hold["holdId"]).signal("cancel", args=data)

        assert await stack.run_of(hold["holdId"]).result() == Ended("released")
        assert (await stack.read(hold["holdId"]))["reason"] == "cancelled"
    assert await stack.stock_of() == (10, 0)


async def test_an_update_with_data_that_cannot_be_read_is_refused_and_stops_nothing(stack: Stack) -> None:
    hold = await stack.made()
    run = stack.run_of(hold["holdId"])

    of_stripe = ("payment_succeeded", "payment_failed", "payment_processing", "cancel")
    for update in ("attach", "commit", "commit_as_told", "release", "extend", *of_stripe):
        for data in [[], [{}], *UNREADABLE]:
            with pytest.raises(WorkflowUpdateFailedError):
                await run.execute_update(update, args=data)

    assert (await stack.post(hold["holdId"], "commit")).json()["status"] == "committed"
    await assert_not_blocked(run)


async def waits_for_person(run: WorkflowHandle[Any, Any]) -> bool:
    return bool(await run.query(LatePaymentWorkflow.waits_for_person))


async def test_a_case_that_is_closed_without_data_ends(stack: Stack) -> None:
    for data in NOTHING:
        run = await started(stack, LatePaymentWorkflow)
        await until(lambda run=run: waits_for_person(run), "the case waits for a person")  # type: ignore[misc]

        await run.signal("close", args=data)

        assert (await run.result()).outcome == "closed_by_person"


async def test_request_cancellation_ends_no_workflow(stack: Stack) -> None:
    late, *background, audit = [await started(stack, kind) for kind in WORKFLOWS if kind is not HoldWorkflow]

    for run in (late, *background, audit):
        await run.cancel()

    await until(lambda: waits_for_person(late), "the case waits for a person")
    assert stack.counted("inventory_late_payment", outcome="needs_person") == 1
    for run in background:
        assert "Request Cancellation has no effect" in await details_of(run)
    assert (await audit.result()).found == {}
    for run in (late, *background):
        assert (await run.describe()).status is WorkflowExecutionStatus.RUNNING
        await run.terminate()
