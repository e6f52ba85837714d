"""HoldEventsWorkflow: tells the shop what happened to one hold, event after event, for three days if need be."""

from collections import deque

from temporalio import workflow
from temporalio.exceptions import ActivityError

from workflows.deliveries import ATTEMPT, KEEP_TRYING, PATIENTLY, Delivery, Event, EventsPort, HoldEvents


@workflow.defn(name="HoldEventsWorkflow")
class HoldEventsWorkflow:
    """Ends when all that it has been told of is delivered; the next event starts a new run."""

    @workflow.init
    def __init__(self, hold: HoldEvents) -> None:
        """Begin with nothing; the first event comes with the start."""
        del hold
        self._waiting: deque[Event] = deque()
        self._heard: set[str] = set()

    @workflow.run
    async def run(self, hold: HoldEvents) -> int:
        """Deliver every event in its turn, and answer how many there were."""
        del hold
        await workflow.wait_condition(lambda: bool(self._waiting))
        while self._waiting:
            await deliver(Delivery("hold-events", self._waiting.popleft()))
        return len(self._heard)

    @workflow.signal(description="Something happened to the hold")
    def happened(self, event: Event) -> None:
        """Note an event; one that is handed over twice is one."""
        if event.id not in self._heard:
            self._heard.add(event.id)
            self._waiting.append(event)


async def deliver(delivery: Delivery) -> None:
    """Deliver the event, or tell operations that for three days it could not be."""
    left = delivery.event.occurred_at + KEEP_TRYING - workflow.now()
    try:
        await workflow.execute_activity_method(
            EventsPort.post_event,
            delivery,
            summary=f"{delivery.event.type} to {delivery.receiver}",
            start_to_close_timeout=ATTEMPT,
            schedule_to_close_timeout=max(left, ATTEMPT),
            retry_policy=PATIENTLY,
        )
    except ActivityError:
        await workflow.execute_activity_method(
            EventsPort.give_up_event,
            delivery,
            summary=f"give up {delivery.event.type}",
            start_to_close_timeout=ATTEMPT,
            retry_policy=PATIENTLY,
        )
