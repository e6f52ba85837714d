"""The calls to Temporal, with what it answers when a workflow is closed, closing or gone."""

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

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

from api.errors import ApiError, CrowdedError, Problem
from holds.starting import start_options
from workflows import ui_text as legible
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
    Reservation,
    hold_workflow_id,
)
from workflows.payment_messages import LatePayment, late_payment_workflow_id

_NOT_READY_SECONDS = 0.05
_CLOSED_UNDER_UPDATE = "AcceptedUpdateCompletedWorkflow"


class NoRunningWorkflowError(Exception):
    """There is no open run that could answer; the database knows what became of the hold."""


class _NotReadyError(Exception):
    """The run's workflow task has to be done again first: a message came in while it was ending."""


class UpdateRefusedError(Exception):
    """The workflow refused an update; `kind` is the type of its error."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class HoldKey:
    """A hold by its name: a message to it reaches the run there is."""

    shop_id: str
    hold_id: str


Target = HoldKey | HoldInput
"""Whom a message goes to. With the whole input, a hold that has no open run goes on in a new one."""


class WorkflowCalls:
    """Starts hold workflows and sends them messages. Every method raises ApiError 503 where Temporal is away.

    And CrowdedError where it has more to do than it takes; nothing was changed then.
    """

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def reserve(self, hold: HoldInput) -> Reservation:
        """Start the hold's workflow, or join its open run, and wait until the stock is reserved or refused."""
        while True:
            try:
                return cast("Reservation", await self._update("reserved", hold, answers=Reservation))
            except NoRunningWorkflowError:
                continue  # a run that was just closing (refused before) gave no answer; the next call starts another

    async def open_checkout(self, hold: HoldInput) -> CheckoutAnswer:
        """Start the hold's workflow, or join its open run, and wait until its Checkout Session is open or refused."""
        while True:
            try:
                return cast("CheckoutAnswer", await self._update("checkout_opened", hold, answers=CheckoutAnswer))
            except NoRunningWorkflowError:
                continue  # as in `reserve`

    async def checkout(self, to: HoldKey) -> CheckoutAnswer:
        """Wait until the Checkout Session of a hold that was made before is open. Raises NoRunningWorkflowError."""
        return cast("CheckoutAnswer", await self._update("checkout_opened", to, answers=CheckoutAnswer))

    async def attach(self, to: Target, message: Attach) -> Attached:
        """Attach a payment. Raises NoRunningWorkflowError, as `commit`."""
        return cast("Attached", await self._update("attach", to, message, answers=Attached))

    async def commit(self, to: Target, message: Commit) -> Ended:
        """Sell the hold. Raises NoRunningWorkflowError where `to` only names the hold and it has no open run."""
        return cast("Ended", await self._update("commit", to, message, answers=Ended))

    async def release(self, to: Target, message: Cancel) -> Ended:
        """Give the hold back. Raises NoRunningWorkflowError, as `commit`."""
        return cast("Ended", await self._update("release", to, message, answers=Ended))

    async def cancel(self, to: HoldKey, message: Cancel) -> None:
        """Leave word that the hold is to be given back. Raises NoRunningWorkflowError where it has no open run."""
        await self.signal(to, "cancel", message)

    async def signal(self, to: Target, name: str, message: object) -> None:
        """Leave a message. Raises NoRunningWorkflowError where `to` only names the hold and it has no open run.

        It is in the run's history when this returns; an update is not before a worker has taken it.
        """
        try:
            if isinstance(to, HoldInput):
                await self._client.start_workflow(
                    HoldWorkflow.run,
                    to,
                    start_signal=name,
                    start_signal_args=[message],
                    task_queue=self._task_queue,
                    **start_options(to),
                )
            else:
                handle = self._client.get_workflow_handle(hold_workflow_id(to.shop_id, to.hold_id))
                await handle.signal(name, message)
        except (RPCError, RuntimeError) as error:
            raise _translated(error) from error

    async def look_after(self, late: LatePayment) -> None:
        """Start the workflow of a payment that came too late; the one that runs is only told of a refund's failure."""
        try:
            await self._client.start_workflow(
                LatePaymentWorkflow.run,
                late,
                id=late_payment_workflow_id(late.payment.id),
                start_signal="refund_failed" if late.refund_failed else None,
                task_queue=self._task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                search_attributes=TypedSearchAttributes([SearchAttributePair(SHOP_ID, late.shop_id)]),
                static_summary=legible.late_payment(late),
            )
        except (RPCError, RuntimeError) as error:
            raise _translated(error) from error

    async def extend(self, to: Target, message: Extend) -> Extended:
        """Move the hold's deadline. Raises NoRunningWorkflowError, as `commit`, and UpdateRefusedError.

        A key makes the update's id, so that Temporal itself repeats the answer, also when the run has closed since.
        """
        update_id = None
        if message.key is not None:
            update_id = "extend-" + hashlib.sha256(f"{message.ttl_seconds}:{message.key}".encode()).hexdigest()
        answer = await self._update("extend", to, message, answers=Extended, update_id=update_id)
        return cast("Extended", answer)

    async def _update(
        self,
        name: str,
        to: Target,
        *message: object,
        answers: Any,  # noqa: ANN401 - a type or a union of types
        update_id: str | None = None,
    ) -> object:
        while True:
            try:
                return await self._send(name, to, *message, answers=answers, update_id=update_id)
            except _NotReadyError:
                await asyncio.sleep(_NOT_READY_SECONDS)

    async def _send(
        self,
        name: str,
        to: Target,
        *message: object,
        answers: Any,  # noqa: ANN401 - a type or a union of types
        update_id: str | None,
    ) -> object:
        start = self._start(to) if isinstance(to, HoldInput) else None
        try:
            if start is not None:
                return await self._client.execute_update_with_start_workflow(
                    name, args=message, id=update_id, start_workflow_operation=start, result_type=answers
                )
            assert isinstance(to, HoldKey)  # noqa: S101 - narrows the type
            handle = self._client.get_workflow_handle(hold_workflow_id(to.shop_id, to.hold_id))
            return await handle.execute_update(name, args=message, id=update_id, result_type=answers)
        except (RPCError, RuntimeError, WorkflowUpdateFailedError) as error:
            await _look_at(start, error)
            raise _translated(error) from error
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            await _look_at(start, error)
            raise TimeoutError from error

    async def is_up(self) -> None:
        """Raise ApiError 503 unless Temporal serves."""
        try:
            if not await self._client.service_client.check_health(timeout=timedelta(seconds=1)):
                raise ApiError(Problem.inventory_unavailable, "Temporal does not serve.")
        except (RPCError, RuntimeError) as error:
            raise _translated(error) from error

    def _start(self, hold: HoldInput) -> "WithStartWorkflowOperation[HoldWorkflow, Ended]":
        return WithStartWorkflowOperation(HoldWorkflow.run, hold, task_queue=self._task_queue, **start_options(hold))


