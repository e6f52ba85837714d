"""A hold's requests from the caller's side: what is read first, what is joined, what is told when it is too late."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeVar

from api.dependencies import Context
from api.errors import ApiError, Problem
from api.responses import ShortOut
from core.timeouts import bounded, within
from holds.hold_from_workflow import hold_ended, hold_made
from holds.starting import resumed
from holds.workflow_client import HoldKey, NoRunningWorkflowError, Target, UpdateRefusedError, WorkflowCalls
from inventory import reserve
from inventory.holds import Hold, HoldStatus, Line, read_hold
from inventory.reserve import Standing, read_standing
from workflows import messages
from workflows.messages import Cancel, Commit, Extend, HoldInput

Answer = TypeVar("Answer")

_TO_LEAVE_WORD_SECONDS = 1.0
"""Of a release's time, what is kept to leave word with the workflow and read the hold when its end takes longer."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request to hold, in Holdfast's own terms."""

    shop_id: str
    hold_id: str
    lines: tuple[Line, ...]
    ttl_seconds: int
    reference: str | None
    replace: bool
    request_hash: str
    actor: str


@dataclass(frozen=True, slots=True)
class Made:
    """A hold as it is, and whether this request made it."""

    hold: Hold
    created: bool


class Lifecycle:
    """Create, commit, release and extend, each bounded by the request's time-out."""

    def __init__(self, context: Context, calls: WorkflowCalls) -> None:
        self._context = context
        self._settings = context.settings
        self._calls = calls

    async def create(self, wanted: Wanted) -> Made:
        """Hold the stock, or answer the hold that this id made before.

        Raises ApiError for everything else: short, busy, the reference taken, another body, too late, out of reach.
        """
        return await bounded(self._context, self._create(wanted), hold=HoldKey(wanted.shop_id, wanted.hold_id))

    async def _create(self, wanted: Wanted) -> Made:
        earlier = await self.prepare(wanted)
        return earlier or await self.judge(wanted, await self._calls.reserve(self.input_for(wanted)))

    async def prepare(self, wanted: Wanted) -> Made | None:
        """Return the hold that this id made before, or None when nothing obvious stands in the way of a new one."""
        standing = await self._look(wanted)
        if standing.own is not None:
            return Made(_same_request(standing.own, wanted), created=False)
        if standing.reference_hold_id is not None:
            await self._make_way(wanted, standing.reference_hold_id)
        return None

    async def look_only(self, wanted: Wanted) -> Hold | None:
        """Validate without holding. A hold that this id made before, in the other mode, is answered as it is."""
        telemetry = self._context.telemetry
        try:
            standing = await bounded(self._context, self._look(wanted), hold=HoldKey(wanted.shop_id, wanted.hold_id))
        except ApiError as error:
            if error.problem is Problem.insufficient_stock:
                telemetry.validated(ok=False, shop_id=wanted.shop_id)
            raise
        if standing.own is not None:
            return _same_request(standing.own, wanted)
        telemetry.validated(ok=True, shop_id=wanted.shop_id)
        return None

    async def temporal_is_up(self) -> None:
        """Raise ApiError 503 unless Temporal serves."""
        await self._calls.is_up()

    async def _look(self, wanted: Wanted) -> Standing:
        """Read what stands in the way and refuse what obviously cannot be; the hold's own row comes first."""
        standing = await read_standing(
            self._context.engine,
            shop_id=wanted.shop_id,
            hold_id=wanted.hold_id,
            lines=wanted.lines,
            reference=wanted.reference,
            replace=wanted.replace,
        )
        if standing.own is None:
            if standing.reference_hold_id is not None and not wanted.replace:
                raise _hold_exists(standing.reference_hold_id)
            if standing.short:
                raise self._insufficient(wanted.shop_id, standing.short)
        return standing

    async def _make_way(self, wanted: Wanted, old_hold_id: str) -> None:
        ended = await self._release_and_tell(wanted.shop_id, old_hold_id, Cancel(actor=wanted.actor, reason="replaced"))
        if ended is not None and ended.status is HoldStatus.COMMITTED:
            raise not_active(ended, "The hold with this reference has been paid meanwhile.")

    async def judge(self, wanted: Wanted, reservation: messages.Reservation) -> Made:
        """Return the hold that was made, or raise the ApiError that says why none was."""
        match reservation:
            case messages.Held(status="active") as held:
                hold = hold_made(wanted.shop_id, wanted.hold_id, held)
                return Made(_same_request(hold, wanted), created=True)
            case messages.Held():
                hold = await self.read(wanted.shop_id, wanted.hold_id)
                return Made(_same_request(hold, wanted), created=False)
            case messages.Shortage(items):
                short = tuple(reserve.ShortItem(i.sku, i.variant_key, i.requested, i.available, i.known) for i in items)
                raise self._insufficient(wanted.shop_id, short)
            case messages.ReferenceTaken(hold_id):
                raise _hold_exists(hold_id)
            case messages.Busy():
                raise ApiError(Problem.inventory_busy)
            case messages.TooLate():
                raise ApiError(Problem.inventory_timeout, holdId=wanted.hold_id)

    async def commit(self, shop_id: str, hold_id: str, message: Commit) -> Hold:
        """Sell the hold and answer it, or what became of it instead (ApiError 404, 409)."""
        return await bounded(self._context, self._commit(shop_id, hold_id, message), hold=HoldKey(shop_id, hold_id))

    async def _commit(self, shop_id: str, hold_id: str, message: Commit) -> Hold:
        ended = await self.ask(shop_id, hold_id, partial(self._calls.commit, message=message))
        hold = hold_ended(shop_id, hold_id, ended) or await self.read(shop_id, hold_id)
        return _as_wanted(hold, {HoldStatus.COMMITTED})

    async def release(self, shop_id: str, hold_id: str, message: Cancel) -> tuple[Hold, Literal["release"] | None]:
        """Give the hold back and answer it; when its end takes longer than the request, as it is, still ending."""
        return await bounded(self._context, self._release(shop_id, hold_id, message), hold=HoldKey(shop_id, hold_id))

    async def _release(self, shop_id: str, hold_id: str, message: Cancel) -> tuple[Hold, Literal["release"] | None]:
        seconds = self._settings.request_timeout_ms / 1000
        patience = seconds - min(_TO_LEAVE_WORD_SECONDS, seconds / 2)
        try:
            hold = await within(patience, self._release_and_tell(shop_id, hold_id, message))
        except TimeoutError:
            with suppress(NoRunningWorkflowError):
                await self._calls.cancel(HoldKey(shop_id, hold_id), message)
            hold = await read_hold(self._context.engine, shop_id, hold_id)
            if hold is None:  # a run that has not reserved yet: it will not, or will give back at once
                raise
        if hold is None:
            raise ApiError(Problem.hold_not_found)
        if hold.status is HoldStatus.ACTIVE:
            return hold, "release"
        return _as_wanted(hold, {HoldStatus.RELEASED, HoldStatus.EXPIRED}), None

    async def extend(self, shop_id: str, hold_id: str, message: Extend) -> Hold:
        """Move the hold's deadline and answer it (ApiError 404, 409)."""
        return await bounded(self._context, self._extend(shop_id, hold_id, message), hold=HoldKey(shop_id, hold_id))

    async def _extend(self, shop_id: str, hold_id: str, message: Extend) -> Hold:
        try:
            extended = await self.ask(shop_id, hold_id, partial(self._calls.extend, message=message))
        except UpdateRefusedError as refusal:
            raise await self._refused(shop_id, hold_id, refusal) from refusal
        hold = await self.read(shop_id, hold_id)
        if extended is None or extended.ended is not None:
            raise not_active(hold)
        return replace(hold, expires_at=extended.expires_at)  # the same key, the same answer, whatever came since

    async def _release_and_tell(self, shop_id: str, hold_id: str, message: Cancel) -> Hold | None:
        ended = await self.ask(shop_id, hold_id, partial(self._calls.release, message=message))
        return hold_ended(shop_id, hold_id, ended) or await read_hold(self._context.engine, shop_id, hold_id)

    async def ask(self, shop_id: str, hold_id: str, call: Callable[[Target], Awaitable[Answer]]) -> Answer | None:
        """Ask the hold's workflow. None where the database has the answer: the hold has ended.

        A hold that is active without a run (it was terminated) goes on in a new one, which hears the message first.
        Raises ApiError 404 where there is neither run nor row.
        """
        with suppress(NoRunningWorkflowError):
            return await call(HoldKey(shop_id, hold_id))
        hold = await self.read(shop_id, hold_id)
        if hold.status is HoldStatus.ACTIVE:
            with suppress(NoRunningWorkflowError):
                return await call(self.to_go_on(hold))
        return None

    def to_go_on(self, hold: Hold) -> HoldInput:
        """Return what a new run needs to go on with a hold that is active and has none."""
        return resumed(
            hold,
            max_ttl_seconds=self._settings.max_ttl_seconds,
            request_timeout_ms=self._settings.request_timeout_ms,
            close_grace_seconds=self._settings.payment_close_grace_seconds,
        )

    async def _refused(self, shop_id: str, hold_id: str, refusal: UpdateRefusedError) -> Exception:
        match refusal.kind:
            case messages.HOLD_EXTEND_LIMIT:
                return ApiError(Problem.hold_extend_limit)
            case messages.IDEMPOTENCY_CONFLICT:
                return ApiError(Problem.idempotency_conflict)
            case messages.HOLD_NOT_ACTIVE:
                return not_active(await self.read(shop_id, hold_id))
        return refusal

    async def read(self, shop_id: str, hold_id: str) -> Hold:
        """Return the hold. Raises ApiError 404 where there is none."""
        hold = await read_hold(self._context.engine, shop_id, hold_id)
        if hold is None:
            raise ApiError(Problem.hold_not_found)
        return hold

    def input_for(self, wanted: Wanted) -> HoldInput:
        """Return what the run of a new hold needs."""
        return HoldInput(
            shop_id=wanted.shop_id,
            hold_id=wanted.hold_id,
            lines=[messages.Line(line.sku, line.variant_key, line.quantity) for line in wanted.lines],
            ttl_seconds=wanted.ttl_seconds,
            max_ttl_seconds=self._settings.max_ttl_seconds,
            request_timeout_ms=self._settings.request_timeout_ms,
            request_hash=wanted.request_hash,
            reference=wanted.reference,
            close_grace_seconds=self._settings.payment_close_grace_seconds,
        )

    def _insufficient(self, shop_id: str, short: tuple[reserve.ShortItem, ...]) -> ApiError:
        telemetry = self._context.telemetry
        telemetry.count("inventory_hold_insufficient", shop_id=shop_id)
        telemetry.rejected(shop_id, [(item.sku, item.known) for item in short])
        return insufficient(short)


