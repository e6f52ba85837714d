"""HoldEventsWorkflow: delivers the events of one hold in their order, retrying each for up to three days."""

from collections import deque

from temporalio import workflow
from temporalio.exceptions import ActivityError

from workflows.cancellation import run_despite_cancellation
from workflows.checked_messages import checked_signal
from workflows.deliveries import (
    ATTEMPT_TIMEOUT,
    MAX_EVENT_AGE,
    UNLIMITED_RETRIES,
    Delivery,
    Event,
    EventsPort,
    HoldEvents,
)
from workflows.run_details import RunDetails


@workflow.defn(name="HoldEventsWorkflow")
class HoldEventsWorkflow(RunDetails):
    """Ends when all received events are delivered; the next event starts a new run."""

    @workflow.init
    def __init__(self, hold: HoldEvents) -> None:
        """Start without an event: the first comes as a signal with the start."""
        del hold
        self._pending: deque[Event] = deque()
        self._received: set[str] = set()

    @workflow.run
    async def run(self, hold: HoldEvents) -> int:
        """Deliver the events one after the other, and return their number."""
        del hold
        return await run_despite_cancellation(self._deliver_all(), self.note_cancellation)

    async def _deliver_all(self) -> int:
        await workflow.wait_condition(lambda: bool(self._pending))
        while self._pending:
            await deliver(Delivery("hold-events", self._pending.popleft()))
        return len(self._received)

    @checked_signal(description="Something happened to the hold")
    def happened(self, event: Event) -> None:
        """Queue an event. One that was received before is ignored."""
        if event.id not in self._received:
            self._received.add(event.id)
            self._pending.append(event)


async def deliver(delivery: Delivery) -> None:
    """Deliver the event, or report after three days that it is given up."""
    left = MAX_EVENT_AGE - (workflow.now() - delivery.event.occurred_at)
    try:
        await workflow.execute_activity_method(
            EventsPort.post_event,
            delivery,
            summary=f"{delivery.event.type} to {delivery.receiver}",
            start_to_close_timeout=ATTEMPT_TIMEOUT,
            schedule_to_close_timeout=min(max(left, ATTEMPT_TIMEOUT), MAX_EVENT_AGE),
            retry_policy=UNLIMITED_RETRIES,
        )
    except ActivityError:
        await workflow.execute_activity_method(
            EventsPort.give_up_event,
            delivery,
            summary=f"give up {delivery.event.type}",
            start_to_close_timeout=ATTEMPT_TIMEOUT,
            retry_policy=UNLIMITED_RETRIES,
        )
