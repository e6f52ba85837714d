"""Holds: make, read, list, commit, release, extend."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import StringConstraints

from api import cursor
from api.auth import Authority, KnownCallersRoute
from api.dependencies import context_of
from api.errors import ApiError, Problem, invalid
from api.headers import text_of
from api.openapi import NOT_FOUND, READ_ERRORS, WRITE_ERRORS, errors, examples
from api.requests import EndIn, ExtendIn, HoldId, HoldIn, HoldsQuery, PaymentIn, ShopId, merged
from api.responses import HoldOut, HoldsOut, NotHeldOut
from core.settings import MIN_TTL_SECONDS, Mode
from core.timeouts import bounded
from holds.idempotency import hold_id_for, request_hash
from holds.payments_service import Payments
from holds.service import Lifecycle, Wanted
from holds.workflow_client import HoldKey
from inventory.holds import list_holds, read_hold
from workflows.messages import Cancel, Commit, Extend
from workflows.payment_messages import Payment

router = APIRouter(prefix="/api/inventory/holds", tags=["holds"], route_class=KnownCallersRoute)

_MAX_KEY = 255
Key = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=_MAX_KEY)] | None,
    Header(
        alias="Idempotency-Key",
        description="Counts within the shop. The same key makes one hold, or moves the deadline once, "
        "however often it is sent.",
    ),
]
ShopPath = Annotated[ShopId, Path(alias="shopId")]
HoldPath = Annotated[HoldId, Path(alias="holdId")]


def lifecycle_of(request: Request) -> Lifecycle:
    """Return the process's Lifecycle."""
    lifecycle: Lifecycle = request.app.state.lifecycle
    return lifecycle


def checked_key(key: str | None) -> str | None:
    """Return the key as text. Raises the 422 for one that is not UTF-8 or not printable."""
    return None if key is None else text_of("Idempotency-Key", key)


def checked_ttl(asked: int | None, default: int, ceiling: int) -> int:
    """Return the time to live of a new hold, in seconds. Raises the 422 outside of what is allowed."""
    if asked is not None and not MIN_TTL_SECONDS <= asked <= ceiling:
        raise invalid("ttlSeconds", f"must be {MIN_TTL_SECONDS} to {ceiling}")
    return default if asked is None else asked


@router.post(
    "",
    summary="Hold stock for a checkout",
    status_code=201,
    response_model=HoldOut,
    responses={
        200: {
            "model": HoldOut | NotHeldOut,
            "description": "A repeat: the hold as it is now. Or, in `validate_only` or under bypass, no hold.",
        },
        **errors(
            Problem.insufficient_stock, Problem.hold_exists, Problem.hold_not_active, Problem.idempotency_conflict
        ),
        **WRITE_ERRORS,
    },
    openapi_extra=examples("hold"),
)
async def create_hold(
    request: Request, response: Response, caller: Authority, body: HoldIn, idempotency_key: Key = None
) -> HoldOut | Response:
    """Take the stock of every line, or of none, until the hold is committed, released or expires.

    Repeated with the same `holdId` or `Idempotency-Key` it answers the hold that was made, ended or not. A refusal is
    not remembered: the same key is judged anew.
    """
    context, lifecycle = context_of(request), lifecycle_of(request)
    settings = context.settings
    key = checked_key(idempotency_key)
    lines = merged(body.items)
    ttl_seconds = checked_ttl(body.ttl_seconds, settings.ttl_seconds, settings.max_ttl_seconds)
    if settings.bypass:
        context.telemetry.warn("inventory_bypassed", route="create", shop_id=body.shop_id)
        return _not_held(settings.mode, bypassed=True)
    wanted = Wanted(
        shop_id=body.shop_id,
        hold_id=hold_id_for(body.shop_id, body.hold_id, key),
        lines=lines,
        ttl_seconds=ttl_seconds,
        reference=body.reference,
        replace=body.replace,
        request_hash=request_hash("holds", body.shop_id, lines, body.ttl_seconds, body.reference),
        actor=caller.actor,
    )
    if settings.mode is Mode.VALIDATE_ONLY:
        response.status_code = 200
        made = await lifecycle.look_only(wanted)
        return HoldOut.of(made) if made is not None else _not_held(settings.mode)
    outcome = await lifecycle.create(wanted)
    if not outcome.created:
        response.status_code = 200
    return HoldOut.of(outcome.hold)


def _not_held(mode: Mode, *, bypassed: bool = False) -> Response:
    return JSONResponse(NotHeldOut(mode=mode, bypassed=bypassed).model_dump(by_alias=True))