def insufficient(short: tuple[reserve.ShortItem, ...]) -> ApiError:
    """Return the 409 that names every short item once."""
    names = ", ".join(f"{item.sku} {item.variant_key}".strip() for item in short[:5])
    return ApiError(
        Problem.insufficient_stock,
        f"Not enough stock of {names}{' and others' if len(short) > 5 else ''}.",  # noqa: PLR2004 - a readable sentence
        items=[
            ShortOut(
                sku=item.sku, variantKey=item.variant_key, requested=item.requested, available=item.available
            ).model_dump(by_alias=True)
            for item in short
        ],
    )


def _same_request(hold: Hold, wanted: Wanted) -> Hold:
    if hold.request_hash != wanted.request_hash:
        raise ApiError(Problem.idempotency_conflict, holdId=hold.hold_id)
    return hold


def _as_wanted(hold: Hold, allowed: set[HoldStatus]) -> Hold:
    if hold.status not in allowed:
        raise not_active(hold)
    return hold


def not_active(hold: Hold, message: str | None = None) -> ApiError:
    """Return the 409 that says how the hold is."""
    return ApiError(
        Problem.hold_not_active,
        message or ("The hold is ending." if hold.status is HoldStatus.ACTIVE else f"The hold is {hold.status}."),
        holdId=hold.hold_id,
        status=hold.status.value,
    )


def _hold_exists(hold_id: str) -> ApiError:
    return ApiError(Problem.hold_exists, holdId=hold_id)
