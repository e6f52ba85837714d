"""What the shopper's browser may do with its own hold: read, extend, release and follow it, by the hold's token."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response, Security
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from fastapi.sse import format_sse_event
from starlette.types import Receive, Scope, Send

from api.auth import KnownCallersRoute
from api.dependencies import HoldsDep, SettingsDep, StreamsDep, resources_of
from api.errors import ApiError, invalid
from api.hold_streams import HoldStream, HoldStreams, TooManyStreamsError
from api.hold_token import is_hold_token
from api.openapi import NOT_FOUND, READ_ERRORS, WRITE_ERRORS, errors, examples
from api.parameters import HoldPath, IdempotencyKey, ShopPath, parse_key
from api.problems import Problem
from api.requests import ExtendIn
from api.responses import BrowserHoldOut, PaymentState
from core.settings import Settings
from domain.holds import Hold, HoldKey, HoldStatus
from holds.errors import ExtendLimitError
from workflows.messages import Cancel, Extend

PREFIX = "/api/browser/holds"
_READABLE_AFTER_END = timedelta(hours=1)
_BEARER = HTTPBearer(auto_error=False, scheme_name="HoldToken", description="The `holdToken` of this hold.")
_ACTOR = "browser"
_NOT_CACHED = {"Cache-Control": "no-store"}


class _HoldTokenRoute(KnownCallersRoute):
    def check_token(self, request: Request) -> None:
        """Raise the 401 unless the request has the token of the hold in its path."""
        scheme, given = get_authorization_scheme_param(request.headers.get("Authorization"))
        if scheme.lower() != "bearer":
            given = request.query_params.get("token", "") if request.url.path.endswith("/events") else ""
        key = HoldKey(request.path_params["shopId"], request.path_params["holdId"])
        if not is_hold_token(resources_of(request).settings.browser_token_secrets, key, given):
            raise ApiError(Problem.unauthorized, "Send the header: Authorization: Bearer <holdToken of this hold>.")


async def _own_hold(
    shop_id: ShopPath, hold_id: HoldPath, holds: HoldsDep, _documented: Annotated[object, Security(_BEARER)]
) -> Hold:
    """Return the hold of the token. Raises the 401 once it has ended for an hour: a token dies with its hold."""
    hold = await holds.read(HoldKey(shop_id, hold_id))
    if hold.status is not HoldStatus.ACTIVE and datetime.now(UTC) - hold.updated_at > _READABLE_AFTER_END:
        raise ApiError(Problem.unauthorized, "The hold has ended, and its token with it.")
    return hold


OwnHold = Annotated[Hold, Depends(_own_hold)]
router = APIRouter(prefix=PREFIX, tags=["browser"], route_class=_HoldTokenRoute)


@router.get("/{shopId}/{holdId}", summary="Read the shopper's hold", responses=NOT_FOUND | READ_ERRORS)
async def browser_get(hold: OwnHold, settings: SettingsDep) -> BrowserHoldOut:
    """Read the hold as the shopper may see it; until an hour after its end."""
    return _shown(hold, settings)


@router.post(
    "/{shopId}/{holdId}/extend",
    summary="Extend the shopper's hold",
    responses=NOT_FOUND
    | errors(Problem.hold_not_active, Problem.hold_extend_limit, Problem.idempotency_conflict)
    | WRITE_ERRORS,
    openapi_extra=examples("extend"),
)
async def browser_extend(
    hold: OwnHold,
    holds: HoldsDep,
    settings: SettingsDep,
    body: ExtendIn | None = None,
    idempotency_key: IdempotencyKey = None,
) -> BrowserHoldOut:
    """Move the deadline by INVENTORY_HOLD_TTL_SECONDS or less, as often as the hold's `browserExtensions` allows.

    Send an `Idempotency-Key`: a repeat after a lost answer then uses no further extension.
    """
    longest = settings.ttl_seconds
    seconds = body.ttl_seconds if body is not None and body.ttl_seconds is not None else longest
    if seconds > longest:
        raise invalid("ttlSeconds", f"must be at most {longest}")
    if hold.status is HoldStatus.ACTIVE and not hold.browser_extensions:
        raise ExtendLimitError  # the usual case asks nothing of Temporal, however often a browser repeats it
    key = parse_key(idempotency_key)
    # The shop's keys are others: a shopper who guesses one can neither use it up nor learn what it did.
    message = Extend(seconds, key and f"browser:{key}", browser_limit=hold.browser_extensions, actor=_ACTOR)
    return _shown(await holds.extend(hold.key, message), settings)


@router.post(
    "/{shopId}/{holdId}/release",
    summary="Give the shopper's hold back",
    responses={
        202: {"model": BrowserHoldOut, "description": "Still ending: a page to pay on is being closed."},
        **NOT_FOUND,
        **errors(Problem.hold_not_active),
        **WRITE_ERRORS,
    },
)
async def browser_release(response: Response, hold: OwnHold, holds: HoldsDep, settings: SettingsDep) -> BrowserHoldOut:
    """End the hold and give its stock back. Repeated, or of an expired hold, it answers the same."""
    released = await holds.release(hold.key, Cancel(actor=_ACTOR, reason="given_back"))
    if released.ending is not None:
        response.status_code = 202
    return _shown(released.hold, settings)


@router.get(
    "/{shopId}/{holdId}/events",
    summary="Follow the shopper's hold",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        204: {"description": "The hold has ended, and `Last-Event-ID` is its last event: there is nothing to follow."},
        **NOT_FOUND,
        **READ_ERRORS,
        **errors(Problem.too_many_streams, Problem.inventory_unavailable),
    },
)
async def browser_follow(
    *,
    hold: OwnHold,
    streams: StreamsDep,
    settings: SettingsDep,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=100)] = None,
    _token: Annotated[
        str | None,
        Query(alias="token", max_length=200, description="The `holdToken`, for EventSource, which sends no header."),
    ] = None,
) -> Response:
    """Send server-sent events: `hold` with the hold now and after each change, the last one after its end.

    Each event's id is the version of the hold, so that `Last-Event-ID` resumes. A second stream of the same hold ends
    the first with the event `replaced`; its page should close it.
    """
    if last_event_id == _version(hold) and hold.status is not HoldStatus.ACTIVE:
        return Response(status_code=204, headers=_NOT_CACHED)
    try:
        stream = streams.open(hold)
    except TooManyStreamsError:
        raise ApiError(Problem.too_many_streams) from None
    known = hold.updated_at if last_event_id == _version(hold) else None
    return _StreamResponse(_events(stream, known, settings), streams, stream)


class _StreamResponse(StreamingResponse):
    """The answer that follows a hold."""

    def __init__(self, events: AsyncIterator[bytes], streams: HoldStreams, stream: HoldStream) -> None:
        headers = _NOT_CACHED | {"X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._streams = streams
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events, and stop following however that ends.

        A `finally` of the events' generator would run only at the next garbage collection where the client is given up
        because it does not read.
        """
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.forget(self._stream)


