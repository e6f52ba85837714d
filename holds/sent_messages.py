"""What was sent to a hold's workflow, read from its histories for as long as Temporal keeps them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from temporalio.api.common.v1 import Payloads
from temporalio.client import Client

from domain.holds import HoldKey
from domain.payments import Payment
from holds.event_delivery import runs_of
from workflows.messages import hold_workflow_id

_QUESTIONS = {"reserved", "checkout_opened"}
"""Updates that only wait for an answer."""


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A signal or update, with its data."""

    hold_id: str
    at: datetime
    name: str
    data: Mapping[str, Any]

    @property
    def payment(self) -> Payment | None:
        """The payment that it names; a signal of a paid payment is one."""
        named = self.data.get("payment") or self.data
        if not isinstance(named, dict):  # sent by hand
            return None
        intent, session = (named.get(name) for name in ("payment_intent_id", "session_id"))
        ids = Payment(intent if isinstance(intent, str) else None, session if isinstance(session, str) else None)
        return None if ids == Payment() else ids

    def text(self, name: str) -> str | None:
        """Return a field of the data if it is a text: a message that was sent by hand may have anything."""
        value = self.data.get(name)
        return value if isinstance(value, str) else None


async def messages_sent(client: Client, key: HoldKey) -> list[SentMessage]:
    """Return the messages to the hold's runs that Temporal still has, in their order. Raises RPCError."""
    sent = list[SentMessage]()
    for run in await runs_of(client, hold_workflow_id(*key)):
        times = dict[int, datetime]()
        async for event in client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history_events():
            at = times[event.event_id] = event.event_time.ToDatetime(UTC)
            if event.HasField("workflow_execution_signaled_event_attributes"):
                signal = event.workflow_execution_signaled_event_attributes
                name, payloads = signal.signal_name, signal.input
            elif event.HasField("workflow_execution_update_accepted_event_attributes"):
                accepted = event.workflow_execution_update_accepted_event_attributes
                update = accepted.accepted_request.input
                name, payloads = update.name, update.args
                # Accepted once its task was done; it had come before the task.
                at = times.get(accepted.accepted_request_sequencing_event_id, at)
            else:
                continue
            if name not in _QUESTIONS:
                data = await _data(client, payloads)
                sent.append(SentMessage(key.hold_id, at, name, data))
    return sent


async def _data(client: Client, payloads: Payloads) -> Mapping[str, Any]:
    """Return the message's data; {} for a message without any, or one sent by hand whose data are something else."""
    decoded = await client.data_converter.decode(payloads.payloads) if payloads.payloads else []
    return decoded[0] if decoded and isinstance(decoded[0], dict) else {}
