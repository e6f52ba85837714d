"""The stock activities: messages in, statements on Postgres, messages out; counted once, after the commit."""

from collections.abc import Awaitable
from typing import TypeVar

import psycopg
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.exceptions import ApplicationError

from core.database import DatabaseBusyError, DatabaseUnavailableError
from core.metrics import Telemetry
from core.settings import LatePaymentPolicy
from inventory import hold_payments as payments
from inventory import holds, reserve
from inventory.settle import Settlement, settle
from workflows.messages import (
    AttachRequest,
    Busy,
    DeadlineRequest,
    EndedHold,
    Held,
    Line,
    ReferenceTaken,
    Reservation,
    ReserveRequest,
    Settled,
    SettledStatus,
    SettleRequest,
    Shortage,
    ShortItem,
    TooLate,
)
from workflows.payment_messages import Claimed, LatePayment, Payment
from workflows.ports import StockPort

Answer = TypeVar("Answer")

_SETTLED: dict[holds.HoldStatus, SettledStatus] = {
    holds.HoldStatus.COMMITTED: "committed",
    holds.HoldStatus.RELEASED: "released",
    holds.HoldStatus.EXPIRED: "expired",
}


class StockActivities(StockPort):
    """StockPort on Postgres."""

    def __init__(
        self,
        engine: AsyncEngine,
        telemetry: Telemetry,
        policy: LatePaymentPolicy = LatePaymentPolicy.REACQUIRE_OR_REFUND,
    ) -> None:
        self._engine = engine
        self._telemetry = telemetry
        self._policy = policy

    @activity.defn(name="reserve")
    async def reserve(self, request: ReserveRequest) -> Reservation:
        """Take the stock of a new hold, or say why not."""
        wanted = reserve.Reservation(
            shop_id=request.shop_id,
            hold_id=request.hold_id,
            lines=tuple(holds.Line(line.sku, line.variant_key, line.quantity) for line in request.lines),
            created_at=request.created_at,
            expires_at=request.expires_at,
            reserve_before=request.reserve_before,
            reference=request.reference,
            request_hash=request.request_hash,
        )
        try:
            with self._telemetry.activities.labels("reserve").time():
                outcome = await reserve.reserve(self._engine, wanted)
        except DatabaseBusyError as error:
            self._telemetry.warn("inventory_hold_busy", shop_id=request.shop_id, hold_id=request.hold_id)
            if activity.info().attempt == 1 and activity.info().is_local:
                return Busy()
            # An earlier attempt may have taken the stock without our hearing of it: «busy» would not be the truth.
            raise _again("rows not locked in time", "busy") from error
        except DatabaseUnavailableError as error:
            raise self._unavailable("reserve", request.shop_id, request.hold_id, error) from error
        match outcome:
            case reserve.Reserved():
                self._telemetry.count(
                    "inventory_hold_created",
                    shop_id=request.shop_id,
                    hold_id=request.hold_id,
                    expires_at=request.expires_at.isoformat(),
                )
                return Held(
                    status="active",
                    created_at=request.created_at,
                    expires_at=request.expires_at,
                    lines=request.lines,
                    request_hash=request.request_hash,
                    reference=request.reference,
                )
            case reserve.AlreadyThere(hold):
                return Held(
                    status=hold.status.value,
                    created_at=hold.created_at,
                    expires_at=hold.expires_at,
                    lines=[Line(line.sku, line.variant_key, line.quantity) for line in hold.lines],
                    request_hash=hold.request_hash,
                    reference=hold.reference,
                    payment=_payment_of(hold),
                )
            case reserve.ReferenceTaken(hold_id):
                return ReferenceTaken(hold_id)
            case reserve.Shortage(items):
                return Shortage([ShortItem(i.sku, i.variant_key, i.requested, i.available, i.known) for i in items])
            case reserve.TooLate():
                return TooLate()

    @activity.defn(name="move-deadline")
    async def move_deadline(self, request: DeadlineRequest) -> bool:
        """Write an active hold's deadline."""
        moved = await self._write(
            "move-deadline",
            request.shop_id,
            request.hold_id,
            holds.move_deadline(self._engine, request.shop_id, request.hold_id, request.expires_at),
        )
        if moved:
            self._telemetry.count(
                "inventory_hold_extended",
                shop_id=request.shop_id,
                hold_id=request.hold_id,
                expires_at=request.expires_at.isoformat(),
            )
        return moved

    @activity.defn(name="settle")
    async def settle(self, request: SettleRequest) -> Settled:
        """End the hold with its stock."""
        try:
            with self._telemetry.activities.labels("settle").time():
                settlement = await settle(
                    self._engine,
                    shop_id=request.shop_id,
                    hold_id=request.hold_id,
                    to=holds.HoldStatus(request.to),
                    reason=request.reason,
                    actor=request.actor,
                    payment_intent_id=request.payment.payment_intent_id if request.payment else None,
                    payment_session_id=request.payment.session_id if request.payment else None,
                )
        except DatabaseBusyError as error:
            self._telemetry.warn("inventory_hold_busy", shop_id=request.shop_id, hold_id=request.hold_id)
            raise _again("rows not locked in time", "busy") from error
        except DatabaseUnavailableError as error:
            raise self._unavailable("settle", request.shop_id, request.hold_id, error) from error
        except psycopg.IntegrityError as error:
            self._telemetry.fail(
                "inventory_hold_error",
                shop_id=request.shop_id,
                hold_id=request.hold_id,
                activity="settle",
                problem="the item's held is less than this hold has: the counters have drifted and need a repair",
                detail=str(error).strip(),
            )
            raise _again("the item's held has drifted below what this hold has", "drift") from error
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
        return Settled(_SETTLED[settlement.status], _ended_hold(settlement.hold))

    @activity.defn(name="attach-payment")
    async def attach_payment(self, request: AttachRequest) -> bool:
        """Write an active hold's payment to its row."""
        return await self._write(
            "attach-payment",
            request.shop_id,
            request.hold_id,
            payments.attach_payment(
                self._engine,
                request.shop_id,
                request.hold_id,
                session_id=request.payment.session_id,
                intent_id=request.payment.payment_intent_id,
            ),
        )

    @activity.defn(name="claim-late-payment")
    async def claim_late_payment(self, late: LatePayment) -> Claimed:
        """See what a late payment can still buy, and take the stock again where it can."""
        outcome = await self._write(
            "claim-late-payment",
            late.shop_id,
            late.hold_id,
            payments.claim_late_payment(
                self._engine,
                late.shop_id,
                late.hold_id,
                session_id=late.payment.session_id,
                intent_id=late.payment.payment_intent_id,
                take=self._policy is LatePaymentPolicy.REACQUIRE_OR_REFUND,
            ),
        )
        if outcome == "reacquired":
            self._telemetry.count(
                "inventory_hold_committed",
                shop_id=late.shop_id,
                hold_id=late.hold_id,
                reason="late_payment",
                actor="stripe",
            )
        if outcome == "reacquired_before":  # by an attempt whose answer was lost, or by an earlier case of this payment
            outcome = "reacquired" if activity.info().attempt > 1 else "already"
        return Claimed(outcome, keep_money=self._policy is LatePaymentPolicy.KEEP)

    async def _write(self, what: str, shop_id: str, hold_id: str, statement: Awaitable[Answer]) -> Answer:
        """Return what the statement answers. Raises what is to be tried again, with its kind."""
        try:
            with self._telemetry.activities.labels(what).time():
                return await statement
        except DatabaseBusyError as error:
            raise _again("rows not locked in time", "busy") from error
        except DatabaseUnavailableError as error:
            raise self._unavailable(what, shop_id, hold_id, error) from error

    def _count_end(self, request: SettleRequest, settlement: Settlement) -> None:
        self._telemetry.count(
            f"inventory_hold_{settlement.status}",
            shop_id=request.shop_id,
            hold_id=request.hold_id,
            reason=request.reason,
            actor=request.actor,
        )
        if settlement.status is holds.HoldStatus.EXPIRED:
            self._telemetry.expiry_lag.observe(max(settlement.overdue.total_seconds(), 0.0))
        if settlement.status is holds.HoldStatus.COMMITTED:
            self._telemetry.commit_age.observe(max(settlement.age.total_seconds(), 0.0))

    def _unavailable(self, what: str, shop_id: str, hold_id: str, error: Exception) -> ApplicationError:
        self._telemetry.fail(
            "inventory_hold_error", shop_id=shop_id, hold_id=hold_id, activity=what, problem=f"Postgres: {error}"
        )
        return _again(f"Postgres is out of reach: {error}", "unavailable")


def _ended_hold(hold: holds.Hold) -> EndedHold:
    ended_at = hold.committed_at or hold.released_at or hold.expired_at
    return EndedHold(
        created_at=hold.created_at,
        updated_at=hold.updated_at,
        expires_at=hold.expires_at,
        ended_at=ended_at or hold.updated_at,
        lines=[Line(line.sku, line.variant_key, line.quantity) for line in hold.lines],
        reason=hold.reason,
        reference=hold.reference,
        payment_session_id=hold.payment_session_id,
        payment_intent_id=hold.payment_intent_id,
        request_hash=hold.request_hash,
    )


def _payment_of(hold: holds.Hold) -> Payment | None:
    if hold.payment_intent_id is None and hold.payment_session_id is None:
        return None
    return Payment(hold.payment_intent_id, hold.payment_session_id)


def _again(message: str, kind: str) -> ApplicationError:
    return ApplicationError(message, type=kind)
