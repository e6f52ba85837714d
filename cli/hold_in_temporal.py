"""What Temporal tells of one hold."""

import asyncio

from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from cli.connections import Connections
from domain.holds import Hold, HoldKey
from holds.late_cases import LateCase, LateCases
from workflows.messages import hold_workflow_id

_UNREACHABLE = "Temporal cannot be reached"


async def workflow_status(connections: Connections, key: HoldKey) -> str:
    """Return the status of the hold's workflow, or why it is not known."""
    try:
        async with asyncio.timeout(5):
            found = await connections.temporal.get_workflow_handle(hold_workflow_id(*key)).describe()
    except RPCError as error:
        return "none" if error.status is RPCStatusCode.NOT_FOUND else _UNREACHABLE
    except (RuntimeError, TimeoutError):
        return _UNREACHABLE
    return (found.status or WorkflowExecutionStatus.RUNNING).name.lower()


async def late_payments(connections: Connections, hold: Hold) -> list[LateCase]:
    """Return the hold's late payments; none where Temporal cannot be reached, which the workflow's line says."""
    try:
        async with asyncio.timeout(5):
            return await LateCases(connections.temporal, connections.settings).of_hold(hold)
    except (RPCError, RuntimeError, TimeoutError):
        return []