async def _look_at(start: "WithStartWorkflowOperation[HoldWorkflow, Ended] | None", error: Exception) -> None:
    """Look at the failed start's future, or asyncio logs a trace for each: «exception was never retrieved»."""
    if start is not None and isinstance(error, (RPCError, WorkflowUpdateRPCTimeoutOrCancelledError)):
        with suppress(Exception, asyncio.CancelledError):  # it is done: this does not wait
            await start.workflow_handle()


def _is_gone(error: Exception) -> bool:
    """Tell whether the run is unknown, closed, closing under the call, or was terminated under an accepted update."""
    if isinstance(error, RPCError):
        return error.status == RPCStatusCode.NOT_FOUND and "Namespace" not in error.message
    cause = error.__cause__
    return (
        isinstance(error, WorkflowUpdateFailedError)
        and isinstance(cause, ApplicationError)
        and cause.type == _CLOSED_UNDER_UPDATE
    )


def _translated(error: Exception) -> Exception:
    """Return what the callers of this module know: gone, refused, or the 503 for a Temporal that is out of reach."""
    if _is_gone(error):
        return NoRunningWorkflowError()
    if isinstance(error, RPCError) and error.status is RPCStatusCode.FAILED_PRECONDITION:
        return _NotReadyError()
    cause = error.__cause__
    if isinstance(error, WorkflowUpdateFailedError) and isinstance(cause, ApplicationError):
        return UpdateRefusedError(cause.type or "", cause.message)
    # Whatever keeps Temporal from serving us is «unavailable», an expired key and a missing namespace too.
    if isinstance(error, RPCError) and error.status is RPCStatusCode.RESOURCE_EXHAUSTED:
        return CrowdedError(error.message)
    attribute = isinstance(error, RPCError) and "search attribute" in error.message.lower()
    ours = isinstance(error, RPCError) and error.status is RPCStatusCode.INVALID_ARGUMENT and not attribute
    if isinstance(error, (RPCError, RuntimeError)) and not ours:
        told = "Temporal lacks a search attribute; docs/operations.md has the commands." if attribute else None
        return ApiError(Problem.inventory_unavailable, told or "Temporal is out of reach.")
    return error
