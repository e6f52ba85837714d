"""Hands the events of holds to the workflows that deliver them, and reads what became of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy

from core.signals import start_signal
from domain.holds import HoldKey
from workflows import ui_text
from workflows.deliveries import POST_EVENT, Delivery, Event, HoldEvents, hold_events_workflow_id
from workflows.hold_events import HoldEventsWorkflow
from workflows.priorities import of_shop

DeliveryState = Literal["waiting", "retrying", "delivered", "given_up"]


@dataclass(slots=True)
class EventDelivery:
    """An event of a hold, and what became of it."""

    hold_id: str
    event: Event
    state: DeliveryState = "waiting"
    attempts: int = 0
    delivered_at: datetime | None = None
    """When the receiver acknowledged it."""
    failure: str | None = None
    """Why the last attempt that failed did."""
    in_open_run: bool = False
    """Whether the run that received it last goes on: it takes an event once."""


def background_task_queue(task_queue: str) -> str:
    """Return the name of the task queue of the background worker."""
    return f"{task_queue}-back-office"


async def send_event(client: Client, task_queue: str, key: HoldKey, event: Event) -> None:
    """Hand the event over, after those that the hold's open run has; its end is not awaited. Raises RPCError."""
    await client.start_workflow(
        HoldEventsWorkflow.run,
        HoldEvents(*key),
        id=hold_events_workflow_id(*key),
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        static_summary=ui_text.plain(f"Events of hold {key.hold_id} of {key.shop_id}"),
        priority=of_shop(key.shop_id),
        **start_signal(HoldEventsWorkflow.happened, event),
    )


async def runs_of(client: Client, workflow_id: str) -> list[WorkflowExecution]:
    """Return the workflow's runs that Temporal still has, the first one first. Raises RPCError."""
    runs = [run async for run in client.list_workflows(f'WorkflowId = "{workflow_id}"', limit=20)]
    return sorted(runs, key=lambda run: run.start_time)


async def deliveries_of(client: Client, key: HoldKey) -> list[EventDelivery]:
    """Return the hold's events that Temporal still has, in their order. Raises RPCError."""
    found = dict[str, EventDelivery]()
    for run in await runs_of(client, hold_events_workflow_id(*key)):
        handle = client.get_workflow_handle(run.id, run_id=run.run_id)
        of_run, posts = dict[str, EventDelivery](), dict[int, EventDelivery]()
        async for event in handle.fetch_history_events():
            await _note(client, key, event, of_run, posts)
        if run.status is WorkflowExecutionStatus.RUNNING:
            for each in of_run.values():
                each.in_open_run = True
            for pending in (await handle.describe()).raw_description.pending_activities:
                for posted in posts.values():
                    if pending.activity_type.name == POST_EVENT and posted.state == "waiting":
                        posted.state, posted.attempts = "retrying", pending.attempt
                        posted.failure = pending.last_failure.message or None
        found |= of_run  # a later run delivered them again
    return list(found.values())


async def _note(
    client: Client,
    key: HoldKey,
    event: HistoryEvent,
    found: dict[str, EventDelivery],
    posts: dict[int, EventDelivery],
) -> None:
    """Note what an event of the history tells: an event was received, or posted, or its post has ended."""
    match event.WhichOneof("attributes"):
        case "workflow_execution_signaled_event_attributes":
            payloads = event.workflow_execution_signaled_event_attributes.input.payloads
            for received in await client.data_converter.decode(payloads, [Event]):
                found.setdefault(received.id, EventDelivery(key.hold_id, received))
        case "activity_task_scheduled_event_attributes":
            scheduled = event.activity_task_scheduled_event_attributes
            if scheduled.activity_type.name == POST_EVENT:
                (posted,) = await client.data_converter.decode(scheduled.input.payloads, [Delivery])
                posts[event.event_id] = found.setdefault(posted.event.id, EventDelivery(key.hold_id, posted.event))
        case _:
            _note_end(event, posts)


def _note_end(event: HistoryEvent, posts: dict[int, EventDelivery]) -> None:
    match event.WhichOneof("attributes"):
        case "activity_task_started_event_attributes":  # written when the last attempt has ended
            started = event.activity_task_started_event_attributes
            if (posted := posts.get(started.scheduled_event_id)) is not None:
                posted.attempts += started.attempt
                posted.failure = started.last_failure.message or posted.failure
        case "activity_task_completed_event_attributes":
            if (posted := posts.get(event.activity_task_completed_event_attributes.scheduled_event_id)) is not None:
                posted.state, posted.delivered_at = "delivered", event.event_time.ToDatetime(UTC)
        case "activity_task_timed_out_event_attributes":
            if (posted := posts.get(event.activity_task_timed_out_event_attributes.scheduled_event_id)) is not None:
                posted.state = "given_up"
        case "activity_task_failed_event_attributes":
            if (posted := posts.get(event.activity_task_failed_event_attributes.scheduled_event_id)) is not None:
                posted.state = "given_up"
                posted.failure = event.activity_task_failed_event_attributes.failure.message


def to_resend(deliveries: Iterable[EventDelivery]) -> list[Event]:
    """Return the events whose delivery has ended, in their order; the others are on their way.

    Those of a run that still delivers others wait too: it would take them for repeats.
    """
    ended = (each for each in deliveries if each.state in ("delivered", "given_up"))
    return [each.event for each in ended if not each.in_open_run]
