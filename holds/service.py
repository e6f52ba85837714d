"""Create, release and extend a hold, and read holds: the use cases, each bounded by the request's time-out."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from core.batching import Batches
from core.settings import Settings
from core.timeouts import run_with_timeout
from domain.holds import (
    Busy,
    Held,
    Hold,
    HoldKey,
    HoldStatus,
    OverLimit,
    ReferenceTaken,
    ReserveOutcome,
    Shortage,
    TooLate,
)
from holds.errors import (
    ExtendLimitError,
    HoldExistsError,
    HoldNotActiveError,
    IdempotencyConflictError,
    InsufficientStockError,
    LimitExceededError,
    RequestTimeoutError,
    StockBusyError,
    TemporalBusyError,
)
from holds.gone_callers import GoneCallers
from holds.hold_reader import HoldReader
from holds.model import CreateResult, HoldRequest, ReleaseResult
from holds.replacing import make_way, replacing
from holds.request_timeout import remaining_ms, run_for_caller
from holds.resume import AlreadyEnded, HoldMessenger
from holds.temporal_errors import NoRunningWorkflowError, UpdateRefusedError
from holds.workflow_client import WorkflowClient
from inventory.checks import CheckQuestion, RequestCheck, check_requests
from inventory.holds import read_hold
from workflows.hold import HoldWorkflow
from workflows.messages import (
    HOLD_EXTEND_LIMIT,
    HOLD_NOT_ACTIVE,
    IDEMPOTENCY_CONFLICT,
    Cancel,
    Commit,
    Ended,
    Extend,
    HoldInput,
)

Message = TypeVar("Message", Commit, Cancel)

_CANCEL_MARGIN_SECONDS = 1.0
"""The part of a release's time that is reserved to signal the cancel and read the hold if the end takes longer."""
_READ_AGAIN_SECONDS = 0.1
"""How often the row is read after a signal, until the hold has ended."""