@router.get("", summary="List a shop's holds, newest first", responses=READ_ERRORS)
async def get_holds(request: Request, _caller: Authority, query: Annotated[HoldsQuery, Query()]) -> HoldsOut:
    """Read a page of holds; send `nextCursor` as `cursor` for the next."""
    context = context_of(request)
    after = cursor.decode_time(query.cursor)
    page = await bounded(
        context, list_holds(context.engine, query.shop_id, status=query.status, limit=query.limit, after=after)
    )
    return HoldsOut(
        holds=[HoldOut.of(hold) for hold in page.holds],
        nextCursor=cursor.encode(*page.next_after) if page.next_after else None,
    )


@router.get("/{shopId}/{holdId}", summary="Read a hold", responses=NOT_FOUND | READ_ERRORS)
async def get_hold(request: Request, _caller: Authority, shop_id: ShopPath, hold_id: HoldPath) -> HoldOut:
    """Read the hold as the database has it."""
    context = context_of(request)
    hold = await bounded(context, read_hold(context.engine, shop_id, hold_id), hold=HoldKey(shop_id, hold_id))
    if hold is None:
        raise ApiError(Problem.hold_not_found)
    return HoldOut.of(hold)


@router.post(
    "/{shopId}/{holdId}/commit",
    summary="Sell a hold",
    responses=NOT_FOUND | errors(Problem.hold_not_active) | WRITE_ERRORS,
    openapi_extra=examples("end"),
)
async def commit_hold(
    request: Request, caller: Authority, shop_id: ShopPath, hold_id: HoldPath, body: EndIn | None = None
) -> HoldOut:
    """End the hold as sold: its stock leaves the house. Repeated, it answers the same."""
    message = Commit(actor=caller.actor, **_reason(body))
    return HoldOut.of(await lifecycle_of(request).commit(shop_id, hold_id, message))


@router.post(
    "/{shopId}/{holdId}/release",
    summary="Give a hold back",
    responses={
        202: {"model": HoldOut, "description": "Still ending: the hold is `active`, with `ending: release`."},
        **NOT_FOUND,
        **errors(Problem.hold_not_active),
        **WRITE_ERRORS,
    },
    openapi_extra=examples("end"),
)
async def release_hold(
    *,
    request: Request,
    response: Response,
    caller: Authority,
    shop_id: ShopPath,
    hold_id: HoldPath,
    body: EndIn | None = None,
) -> HoldOut:
    """End the hold and give its stock back, and wait for it. Repeated, or of an expired hold, it answers the same."""
    message = Cancel(actor=caller.actor, **_reason(body))
    hold, ending = await lifecycle_of(request).release(shop_id, hold_id, message)
    if ending is not None:
        response.status_code = 202
    return HoldOut.of(hold, ending)


@router.post(
    "/{shopId}/{holdId}/payment",
    summary="Attach a payment of your own",
    responses={
        **NOT_FOUND,
        **errors(
            Problem.hold_not_active,
            Problem.payment_already_attached,
            Problem.payment_not_payable,
            Problem.payment_of_another_hold,
        ),
        **WRITE_ERRORS,
        **errors(Problem.payments_not_configured, Problem.payment_provider_unavailable, Problem.inventory_unavailable),
    },
    openapi_extra=examples("payment"),
)
async def attach_payment(
    request: Request, _caller: Authority, shop_id: ShopPath, hold_id: HoldPath, body: PaymentIn
) -> HoldOut:
    """Make a Checkout Session or PaymentIntent that the shop opened itself the hold's payment.

    From then on the hold gives its stock back only once that payment is closed. A second one is refused while the
    first can still be paid.
    """
    payment = Payment(body.payment_intent_id, body.checkout_session_id)
    payments: Payments = request.app.state.payments
    return HoldOut.of(await payments.attach(shop_id, hold_id, payment))


@router.post(
    "/{shopId}/{holdId}/extend",
    summary="Give a shopper longer",
    responses=NOT_FOUND
    | errors(Problem.hold_not_active, Problem.hold_extend_limit, Problem.idempotency_conflict)
    | WRITE_ERRORS,
    openapi_extra=examples("extend"),
)
async def extend_hold(
    *,
    request: Request,
    _caller: Authority,
    shop_id: ShopPath,
    hold_id: HoldPath,
    body: ExtendIn,
    idempotency_key: Key = None,
) -> HoldOut:
    """Move the deadline by `ttlSeconds`, at most to the ceiling from the creation. An ended hold stays ended."""
    settings = context_of(request).settings
    ttl_seconds = checked_ttl(body.ttl_seconds, settings.ttl_seconds, settings.max_ttl_seconds)
    message = Extend(ttl_seconds=ttl_seconds, key=checked_key(idempotency_key))
    return HoldOut.of(await lifecycle_of(request).extend(shop_id, hold_id, message))


def _reason(body: EndIn | None) -> dict[str, Any]:
    return {"reason": body.reason} if body is not None and body.reason is not None else {}
