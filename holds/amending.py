"""Changes an active hold, and opens another page to pay for it: each bounded by the request's time-out."""

import uuid
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine

from core.settings import Settings
from domain.amendments import KeyReused, NotActive
from domain.holds import Busy, Hold, HoldKey, HoldStatus, Line, OverLimit, ReferenceTaken, Shortage
from holds.checkout_parameters import CheckoutParameters
from holds.errors import (
    HoldExistsError,
    HoldNotActiveError,
    IdempotencyConflictError,
    InsufficientStockError,
    LimitExceededError,
    StockBusyError,
)
from holds.idempotency import amendment_id, request_hash
from holds.payments_service import require_opened
from holds.replacing import change_refusal
from holds.request_timeout import run_for_caller
from holds.resume import AlreadyEnded
from holds.service import HoldService
from holds.temporal_errors import UpdateRefusedError
from holds.workflow_client import WorkflowClient
from inventory.amend import read_amendment
from inventory.items import read_short
from payments.session_params import Order
from workflows.messages import HOLD_NOT_ACTIVE, IDEMPOTENCY_CONFLICT, Amend, AmendAnswer
from workflows.payment_messages import CheckoutOpened


@dataclass(frozen=True, slots=True)
class AmendResult:
    """The hold as it is now, and the page that was closed for the change."""

    hold: Hold
    closed_session: str | None


@dataclass(frozen=True, slots=True)
class AnotherCheckout:
    """The hold as it is now, its new page, and whether this request opened it and not an earlier one with its key."""

    hold: Hold
    session: CheckoutOpened
    created: bool


def amendment(
    key: HoldKey,
    idempotency_key: str | None,
    *,
    actor: str,
    lines: tuple[Line, ...] | None = None,
    reference: str | None = None,
    buyer: str | None = None,
    ttl_seconds: int | None = None,
) -> Amend:
    """Return the change of a hold; None keeps what there is. With the same idempotency key it is made once."""
    more = {"buyer": buyer, "hold": key.hold_id}
    return Amend(
        request_id=amendment_id(idempotency_key),
        request_hash=request_hash("amend", key.shop_id, lines or (), ttl_seconds, reference, more=more),
        actor=actor,
        lines=lines,
        reference=reference,
        buyer=buyer,
        ttl_seconds=ttl_seconds,
    )


class AmendService:
    """Changes of active holds, whoever asks. Expected failures are raised as `holds.errors`."""

    def __init__(self, engine: AsyncEngine, holds: HoldService, workflows: WorkflowClient, settings: Settings) -> None:
        self._engine = engine
        self._parameters = CheckoutParameters(engine, settings)
        self._holds = holds
        self._workflows = workflows
        self._settings = settings

    async def amend(self, key: HoldKey, change: Amend) -> AmendResult:
        """Make the change and return the hold; a repeat, by its request's id, returns the hold as it is.

        Raises HoldNotFoundError, HoldNotActiveError, InsufficientStockError, LimitExceededError, HoldExistsError,
        PaymentOpenError, PaymentInProgressError, PaymentProviderUnavailableError, PaymentsNotConfiguredError,
        IdempotencyConflictError, StockBusyError, and as HoldService.create for time-outs.
        """
        return await run_for_caller(self._settings.request_timeout_ms, self._amend(key, change), key)

    async def _amend(self, key: HoldKey, change: Amend) -> AmendResult:
        earlier = await read_amendment(self._engine, key.shop_id, key.hold_id, change.request_id)
        if earlier is not None:
            digest, closed_session = earlier
            if digest != change.request_hash:
                raise IdempotencyConflictError(key.hold_id)
            return AmendResult(await self._holds.row(key), closed_session)
        answer = await self._send(key, change)
        return AmendResult(await self._holds.row(key), answer.closed_session)

    async def open_checkout(self, key: HoldKey, change: Amend, order: Order) -> AnotherCheckout:
        """Open another Checkout Session for the hold in the place of its page, and change its items if they differ.

        Raises as `amend`, and CheckoutRefusedError: then the hold goes on without a page.
        """
        return await run_for_caller(self._settings.request_timeout_ms, self._open_checkout(key, change, order), key)

    async def _open_checkout(self, key: HoldKey, change: Amend, order: Order) -> AnotherCheckout:
        checkout = await self._parameters.checkout(key, order)
        change = replace(change, call_id=uuid.uuid4().hex, checkout=checkout)
        answer = await self._send(key, change)
        assert answer.checkout is not None  # noqa: S101 - it was asked for
        session = require_opened(answer.checkout, key.hold_id)
        hold = await self._holds.row(key)
        if session.session_id != hold.payment_session_id:  # a repeat, and its page was closed since
            session = replace(session, url=None, client_secret=None)
        return AnotherCheckout(hold, session, created=answer.call_id == change.call_id)

    async def _send(self, key: HoldKey, change: Amend) -> AmendAnswer:
        """Return the answer to a change that was made. Raises why it was not."""
        await self._refuse_shortage(key, change)
        try:
            answer = await self._holds.messenger.send(key, partial(self._workflows.amend, message=change))
        except UpdateRefusedError as refusal:
            if refusal.kind == IDEMPOTENCY_CONFLICT:
                raise IdempotencyConflictError(key.hold_id) from refusal
            if refusal.kind == HOLD_NOT_ACTIVE:
                raise HoldNotActiveError(key, (await self._holds.row(key)).status) from refusal
            raise
        if isinstance(answer, AlreadyEnded):
            raise HoldNotActiveError(key, answer.hold.status)
        if answer.ended is not None:
            raise HoldNotActiveError(key, (await self._holds.row(key)).status)
        if answer.refused is not None:
            raise change_refusal(answer.refused, await self._holds.row(key))
        if isinstance(answer.outcome, NotActive):
            raise HoldNotActiveError(key, (await self._holds.row(key)).status)
        _require_amended(key, answer)
        return answer

    async def _refuse_shortage(self, key: HoldKey, change: Amend) -> None:
        """Refuse an obvious shortage here: the workflow closes the page with the old items before it finds it."""
        if change.lines is None:
            return
        short = await read_short(self._engine, key.shop_id, change.lines, hold_id=key.hold_id)
        if short and (await self._holds.row(key)).status is HoldStatus.ACTIVE:
            raise InsufficientStockError(key.shop_id, short)


def _require_amended(key: HoldKey, answer: AmendAnswer) -> None:
    """Raise why the statement refused the change, if it did."""
    match answer.outcome:
        case Shortage(items):
            raise InsufficientStockError(key.shop_id, items, answer.closed_session)
        case OverLimit(limits):
            raise LimitExceededError(key.shop_id, limits, answer.closed_session)
        case ReferenceTaken(hold_id):
            raise HoldExistsError(hold_id)
        case Busy():
            raise StockBusyError
        case KeyReused():
            raise IdempotencyConflictError(key.hold_id)
