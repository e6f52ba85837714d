"""Holds: create, read, list, commit, release, extend, attach a payment."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from api import cursor
from api.auth import Authority, KnownCallersRoute
from api.dependencies import AmendmentsDep, CommitsDep, HoldsDep, PaymentsDep, SettingsDep, TelemetryDep
from api.disconnects import unless_gone
from api.errors import invalid
from api.hold_queries import HoldsQuery
from api.hold_token import hold_token, with_token
from api.openapi import NOT_FOUND, READ_ERRORS, WRITE_ERRORS, errors, examples
from api.parameters import HoldPath, IdempotencyKey, ShopPath, parse_key, parse_ttl, parse_warning
from api.problems import Problem
from api.requests import AmendIn, CommitIn, EndIn, ExtendIn, HoldIn, PaymentIn, merged
from api.responses import AmendedOut, HoldsOut, NotHeldOut
from api.validate_only import validate_only
from core.settings import Mode
from domain.holds import HoldKey
from domain.payments import Payment
from holds.amending import amendment
from holds.hold_json import HoldOut
from holds.idempotency import hold_id_for, optional_parts, request_hash
from holds.model import HoldRequest
from workflows.messages import Cancel, Commit, Extend

router = APIRouter(prefix="/api/inventory/holds", tags=["holds"], route_class=KnownCallersRoute)


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
            Problem.insufficient_stock,
            Problem.limit_exceeded,
            Problem.hold_exists,
            Problem.hold_not_active,
            Problem.idempotency_conflict,
            Problem.payment_in_progress,
        ),
        **WRITE_ERRORS,
        **errors(Problem.payments_not_configured, Problem.payment_provider_unavailable, Problem.inventory_unavailable),
    },
    openapi_extra=examples("hold"),
)
async def create_hold(
    *,
    request: Request,
    response: Response,
    caller: Authority,
    body: HoldIn,
    idempotency_key: IdempotencyKey = None,
    settings: SettingsDep,
    telemetry: TelemetryDep,
    holds: HoldsDep,
) -> HoldOut | Response:
    """Take the stock of every line, or of none, until the hold is committed, released or expires.

    Repeated with the same `holdId` or `Idempotency-Key` it answers the hold that was made, ended or not. A refusal is
    not remembered: the same key is evaluated again.
    """
    key = parse_key(idempotency_key)
    lines = merged(body.items)
    ttl_seconds = parse_ttl(body.ttl_seconds, settings)
    warn_before = parse_warning(body.warn_before_seconds, ttl_seconds)
    if settings.bypass:
        telemetry.warn("inventory_bypassed", route="create", shop_id=body.shop_id)
        return _not_held(settings.mode, bypassed=True)
    wanted = HoldRequest(
        shop_id=body.shop_id,
        hold_id=hold_id_for(body.shop_id, body.hold_id, key),
        lines=lines,
        ttl_seconds=ttl_seconds,
        reference=body.reference,
        replace=body.replace,
        request_hash=request_hash(
            "holds",
            body.shop_id,
            lines,
            body.ttl_seconds,
            body.reference,
            more=optional_parts(body.browser_extensions, body.buyer, body.warn_before_seconds, body.metadata),
        ),
        actor=caller.actor,
        browser_extensions=body.browser_extensions,
        named=(body.hold_id or key or body.reference) is not None,
        buyer=body.buyer,
        metadata=body.metadata or None,
        warn_before_seconds=warn_before,
    )
    if settings.mode is Mode.VALIDATE_ONLY:
        response.status_code = 200
        hold = await validate_only(holds, telemetry, wanted)
        return with_token(settings, hold) if hold is not None else _not_held(settings.mode)
    making = holds.create(wanted)
    result = await making if wanted.named else await unless_gone(request, making)
    if not result.created:
        response.status_code = 200
    return with_token(settings, result.hold)


def _not_held(mode: Mode, *, bypassed: bool = False) -> Response:
    return JSONResponse(NotHeldOut(mode=mode, bypassed=bypassed).model_dump(by_alias=True))


@router.get("", summary="List a shop's holds, newest first", responses=READ_ERRORS)
async def get_holds(_caller: Authority, query: Annotated[HoldsQuery, Query()], holds: HoldsDep) -> HoldsOut:
    """Read a page of the holds that fit all filters; send `nextCursor` as `cursor` for the next."""
    if query.variant_key is not None and query.sku is None:
        raise invalid("variantKey", "must come with the sku")
    after = cursor.decode_time(query.cursor)
    page = await holds.list(query.shop_id, query.filter(), limit=query.limit, after=after)
    return HoldsOut(
        holds=[HoldOut.of(hold) for hold in page.holds],
        nextCursor=cursor.encode(*page.next_after) if page.next_after else None,
    )


@router.get("/{shopId}/{holdId}", summary="Read a hold", responses=NOT_FOUND | READ_ERRORS)
async def get_hold(
    _caller: Authority, shop_id: ShopPath, hold_id: HoldPath, holds: HoldsDep, settings: SettingsDep
) -> HoldOut:
    """Read the hold as the database has it, or its archive. `items` has what was sold, given back and returned."""
    return with_token(settings, await holds.read(HoldKey(shop_id, hold_id)))


@router.patch(
    "/{shopId}/{holdId}",
    summary="Change a hold",
    responses={
        **NOT_FOUND,
        **errors(
            Problem.insufficient_stock,
            Problem.limit_exceeded,
            Problem.hold_exists,
            Problem.hold_not_active,
            Problem.idempotency_conflict,
            Problem.payment_open,
            Problem.payment_in_progress,
        ),
        **WRITE_ERRORS,
        **errors(Problem.payments_not_configured, Problem.payment_provider_unavailable, Problem.inventory_unavailable),
    },
    openapi_extra=examples("amend"),
)
async def amend_hold(
    *,
    caller: Authority,
    shop_id: ShopPath,
    hold_id: HoldPath,
    body: AmendIn,
    idempotency_key: IdempotencyKey = None,
    settings: SettingsDep,
    amendments: AmendmentsDep,
) -> AmendedOut:
    """Change the items, reference, buyer or deadline of an active hold, all or nothing. What is left out stays.

    `items` is the whole new set; the hold's own units count as available. A page of Holdfast with the old items is
    closed first: `closedCheckoutSessionId` names it. Repeated with the same `Idempotency-Key` it changes nothing and
    answers the hold as it is now.
    """
    lines = None if body.items is None else merged(body.items)
    ttl_seconds = None if body.ttl_seconds is None else parse_ttl(body.ttl_seconds, settings)
    key = HoldKey(shop_id, hold_id)
    change = amendment(
        key,
        parse_key(idempotency_key),
        actor=caller.actor,
        lines=lines,
        reference=body.reference,
        buyer=body.buyer,
        ttl_seconds=ttl_seconds,
    )
    amended = await amendments.amend(key, change)
    token = hold_token(settings.browser_token_secrets, amended.hold.key)
    answer = AmendedOut.of(amended.hold, token=token)
    return answer.model_copy(update={"closed_checkout_session_id": amended.closed_session})


@router.post(
    "/{shopId}/{holdId}/commit",
    summary="Sell a hold",
    responses={
        **NOT_FOUND,
        **errors(Problem.hold_not_active, Problem.payment_not_made),
        **WRITE_ERRORS,
        **errors(Problem.payments_not_configured, Problem.payment_provider_unavailable, Problem.inventory_unavailable),
    },
    openapi_extra=examples("commit"),
)
async def commit_hold(
    caller: Authority, shop_id: ShopPath, hold_id: HoldPath, commits: CommitsDep, body: CommitIn | None = None
) -> HoldOut:
    """End the hold as committed: its units are sold, or with `items` only those, and the others are given back.

    Repeated, it answers the same. The first commit decides: one that asks for other units than were sold is answered
    `hold_not_active` with the status `committed`; read the hold for what was sold. Where an event of Stripe reports
    the payment, that sells the whole hold, so commit a part only if the payment is none of Stripe's.

    A hold with an attached payment is sold only if Stripe calls that payment made or authorised; otherwise the answer
    is `payment_not_made`, and while Stripe does not answer `payment_provider_unavailable`. With `paidElsewhere` it is
    sold all the same, and the payment is closed, so that nobody pays twice.
    """
    items = None if body is None or body.items is None else merged(body.items)
    elsewhere = body is not None and body.paid_elsewhere
    message = Commit(actor=caller.actor, items=items, paid_elsewhere=elsewhere, **_reason(body))
    return HoldOut.of(await commits.commit(HoldKey(shop_id, hold_id), message))


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
    response: Response,
    caller: Authority,
    shop_id: ShopPath,
    hold_id: HoldPath,
    body: EndIn | None = None,
    holds: HoldsDep,
) -> HoldOut:
    """End the hold and give its stock back, and wait for it. Repeated, or of an expired hold, it answers the same."""
    message = Cancel(actor=caller.actor, **_reason(body))
    released = await holds.release(HoldKey(shop_id, hold_id), message)
    if released.ending is not None:
        response.status_code = 202
    return HoldOut.of(released.hold, released.ending)


@router.post(
    "/{shopId}/{holdId}/payment",
    summary="Attach a payment of your own",
    responses={
        **NOT_FOUND,
        **errors(
            Problem.hold_not_active,
            Problem.payment_already_attached,
            Problem.payment_in_progress,
            Problem.payment_not_payable,
            Problem.payment_of_another_hold,
        ),
        **WRITE_ERRORS,
        **errors(Problem.payments_not_configured, Problem.payment_provider_unavailable, Problem.inventory_unavailable),
    },
    openapi_extra=examples("payment"),
)
async def attach_payment(
    *,
    caller: Authority,
    shop_id: ShopPath,
    hold_id: HoldPath,
    body: PaymentIn,
    payments: PaymentsDep,
    settings: SettingsDep,
) -> HoldOut:
    """Attach a Checkout Session or PaymentIntent that the shop opened itself to the hold.

    From then on the hold releases its stock only after that payment was closed. A second payment is refused while the
    first can still be paid; with `replace` the first is closed, and the second takes its place.
    """
    payment = Payment(body.payment_intent_id, body.checkout_session_id)
    hold = await payments.attach(HoldKey(shop_id, hold_id), payment, actor=caller.actor, replace=body.replace)
    return with_token(settings, hold)


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
    caller: Authority,
    shop_id: ShopPath,
    hold_id: HoldPath,
    body: ExtendIn,
    idempotency_key: IdempotencyKey = None,
    settings: SettingsDep,
    holds: HoldsDep,
) -> HoldOut:
    """Move the deadline by `ttlSeconds`, at most to the ceiling from the creation. An ended hold stays ended."""
    seconds = parse_ttl(body.ttl_seconds, settings)
    message = Extend(seconds, key=parse_key(idempotency_key), actor=caller.actor)
    return with_token(settings, await holds.extend(HoldKey(shop_id, hold_id), message))


def _reason(body: EndIn | None) -> dict[str, Any]:
    return {"reason": body.reason} if body is not None and body.reason is not None else {}