async def _events(stream: HoldStream, known: datetime | None, settings: Settings) -> AsyncIterator[bytes]:
    # Browsers that lost their stream at once, as when a process stops, come back spread over some seconds.
    yield format_sse_event(retry=random.randint(1000, 5000), comment="holdfast")  # noqa: S311 - not a secret
    async for hold in stream.states(known):
        if hold is None:
            yield format_sse_event(comment="heartbeat")
        else:
            shown = _shown(hold, settings).model_dump_json(by_alias=True)
            yield format_sse_event(data_str=shown, event="hold", id=_version(hold))
    if stream.replaced:
        yield format_sse_event(data_str="{}", event="replaced")


def _version(hold: Hold) -> str:
    return str(int(hold.updated_at.timestamp() * 1_000_000))


def _shown(hold: Hold, settings: Settings) -> BrowserHoldOut:
    now = datetime.now(UTC)
    active = hold.status is HoldStatus.ACTIVE
    left = max(0, int((hold.expires_at - now).total_seconds())) if active else 0
    # Only the grace period of a payment that is processing ends later than that.
    graced = hold.expires_at > hold.created_at + timedelta(seconds=settings.max_ttl_seconds)
    payment: PaymentState = "none"
    if hold.status is HoldStatus.COMMITTED:
        payment = "paid"
    elif active and hold.payment is not None:
        payment = "processing" if graced else "open"
    return BrowserHoldOut.of_hold(hold, expires_in_seconds=left, payment=payment)
