"""Activities on the stock in Postgres. Each change is counted once, after its commit."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.ends_by_second import EndsBySecond
from core.database import DatabaseBusyError, DatabaseUnavailableError
from core.metrics import Telemetry
from core.payment_settings import LatePaymentPolicy
from domain.amendments import Amended, AmendOutcome, AmendRequest
from domain.holds import Busy, Held, HoldStatus, ReserveOutcome, ReserveRequest
from domain.limits import BuyerLimits
from holds.runs_here import RunsHere
from inventory.amend import amend
from inventory.hold_payments import attach_payment, claim_late_payment
from inventory.holds import move_deadline
from inventory.limits import NO_LIMITS
from inventory.outbox import record_expiring
from inventory.reserve import reserve
from inventory.settle import Settlement, settle
from workflows.ended_hold import EndedHold
from workflows.messages import (
    AttachRequest,
    DeadlineRequest,
    ExpiryWarning,
    Settled,
    SettleRequest,
    settled_status,
)
from workflows.payment_messages import Claimed, LatePayment
from workflows.ports import StockPort


class _BusyError(ApplicationError):
    """The rows could not be locked in time; nothing was changed."""


class StockActivities(StockPort):
    """StockPort on Postgres."""

    def __init__(
        self,
        engine: AsyncEngine,
        telemetry: Telemetry,
        policy: LatePaymentPolicy = LatePaymentPolicy.REACQUIRE_OR_REFUND,
        limits: BuyerLimits = NO_LIMITS,
        runs_here: RunsHere | None = None,
    ) -> None:
        self._engine = engine
        self._telemetry = telemetry
        self._policy = policy
        self._limits = limits
        self._runs_here = runs_here
        self._ends = EndsBySecond()

    @activity.defn(name="reserve")
    async def reserve(self, request: ReserveRequest) -> ReserveOutcome:
        """Take the stock of a new hold, or return why not."""
        outcome = None
        try:
            outcome = await self._reserve(request)
        finally:
            if self._runs_here is not None:
                self._runs_here.answer(request.request_id, outcome)
        return outcome

    async def _reserve(self, request: ReserveRequest) -> ReserveOutcome:
        try:
            with self._statement("reserve", request.shop_id, request.hold_id):
                outcome = await reserve(self._engine, request, self._limits)
        except _BusyError:
            if activity.info().attempt == 1 and activity.info().is_local:
                return Busy()
            raise  # an earlier attempt may have taken the stock and its answer may be lost: "busy" could be wrong
        if isinstance(outcome, Held) and outcome.created:
            self._telemetry.count(
                "inventory_hold_created",
                shop_id=request.shop_id,
                hold_id=request.hold_id,
                expires_at=request.expires_at.isoformat(),
            )
            if outcome.replaced:
                self._telemetry.count(
                    "inventory_hold_released",
                    shop_id=request.shop_id,
                    hold_id=request.replaces,
                    reason="replaced",
                    actor=request.actor,
                )
            ends_at = self._ends.place(outcome.expires_at)
            return outcome if ends_at == outcome.expires_at else replace(outcome, ends_at=ends_at)
        return outcome

    @activity.defn(name="amend-hold")
    async def amend(self, request: AmendRequest) -> AmendOutcome:
        """Change an active hold."""
        try:
            with self._statement("amend-hold", request.shop_id, request.hold_id):
                outcome = await amend(self._engine, request, self._limits)
        except _BusyError:
            if activity.info().attempt == 1:
                return Busy()
            raise  # an earlier attempt may have made the change
        except psycopg.IntegrityError as error:
            self._drifted("amend-hold", request.shop_id, request.hold_id, error)
            return Busy()  # nothing was changed; the hold goes on
        if isinstance(outcome, Amended) and outcome.changed:
            self._telemetry.count("inventory_hold_amended", shop_id=request.shop_id, hold_id=request.hold_id)
        return outcome

    @activity.defn(name="move-deadline")
    async def move_deadline(self, request: DeadlineRequest) -> bool:
        """Write an active hold's deadline."""
        with self._statement("move-deadline", request.shop_id, request.hold_id):
            moved = await move_deadline(
                self._engine,
                request.shop_id,
                request.hold_id,
                request.expires_at,
                back_from=request.moves_back_from,
                browser_extended=request.browser_extended,
            )
        if moved and request.moves_back_from is None:
            self._telemetry.count(
                "inventory_hold_extended",
                shop_id=request.shop_id,
                hold_id=request.hold_id,
                expires_at=request.expires_at.isoformat(),
            )
        return moved

    @activity.defn(name="warn-of-expiry")
    async def warn_of_expiry(self, warning: ExpiryWarning) -> None:
        """Note the event `hold.expiring`."""
        with self._statement("warn-of-expiry", warning.shop_id, warning.hold_id):
            await record_expiring(self._engine, warning.shop_id, warning.hold_id)

    @activity.defn(name="settle")
    async def settle(self, request: SettleRequest) -> Settled:
        """End the hold with its stock."""
        try:
            with self._statement("settle", request.shop_id, request.hold_id):
                settlement = await settle(
                    self._engine,
                    shop_id=request.shop_id,
                    hold_id=request.hold_id,
                    to=HoldStatus(request.to),
                    reason=request.reason,
                    actor=request.actor,
                    payment_intent_id=request.payment.payment_intent_id if request.payment else None,
                    payment_session_id=request.payment.session_id if request.payment else None,
                    amount_total=request.payment.amount_total if request.payment else None,
                    currency=request.payment.currency if request.payment else None,
                    sold=request.sold,
                    paid_elsewhere=request.paid_elsewhere,
                )
        except psycopg.IntegrityError as error:
            self._drifted("settle", request.shop_id, request.hold_id, error)
            raise ApplicationError("the item's held has drifted below what this hold has", type="drift") from error
        if settlement is None:
            self._telemetry.fail(
                "inventory_hold_error",
                shop_id=request.shop_id,
                hold_id=request.hold_id,
                activity="settle",
                problem="the hold's row is gone from the database",
            )
            return Settled("missing")
        if settlement.changed:
            self._count_end(request, settlement)
        return Settled(settled_status(settlement.status), EndedHold.of(settlement.hold))

    @activity.defn(name="attach-payment")
    async def attach_payment(self, request: AttachRequest) -> bool:
        """Write an active hold's payment to its row."""
        with self._statement("attach-payment", request.shop_id, request.hold_id):
            return await attach_payment(
                self._engine,
                request.shop_id,
                request.hold_id,
                session_id=request.payment.session_id,
                intent_id=request.payment.payment_intent_id,
                amount_total=request.payment.amount_total,
                currency=request.payment.currency,
            )

    @activity.defn(name="claim-late-payment")
    async def claim_late_payment(self, late: LatePayment) -> Claimed:
        """Return what a late payment can still buy, and take the stock again if possible."""
        with self._statement("claim-late-payment", late.shop_id, late.hold_id):
            claim = await claim_late_payment(
                self._engine,
                late.shop_id,
                late.hold_id,
                session_id=late.payment.session_id,
                intent_id=late.payment.payment_intent_id,
                amount_total=late.payment.amount_total,
                currency=late.payment.currency,
                take=self._policy is LatePaymentPolicy.REACQUIRE_OR_REFUND,
            )
        outcome = claim.outcome
        if outcome == "reacquired":
            self._telemetry.count(
                "inventory_hold_committed",
                shop_id=late.shop_id,
                hold_id=late.hold_id,
                reason="late_payment",
                actor="stripe",
            )
        if claim.reacquired_before and activity.info().attempt > 1:  # by an attempt whose answer was lost
            outcome = "reacquired"
        return Claimed(outcome, keep_money=self._policy is LatePaymentPolicy.KEEP, paid_elsewhere=claim.paid_elsewhere)

    @contextmanager
    def _statement(self, name: str, shop_id: str, hold_id: str) -> Iterator[None]:
        """Measure a statement, and raise an ApplicationError, to be retried, if it got no locks or no connection."""
        try:
            with self._telemetry.activities.labels(name).time():
                yield
        except DatabaseBusyError as error:
            self._telemetry.warn("inventory_hold_busy", shop_id=shop_id, hold_id=hold_id)
            raise _BusyError("rows not locked in time", type="busy") from error
        except DatabaseUnavailableError as error:
            self._telemetry.fail(
                "inventory_hold_error", shop_id=shop_id, hold_id=hold_id, activity=name, problem=f"Postgres: {error}"
            )
            raise ApplicationError(f"cannot reach Postgres: {error}", type="unavailable") from error

    def _drifted(self, name: str, shop_id: str, hold_id: str, error: psycopg.IntegrityError) -> None:
        self._telemetry.fail(
            "inventory_hold_error",
            shop_id=shop_id,
            hold_id=hold_id,
            activity=name,
            problem="the item's held is less than this hold has: the counters have drifted and need a repair",
            detail=str(error).strip(),
        )

    def _count_end(self, request: SettleRequest, settlement: Settlement) -> None:
        self._telemetry.count(
            f"inventory_hold_{settlement.status}",
            shop_id=request.shop_id,
            hold_id=request.hold_id,
            reason=request.reason,
            actor=request.actor,
        )
        if settlement.status is HoldStatus.EXPIRED:
            self._telemetry.hold_ended(request.shop_id, expired_late=settlement.overdue.total_seconds())
        if settlement.status is HoldStatus.COMMITTED:
            self._telemetry.hold_ended(request.shop_id, committed_after=settlement.age.total_seconds())
