"""Creates Temporal schedules, or makes existing ones those of this release."""

from copy import copy
from dataclasses import replace

from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleUpdate,
    ScheduleUpdateInput,
)


async def ensure_schedule(client: Client, schedule_id: str, schedule: Schedule, argument: type) -> None:
    """Create the schedule, whose workflow takes one argument of this type. Raises RPCError.

    An existing schedule becomes this one, whatever differs; a paused one stays paused.
    """

    async def updated(current: ScheduleUpdateInput) -> ScheduleUpdate | None:
        existing = await _decoded(client, current.description.schedule, argument)
        wanted = replace(schedule, state=existing.state)
        return None if existing == wanted else ScheduleUpdate(schedule=wanted)

    try:
        await client.create_schedule(schedule_id, schedule)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(schedule_id).update(updated)


async def _decoded(client: Client, described: Schedule, argument: type) -> Schedule:
    """Return the schedule with the values of its action, which a description has as payloads."""
    if not isinstance(described.action, ScheduleActionStartWorkflow):
        return described
    action = copy(described.action)
    action.args = await client.data_converter.decode(list(action.args), [argument])
    action.static_summary = await _text(client, action.static_summary)
    action.static_details = await _text(client, action.static_details)
    return replace(described, action=action)


async def _text(client: Client, described: str | Payload | None) -> str | None:
    if not isinstance(described, Payload):
        return described
    if not described.metadata:
        return None
    text: str = (await client.data_converter.decode([described], [str]))[0]
    return text