class HoldService(HoldReader):
    """What can be done with a hold, whoever asks. Expected failures are raised as `holds.errors`."""

    def __init__(self, engine: AsyncEngine, workflows: WorkflowClient, settings: Settings) -> None:
        super().__init__(engine, settings)
        self._workflows = workflows
        self.messenger = HoldMessenger(engine, settings)
        self._checks = Batches(partial(check_requests, engine), settings.request_timeout_ms / 1000)
        self.gone_callers = GoneCallers(workflows)

    async def create(self, request: HoldRequest) -> CreateResult:
        """Hold the stock, or return the hold that this id made before.

        Raises InsufficientStockError, LimitExceededError, HoldExistsError, IdempotencyConflictError, StockBusyError,
        RequestTimeoutError, UnavailableError, TemporalBusyError. Of the hold to replace: HoldNotActiveError (it was
        paid), PaymentInProgressError, PaymentProviderUnavailableError, PaymentsNotConfiguredError.
        """
        return await self.gone_callers.run(self._settings.request_timeout_ms, self._create(request), request)

    async def _create(self, request: HoldRequest) -> CreateResult:
        return await replacing(request, partial(self._create_once, request))

    async def _create_once(self, request: HoldRequest) -> CreateResult:
        prepared = await self.prepare(request)
        if isinstance(prepared, CreateResult):
            return prepared
        return await self.result(request, await self._workflows.reserve(prepared))

    async def prepare(self, request: HoldRequest) -> CreateResult | HoldInput:
        """Return the hold that this id made before, else the input of a new one's workflow.

        The payment of a hold to replace is closed first; its units stay held until the new hold takes them over.

        Refuses what cannot be held without starting a workflow. Raises as `create`.
        """
        check = await self._check(request)
        if check.own is not None:
            return CreateResult(_same_request(check.own, request), created=False)
        replaces = None
        if check.reference_hold_id is not None:
            replaced = HoldKey(request.shop_id, check.reference_hold_id)
            replaces = await make_way(self, self._workflows, replaced, request.actor)
        return replace(self.input_for(request), replaces=replaces)

    async def validate(self, request: HoldRequest) -> Hold | None:
        """Check the stock without holding it.

        Returns the hold that this id made before, in another mode. Raises as `create`.
        """
        check = await run_for_caller(self._settings.request_timeout_ms, self._check(request), request.key)
        return None if check.own is None else _same_request(check.own, request)

    async def _check(self, request: HoldRequest) -> RequestCheck:
        """Read what prevents the hold, and refuse what cannot be held. The hold's own row comes first."""
        question = CheckQuestion(
            shop_id=request.shop_id,
            hold_id=request.hold_id,
            lines=request.lines,
            reference=request.reference,
            replace=request.replace,
            buyer=request.buyer,
            limits=self._settings.buyer_limits,
        )
        check = await self._checks.ask(question)
        if check.own is None:
            if check.reference_hold_id is not None and not request.replace:
                raise HoldExistsError(check.reference_hold_id)
            if check.over:
                raise LimitExceededError(request.shop_id, check.over)
            if check.short:
                raise InsufficientStockError(request.shop_id, check.short)
        return check

    async def result(self, request: HoldRequest, outcome: ReserveOutcome) -> CreateResult:
        """Return the hold that was made, or raise why none was. Raises as `create`."""
        match outcome:
            # A worker of an earlier release does not tell who made it.
            case Held(status=HoldStatus.ACTIVE, made_by=made_by) if made_by in (None, request.request_id):
                hold = outcome.as_new_hold(request.key)
                return CreateResult(_same_request(hold, request), created=True)
            case Held():
                hold = await self.row(request.key)
                return CreateResult(_same_request(hold, request), created=False)
            case Shortage(items):
                raise InsufficientStockError(request.shop_id, items)
            case OverLimit(limits):
                raise LimitExceededError(request.shop_id, limits)
            case ReferenceTaken(hold_id):
                raise HoldExistsError(hold_id)
            case Busy():
                raise StockBusyError
            case TooLate():
                raise RequestTimeoutError(request.key)

    async def release(self, key: HoldKey, message: Cancel) -> ReleaseResult:
        """Release the hold and return it; if its end takes longer than the request, the active hold, still ending.

        Raises HoldNotFoundError, HoldNotActiveError (it was committed) and as `create` for time-outs.
        """
        return await run_for_caller(self._settings.request_timeout_ms, self._release(key, message), key)

    async def _release(self, key: HoldKey, message: Cancel) -> ReleaseResult:
        seconds = remaining_ms(self._settings.request_timeout_ms) / 1000
        seconds_to_wait = seconds - min(_CANCEL_MARGIN_SECONDS, seconds / 2)
        try:
            hold = await run_with_timeout(seconds_to_wait, self._release_and_wait(key, message))
        except TimeoutError:
            with suppress(NoRunningWorkflowError):
                await self._workflows.signal(key, HoldWorkflow.cancel, message)
            read = await read_hold(self._engine, key.shop_id, key.hold_id)
            if read is None:  # a run that has not reserved yet: it will not, or will release at once
                raise
            hold = read
        if hold.status is HoldStatus.ACTIVE:
            return ReleaseResult(hold, ending="release")
        return ReleaseResult(require_status(hold, {HoldStatus.RELEASED, HoldStatus.EXPIRED}))

    async def _release_and_wait(self, key: HoldKey, message: Cancel) -> Hold:
        return await self.end(key, self._workflows.release, HoldWorkflow.cancel, message)

    async def end(
        self,
        key: HoldKey,
        update: Callable[..., Awaitable[Ended]],
        signal: Callable[..., None],
        message: Message,
        *,
        for_signal: Callable[[Message], Awaitable[Message]] | None = None,
    ) -> Hold:
        """Send the update that ends the hold, and return the ended hold. Raises UpdateRefusedError.

        If the run takes no more updates, the signal with the same effect is sent, with what `for_signal` makes of the
        message, and the row tells the end.
        """
        try:
            return await self._end_by_update(key, partial(update, message=message))
        except TemporalBusyError:
            if for_signal is not None:
                message = await for_signal(message)
            await self.messenger.send(key, partial(self._workflows.signal, signal=signal, message=message))
        while True:
            hold = await self.row(key)
            if hold.status is not HoldStatus.ACTIVE:
                return hold
            await asyncio.sleep(_READ_AGAIN_SECONDS)

    async def _end_by_update(self, key: HoldKey, update: Callable[..., Awaitable[Ended]]) -> Hold:
        hold = await self.ended_hold(key, await self.messenger.send(key, update))
        if hold.status is HoldStatus.ACTIVE:  # the answer of an earlier run, which a restored database does not know
            hold = await self.ended_hold(key, await self.messenger.send(key, partial(update, join=False)))
        return hold

    async def cancel(self, key: HoldKey, message: Cancel) -> bool:
        """Signal the hold's workflow to release it, without waiting. Returns False if the hold has ended."""
        call = partial(self._workflows.signal, signal=HoldWorkflow.cancel, message=message)
        return not isinstance(await self.messenger.send(key, call), AlreadyEnded)

    async def extend(self, key: HoldKey, message: Extend) -> Hold:
        """Move the hold's deadline and return the hold.

        Raises HoldNotFoundError, HoldNotActiveError, ExtendLimitError, IdempotencyConflictError (the key was used with
        another time) and as `create` for time-outs.
        """
        return await run_for_caller(self._settings.request_timeout_ms, self._extend(key, message), key)

    async def _extend(self, key: HoldKey, message: Extend) -> Hold:
        try:
            extended = await self.messenger.send(key, partial(self._workflows.extend, message=message))
        except UpdateRefusedError as refusal:
            raise await self._extend_refusal(key, refusal) from refusal
        hold = await self.row(key)
        if isinstance(extended, AlreadyEnded) or extended.ended is not None:
            raise HoldNotActiveError(key, hold.status)
        return replace(hold, expires_at=extended.expires_at)  # the same key, the same answer, whatever came since

    async def _extend_refusal(self, key: HoldKey, refusal: UpdateRefusedError) -> Exception:
        if refusal.kind == HOLD_EXTEND_LIMIT:
            return ExtendLimitError()
        if refusal.kind == IDEMPOTENCY_CONFLICT:
            return IdempotencyConflictError()
        if refusal.kind == HOLD_NOT_ACTIVE:
            return HoldNotActiveError(key, (await self.row(key)).status)
        return refusal

    async def ended_hold(self, key: HoldKey, ended: Ended | AlreadyEnded) -> Hold:
        """Return the hold from the workflow's answer; the row is read only if the answer lacks it."""
        match ended:
            case AlreadyEnded(hold):
                return hold
            case Ended(status=status, hold=hold) if hold is not None:
                return hold.as_hold(key, HoldStatus(status))
            case _:
                return await self.row(key)

    def input_for(self, request: HoldRequest) -> HoldInput:
        """Return the input of the workflow of a new hold."""
        return HoldInput(
            shop_id=request.shop_id,
            hold_id=request.hold_id,
            lines=request.lines,
            ttl_seconds=request.ttl_seconds,
            max_ttl_seconds=self._settings.max_ttl_seconds,
            request_timeout_ms=remaining_ms(self._settings.request_timeout_ms),
            request_hash=request.request_hash,
            reference=request.reference,
            metadata=request.metadata,
            actor=request.actor,
            search_by_sku=self._settings.search_by_sku,
            warn_before_seconds=request.warn_before_seconds,
            close_grace_seconds=self._settings.payment_close_grace_seconds,
            request_id=request.request_id,
            browser_extensions=request.browser_extensions,
            buyer=request.buyer,
        )


def _same_request(hold: Hold, request: HoldRequest) -> Hold:
    if hold.request_hash != request.request_hash:
        raise IdempotencyConflictError(hold.hold_id)
    return hold


def require_status(hold: Hold, allowed: set[HoldStatus]) -> Hold:
    """Return the hold. Raises HoldNotActiveError if it has ended otherwise."""
    if hold.status not in allowed:
        raise HoldNotActiveError(hold.key, hold.status)
    return hold
