"""The only caller of hold workflows: starts them, sends updates and signals, and classifies Temporal's errors."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.workflow import UpdateMethodMultiParam

from core.signals import StartSignal, start_signal
from domain.holds import HoldKey, ReserveOutcome
from holds.errors import TemporalBusyError, UnavailableError
from holds.start_options import start_options
from workflows import ui_text
from workflows.hold import HoldWorkflow
from workflows.late_payment import LatePaymentWorkflow
from workflows.messages import (
    SHOP_ID,
    Attach,
    Attached,
    Cancel,
    CheckoutAnswer,
    Commit,
    Ended,
    Extend,
    Extended,
    HoldInput,
    hold_workflow_id,
)
from workflows.payment_messages import LatePayment, late_payment_workflow_id

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")

_NOT_READY_SECONDS = 0.05
_COMPLETED_UNDER_UPDATE = "AcceptedUpdateCompletedWorkflow"


_Update = UpdateMethodMultiParam[Parameters, Coroutine[Any, Any, Answer]]
"""The type of an update method whose decorator has a description."""


class NoRunningWorkflowError(Exception):
    """The hold has no open run; the database has the state of the hold."""


class _NotReadyError(TemporalBusyError):
    """The run repeats its workflow task first, since a message arrived while it was closing."""


class UpdateRefusedError(Exception):
    """The workflow's validator refused an update."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        """The type of the workflow's ApplicationError."""


Target = HoldKey | HoldInput
"""The receiver of a message: the hold's open run, or with a HoldInput a new run if there is no open one."""


class WorkflowClient:
    """Starts hold workflows and sends them messages.

    Every method raises UnavailableError if Temporal cannot be reached, and TemporalBusyError (nothing was changed).
    Messages to a HoldKey raise NoRunningWorkflowError if the hold has no open run.
    """

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def reserve(self, hold: HoldInput) -> ReserveOutcome:
        """Start the hold's workflow, or join its open run, and wait until the stock is reserved or refused."""
        while True:
            with suppress(NoRunningWorkflowError):  # the run that was joined closed (refused before); start another
                return await self._update(HoldWorkflow.reserved, hold)
            await asyncio.sleep(_NOT_READY_SECONDS)

    async def open_checkout(self, hold: HoldInput) -> CheckoutAnswer:
        """Start the hold's workflow, or join its open run, and wait until its Checkout Session is open or refused."""
        while True:
            with suppress(NoRunningWorkflowError):  # as in `reserve`
                return await self._update(HoldWorkflow.checkout_opened, hold)
            await asyncio.sleep(_NOT_READY_SECONDS)

    async def checkout(self, key: HoldKey) -> CheckoutAnswer:
        """Wait until the Checkout Session of an existing hold is open."""
        return await self._update(HoldWorkflow.checkout_opened, key)

    async def attach(self, to: Target, message: Attach) -> Attached:
        """Attach a payment and wait until it is attached or refused."""
        return await self._update(HoldWorkflow.attach, to, message)

    async def commit(self, to: Target, message: Commit) -> Ended:
        """Commit the hold and wait for its end."""
        return await self._update(HoldWorkflow.commit, to, message)

    async def release(self, to: Target, message: Cancel) -> Ended:
        """Release the hold and wait for its end."""
        return await self._update(HoldWorkflow.release, to, message)

    async def make_way(self, to: Target, message: Cancel) -> Ended:
        """Release the hold for another one. Raises UpdateRefusedError while a payment of it is in progress."""
        return await self._update(HoldWorkflow.release, to, replace(message, unless_in_progress=True))

    async def extend(self, to: Target, message: Extend) -> Extended:
        """Move the hold's deadline and wait until it is written. Raises UpdateRefusedError.

        The idempotency key determines the update's id, so that Temporal repeats the answer, even of a closed run.
        """
        update_id = None
        if message.key is not None:
            update_id = "extend-" + hashlib.sha256(f"{message.ttl_seconds}:{message.key}".encode()).hexdigest()
        return await self._update(HoldWorkflow.extend, to, message, update_id=update_id)

    async def signal(self, to: Target, signal: Callable[..., None], message: object) -> None:
        """Send a signal of HoldWorkflow. It is in the run's history when this returns; an update is not yet then."""
        try:
            if isinstance(to, HoldInput):
                await self._client.start_workflow(
                    HoldWorkflow.run,
                    to,
                    task_queue=self._task_queue,
                    **start_options(to),
                    **start_signal(signal, message),
                )
            else:
                handle = self._client.get_workflow_handle_for(HoldWorkflow.run, hold_workflow_id(*to))
                await handle.signal(signal, args=[message])
        except (RPCError, RuntimeError) as error:
            raise _classified(error) from error

    async def start_late_payment(self, late: LatePayment) -> None:
        """Start the workflow of a late payment. A running one is only told that the refund failed, if it did."""
        signal = start_signal(LatePaymentWorkflow.refund_failed) if late.refund_failed else StartSignal()
        try:
            await self._client.start_workflow(
                LatePaymentWorkflow.run,
                late,
                id=late_payment_workflow_id(late.payment.id),
                task_queue=self._task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                search_attributes=TypedSearchAttributes([SearchAttributePair(SHOP_ID, late.shop_id)]),
                static_summary=ui_text.late_payment(late),
                **signal,
            )
        except (RPCError, RuntimeError) as error:
            raise _classified(error) from error

    async def start(self, hold: HoldInput) -> None:
        """Start the hold's workflow without waiting for its reserve; an open run is left as it is."""
        try:
            await self._client.start_workflow(
                HoldWorkflow.run, hold, task_queue=self._task_queue, **start_options(hold)
            )
        except (RPCError, RuntimeError) as error:
            raise _classified(error) from error

    async def check_health(self) -> None:
        """Raise UnavailableError unless Temporal serves."""
        try:
            if not await self._client.service_client.check_health(timeout=timedelta(seconds=1)):
                raise UnavailableError("Temporal does not serve.")
        except (RPCError, RuntimeError) as error:
            raise _classified(error) from error

    async def _update(
        self,
        update: _Update[Parameters, Answer],
        to: Target,
        *message: object,
        update_id: str | None = None,
    ) -> Answer:
        while True:
            try:
                return await self._update_once(update, to, *message, update_id=update_id)
            except _NotReadyError:
                await asyncio.sleep(_NOT_READY_SECONDS)

    async def _update_once(
        self,
        update: _Update[Parameters, Answer],
        to: Target,
        *message: object,
        update_id: str | None,
    ) -> Answer:
        start = self._start_operation(to) if isinstance(to, HoldInput) else None
        answer: Any  # the SDK types the answer of such an update as a coroutine
        try:
            if start is not None:
                answer = await self._client.execute_update_with_start_workflow(
                    update, args=message, id=update_id, start_workflow_operation=start
                )
            else:
                assert isinstance(to, HoldKey)  # noqa: S101 - narrows the type
                handle = self._client.get_workflow_handle_for(HoldWorkflow.run, hold_workflow_id(*to))
                answer = await handle.execute_update(update, args=message, id=update_id)
        except (RPCError, RuntimeError, WorkflowUpdateFailedError) as error:
            await _retrieve_start_error(start, error)
            raise _classified(error) from error
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            await _retrieve_start_error(start, error)
            raise TimeoutError from error
        result: Answer = answer
        return result

    def _start_operation(self, hold: HoldInput) -> WithStartWorkflowOperation[HoldWorkflow, Ended]:
        return WithStartWorkflowOperation(HoldWorkflow.run, hold, task_queue=self._task_queue, **start_options(hold))


