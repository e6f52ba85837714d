"""The only caller of hold workflows: starts them, sends updates and signals, and classifies Temporal's errors."""

import asyncio
import hashlib
import time
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import (
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.workflow import UpdateMethodMultiParam

from core.signals import StartSignal, signal_name, start_signal
from core.timeouts import run_with_timeout
from domain.holds import HoldKey, ReserveOutcome
from domain.smoke import SMOKE_SHOP
from holds.errors import NamespaceMissingError, OlderWorkerError, TemporalBusyError, TemporalUnavailableError
from holds.runs_here import RunsHere
from holds.start_options import request_memo, start_options
from holds.temporal_errors import (
    NoRunningWorkflowError,
    NotReadyError,
    UnansweredError,
    UpdateRefusedError,
    classified,
)
from workflows import ui_text
from workflows.hold import HoldWorkflow
from workflows.late_payment import LatePaymentWorkflow
from workflows.messages import (
    MESSAGE_KNOWN,
    SHOP_ID,
    Amend,
    AmendAnswer,
    Attach,
    Attached,
    Cancel,
    CheckoutAnswer,
    Commit,
    Ended,
    Extend,
    Extended,
    HoldInput,
    MadeWay,
    MakeWay,
    hold_workflow_id,
)
from workflows.payment_messages import LatePayment, late_payment_workflow_id
from workflows.priorities import Importance, of_shop
from workflows.search_attributes import late_payment_attributes, late_payment_memo

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")

_NOT_READY_SECONDS = 0.05
_HEALTH_CALL = timedelta(seconds=1)
_ONLY_SIGNALS_SECONDS = 10.0
"""For how long events are sent as signals after an update that no worker answered in time."""
_SHORTEST_ANSWER_SECONDS = 0.5
"""Where less is left of a request, an update that is answered as usual would often come too late."""
_BUSY_SECONDS = 2.0
"""For how long a busy run is asked again. The SDK's own retries come on top, and both end before the request does."""

_Update = UpdateMethodMultiParam[Parameters, Coroutine[Any, Any, Answer]]
"""The type of an update method whose decorator has a description."""

Target = HoldKey | HoldInput
"""The receiver of a message: the hold's open run, or with a HoldInput a new run if there is no open one."""


class WorkflowClient:
    """Starts hold workflows and sends them messages.

    Every method raises TemporalUnavailableError, and TemporalBusyError: the message was refused, though `reserve` may
    have started the hold before.
    Messages to a HoldKey raise NoRunningWorkflowError if the hold has no open run.
    """

    def __init__(self, client: Client, task_queue: str, runs_here: RunsHere | None = None) -> None:
        self._client = client
        self._task_queue = task_queue
        self._runs_here = runs_here
        self._only_signals_until: float | None = None
        """None unless an update was not answered in time."""

    async def reserve(self, hold: HoldInput) -> ReserveOutcome:
        """Start the hold's workflow, or join its open run, and wait until the stock is reserved or refused."""
        if self._runs_here is not None and (outcome := await self._runs_here.reserve(hold, self._task_queue)):
            return outcome
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

    async def checkout(self, key: HoldKey, page: str) -> CheckoutAnswer:
        """Wait until the Checkout Session of an existing hold is open. All callers share one update.

        `page` distinguishes the pages that the hold had: of each, the first answer is everybody's.
        """
        return await self._update(HoldWorkflow.checkout_opened, key, update_id=f"checkout{page}")

    async def amend(self, to: Target, message: Amend) -> AmendAnswer:
        """Change the hold, open another page for it, or both; wait until it is made or refused.

        Raises UpdateRefusedError.
        """
        return await self._update(HoldWorkflow.amend, to, message)

    async def attach(self, to: Target, message: Attach) -> Attached:
        """Attach a payment and wait until it is attached or refused."""
        return await self._update(HoldWorkflow.attach, to, message)

    async def commit(self, to: Target, message: Commit, *, join: bool = True) -> Ended:
        """Commit the hold and wait for its end. The answer of a joined update is without the hold: see `_end`.

        Raises OlderWorkerError if the worker does not know what it is to be told.
        """
        request = replace(message, request_id=_new_id())
        # Each kind has an id of its own: one that is refused does not refuse another that has joined it.
        kinds = {
            "-part": message.items is not None,
            "-elsewhere": message.paid_elsewhere,
            "-paid": message.payment is not None,
        }
        shared = "commit" + "".join(kind for kind, is_it in kinds.items() if is_it)
        update = HoldWorkflow.commit if message.of_payment else HoldWorkflow.commit_as_told
        return await self._end(update, to, request, shared if join else request.request_id)

    async def release(self, to: Target, message: Cancel, *, join: bool = True) -> Ended:
        """Release the hold and wait for its end. The answer of a joined update is without the hold: see `_end`."""
        request = replace(message, request_id=_new_id())
        return await self._end(HoldWorkflow.release, to, request, "release" if join else request.request_id)

    async def _end(
        self, update: _Update[Parameters, Ended], to: Target, request: Commit | Cancel, update_id: str | None
    ) -> Ended:
        """Send an update that ends the hold.

        One with a fixed id is joined by all further callers, in a closed run too: so however many wait or repeat, they
        count as one against Temporal's limits and do not keep the run from closing. Since the row may have changed
        after a joined answer, or may have been restored to before it, that answer is returned without the hold.
        """
        try:
            ended = await self._update_once(update, to, request, update_id=update_id)
        except UnansweredError as error:
            await self.check_health()
            raise TemporalBusyError("Temporal gave up the update.") from error
        return ended if ended.request_id == request.request_id else Ended(ended.status)

    async def make_way(self, to: Target, actor: str | None = None) -> MadeWay:
        """Close the hold's payment, so that another hold can take over its units."""
        try:
            return await self._update(HoldWorkflow.make_way, to, MakeWay(_new_id(), actor))
        except OlderWorkerError:  # its release knows no exchange: the hold ends first
            message = Cancel(actor="holdfast", reason="replaced", unless_in_progress=True)
            try:
                return MadeWay(ended=(await self._update(HoldWorkflow.release, to, message)).status)
            except UpdateRefusedError:
                return MadeWay(refused="in_progress")

    async def extend(self, to: Target, message: Extend) -> Extended:
        """Move the hold's deadline and wait until it is written. Raises UpdateRefusedError.

        The idempotency key determines the update's id, so that Temporal repeats the answer, even of a closed run.
        """
        update_id = None
        if message.key is not None:
            update_id = "extend-" + hashlib.sha256(f"{message.ttl_seconds}:{message.key}".encode()).hexdigest()
        return await self._update(HoldWorkflow.extend, to, message, update_id=update_id)

    async def tell(self, to: Target, signal: Callable[..., None], message: object, *, seconds: float) -> bool:
        """Send a message of a signal of HoldWorkflow by the update of the same name; its run has it when this returns.

        Where the update is not answered within the seconds, or cannot be taken, the signal is sent, for which no worker
        need run: then it is in the run's history. It may also arrive both ways. Returns whether it was new to the run.
        """
        if isinstance(to, HoldKey) and seconds >= _SHORTEST_ANSWER_SECONDS and self._may_be_answered():
            new = await self._told_by_update(to, signal_name(signal), message, seconds)
            if new is not None:
                return new
        await self.signal(to, signal, message)
        return True

    async def _told_by_update(self, key: HoldKey, name: str, message: object, seconds: float) -> bool | None:
        """Return whether the message was new to the run; None if the signal has to be sent."""
        update: Coroutine[Any, Any, None] = self._update_once(name, key, message, update_id=None)
        try:
            await run_with_timeout(seconds, update)
        except TimeoutError:
            self._only_signals_until = time.monotonic() + _ONLY_SIGNALS_SECONDS
            return None
        except UpdateRefusedError as refusal:
            new = False if refusal.kind == MESSAGE_KNOWN else None
        except (TemporalBusyError, TemporalUnavailableError, OlderWorkerError, WorkflowUpdateFailedError):
            return None
        else:
            new = True
        self._only_signals_until = None
        return new

    def _may_be_answered(self) -> bool:
        """Return whether to send an update. After an unanswered one, one in ten seconds finds out for all."""
        if self._only_signals_until is None:
            return True
        if time.monotonic() < self._only_signals_until:
            return False
        self._only_signals_until = time.monotonic() + _ONLY_SIGNALS_SECONDS
        return True

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
            raise classified(error) from error

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
                search_attributes=late_payment_attributes(late),
                memo={**late_payment_memo(late), **(request_memo() or {})},
                static_summary=ui_text.late_payment(late),
                priority=of_shop(late.shop_id, Importance.END),
                static_details=ui_text.late_payment_details(late),
                **signal,
            )
        except (RPCError, RuntimeError) as error:
            raise classified(error) from error

    async def has_late_payment(self, payment_id: str) -> bool:
        """Return whether a case of the payment is open, or was closed by a person, as far as Temporal knows."""
        handle = self._client.get_workflow_handle_for(LatePaymentWorkflow.run, late_payment_workflow_id(payment_id))
        try:
            found = await handle.describe()
            if found.status is WorkflowExecutionStatus.COMPLETED:
                return (await handle.result()).outcome == "closed_by_person"
        except (RPCError, RuntimeError) as error:
            if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise classified(error) from error
        return found.status is WorkflowExecutionStatus.RUNNING

    async def start(self, hold: HoldInput) -> None:
        """Start the hold's workflow without waiting for its reserve; an open run is left as it is."""
        try:
            await self._client.start_workflow(
                HoldWorkflow.run, hold, task_queue=self._task_queue, **start_options(hold)
            )
        except (RPCError, RuntimeError) as error:
            raise classified(error) from error

    async def open_late_payments(self) -> int:
        """Return the number of late payments that are not settled, as Temporal's list has it, which lags by seconds.

        Those of the smoke test are left out. Without IS NULL those without a shop would be, too.
        """
        query = (
            "WorkflowType = 'LatePaymentWorkflow' AND ExecutionStatus = 'Running'"
            f" AND ({SHOP_ID.name} != '{SMOKE_SHOP}' OR {SHOP_ID.name} IS NULL)"
        )
        try:
            return (await self._client.count_workflows(query)).count
        except (RPCError, RuntimeError) as error:
            raise classified(error) from error

    async def check_health(self) -> None:
        """Raise TemporalUnavailableError unless Temporal serves, NamespaceMissingError unless it has the namespace."""
        namespace = self._client.namespace
        try:
            if not await self._client.service_client.check_health(timeout=_HEALTH_CALL):
                raise TemporalUnavailableError("Temporal does not serve.")
            request = DescribeNamespaceRequest(namespace=namespace)
            await self._client.workflow_service.describe_namespace(request, timeout=_HEALTH_CALL)
        except (RPCError, RuntimeError) as error:
            if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
                raise NamespaceMissingError(f"Temporal has no namespace {namespace}.") from error
            if isinstance(error, RPCError) and error.status is RPCStatusCode.PERMISSION_DENIED:
                return  # it may be that only operators may describe a namespace: whoever may not, does not learn more
            raise classified(error) from error

    async def _update(
        self,
        update: _Update[Parameters, Answer],
        to: Target,
        *message: object,
        update_id: str | None = None,
    ) -> Answer:
        """Send an update; while the run takes no more of them, again, with the same id: it is done once."""
        update_id = update_id or _new_id()
        give_up_at = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                return await self._update_once(update, to, *message, update_id=update_id)
            except NotReadyError:
                pass
            except TemporalBusyError:
                if time.monotonic() > give_up_at:
                    raise
            except UnansweredError:  # an update is also aborted so, when its run repeats a workflow task
                if time.monotonic() > give_up_at:
                    raise
                await self.check_health()
            await asyncio.sleep(_NOT_READY_SECONDS)

    async def _update_once(
        self,
        update: _Update[Parameters, Answer] | str,
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
            raise classified(error) from error
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


def _new_id() -> str:
    return uuid.uuid4().hex
