"""What Temporal's errors mean for a call to a hold's workflow. Status and details decide, never the text."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from temporalio.api.errordetails.v1 import (
    MultiOperationExecutionFailure,
    NamespaceNotFoundFailure,
    WorkflowNotReadyFailure,
)
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from holds.errors import OlderWorkerError, TemporalBusyError, TemporalUnavailableError

if TYPE_CHECKING:
    from google.protobuf.any_pb2 import Any as AnyMessage

_COMPLETED_UNDER_UPDATE = "AcceptedUpdateCompletedWorkflow"
_NO_HANDLER = "RuntimeError"
"""The type of the error with which the SDK refuses an update that the run's worker has no handler of."""


class NoRunningWorkflowError(Exception):
    """The hold has no open run; the database has the state of the hold."""


class NotReadyError(TemporalBusyError):
    """The run repeats its workflow task first, since a message arrived while it was closing."""


class UnansweredError(TemporalUnavailableError):
    """Temporal cannot be reached, or it gave up the call. Whether the call took effect is unknown."""


class UpdateRefusedError(Exception):
    """The workflow's validator refused an update."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        """The type of the workflow's ApplicationError."""


def classified(error: Exception) -> Exception:
    """Return the error in the terms of this module and `holds.errors`, or the error itself if it is not Temporal's."""
    if isinstance(error, RPCError):
        return _classified_rpc(error)
    cause = error.__cause__
    if isinstance(error, WorkflowUpdateFailedError) and isinstance(cause, ApplicationError):
        if cause.type == _COMPLETED_UNDER_UPDATE:  # the run was terminated, or continued as a new one
            return NoRunningWorkflowError()
        if cause.type == _NO_HANDLER:
            return OlderWorkerError(
                "The hold runs on a worker of an earlier release, which does not know this request."
            )
        return UpdateRefusedError(cause.type or "", cause.message)
    # A lazy connection that could not be made raises RuntimeError.
    return UnansweredError("Temporal cannot be reached.") if isinstance(error, RuntimeError) else error


def _classified_rpc(error: RPCError) -> Exception:
    details = list(_details(error))
    match error.status:
        case RPCStatusCode.NOT_FOUND if not any(detail.Is(NamespaceNotFoundFailure.DESCRIPTOR) for detail in details):
            return NoRunningWorkflowError()
        case RPCStatusCode.FAILED_PRECONDITION if any(
            detail.Is(WorkflowNotReadyFailure.DESCRIPTOR) for detail in details
        ):
            return NotReadyError(error.message)
        # The limit of all updates of a run; that of its updates in flight, or a rate; aborted while the run closed.
        case RPCStatusCode.FAILED_PRECONDITION | RPCStatusCode.RESOURCE_EXHAUSTED | RPCStatusCode.ABORTED:
            return TemporalBusyError(error.message)
        case RPCStatusCode.INVALID_ARGUMENT:  # our arguments are validated: it is the server's set-up
            return TemporalUnavailableError(
                "Temporal refuses the request: it may lack a search attribute; docs/operations.md has the commands."
            )
        case RPCStatusCode.UNAVAILABLE:
            return UnansweredError("Temporal cannot be reached.")
        case _:  # an expired key and a missing namespace are unavailability, too
            return TemporalUnavailableError("Temporal cannot be reached.")


def _details(error: RPCError) -> "Iterator[AnyMessage]":
    """Yield the error's details; those of an update with start are in the status of each of the two operations."""
    for detail in error.grpc_status.details:
        both = MultiOperationExecutionFailure()
        if detail.Unpack(both):
            for status in both.statuses:
                yield from status.details
        else:
            yield detail