async def _retrieve_start_error(start: WithStartWorkflowOperation[Any, Any] | None, error: Exception) -> None:
    """Retrieve the exception of the failed start's future; otherwise asyncio logs a traceback for each."""
    if start is not None and isinstance(error, (RPCError, WorkflowUpdateRPCTimeoutOrCancelledError)):
        with suppress(Exception, asyncio.CancelledError):  # the future is done: this does not wait
            await start.workflow_handle()


def _is_gone(error: Exception) -> bool:
    """Return whether the run is unknown, closed, closing under the call, or was terminated under an accepted update."""
    if isinstance(error, RPCError):
        return error.status is RPCStatusCode.NOT_FOUND and not any(
            detail.Is(NamespaceNotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details
        )
    cause = error.__cause__
    return (
        isinstance(error, WorkflowUpdateFailedError)
        and isinstance(cause, ApplicationError)
        and cause.type == _COMPLETED_UNDER_UPDATE
    )


def _classified(error: Exception) -> Exception:
    """Return the error in this module's terms, or the error itself if it is not Temporal's."""
    if _is_gone(error):
        return NoRunningWorkflowError()
    cause = error.__cause__
    if isinstance(error, WorkflowUpdateFailedError) and isinstance(cause, ApplicationError):
        return UpdateRefusedError(cause.type or "", cause.message)
    if isinstance(error, RPCError):
        return _classified_rpc(error)
    # A lazy connection that could not be made raises RuntimeError.
    return UnavailableError("Temporal cannot be reached.") if isinstance(error, RuntimeError) else error


def _classified_rpc(error: RPCError) -> Exception:
    match error.status:
        case RPCStatusCode.FAILED_PRECONDITION:
            return _NotReadyError(error.message)
        case RPCStatusCode.RESOURCE_EXHAUSTED:
            return TemporalBusyError(error.message)
        case RPCStatusCode.INVALID_ARGUMENT:  # our arguments are validated: it is the server's set-up
            return UnavailableError(
                "Temporal refuses the request: it may lack a search attribute; docs/operations.md has the commands."
            )
        case _:  # an expired key and a missing namespace are unavailability, too
            return UnavailableError("Temporal cannot be reached.")
