"""The calls to Stripe: each may be repeated, keyed by the hold, with its failures told apart once."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import stripe
from stripe import HTTPXClient, StripeClient

from payments import standing
from payments.standing import Standing, State

CALL_SECONDS = 10.0
"""How long one call waits for its answer."""
_KEYS = 5
"""Stripe's v1 API stores the answer under the key, a 500 included: after one, the next attempt needs a key of its own.
So many there are, in the same order for everybody who repeats the call."""
_EXPAND = ["payment_intent.latest_charge"]
_CLOCK_SKEW = timedelta(minutes=5)


class StripeAwayError(Exception):
    """Stripe did not answer, or not for now. What was asked may have been done: ask again with the same key."""


class StripeRefusedError(Exception):
    """Stripe says no, and will say so again."""

    def __init__(self, message: str, *, code: str | None, param: str | None, callers_fault: bool) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        """The parameter at fault, by Stripe's name."""
        self.callers_fault = callers_fault
        """Whether it is about what was asked for; else it is about the account or the key."""


class _FailedInsideError(Exception):
    """Stripe failed with a 5xx, which it keeps under the key."""


class Gateway:
    """Stripe's API. Every method raises StripeAwayError while Stripe is out of reach, and StripeRefusedError."""

    def __init__(self, client: StripeClient) -> None:
        self._v1 = client.v1

    async def open_session(self, params: dict[str, Any], key: str, *, begun_at: datetime | None) -> Standing:
        """Open a Checkout Session, or return the one that was opened with the same key.

        After a 5xx, which may have opened one all the same, it is looked for among those since `begun_at` by its
        metadata: nobody gets two pages to pay on. With no `begun_at` it is not looked for.
        """
        for attempt in _keys(key):
            try:
                session = await _answered(self._v1.checkout.sessions.create_async(params, attempt))  # type: ignore[arg-type]
                return standing.of_session(session)
            except _FailedInsideError:
                if begun_at and (found := await self._opened_before(params["metadata"], begun_at)):
                    return found
        raise StripeAwayError("Stripe failed at every attempt to open the session")

    async def _opened_before(self, metadata: dict[str, str], begun_at: datetime) -> Standing | None:
        since = int((begun_at - _CLOCK_SKEW).timestamp())
        page = await _settled(
            self._v1.checkout.sessions.list_async(
                {"created": {"gte": since}, "limit": 100, "expand": ["data.payment_intent"]}
            )
        )
        while True:
            for session in page["data"]:
                if session.get("metadata") == metadata:
                    return standing.of_session(session)
            if not page["has_more"]:
                return None
            page = await _settled(
                self._v1.checkout.sessions.list_async(
                    {"created": {"gte": since}, "limit": 100, "starting_after": page["data"][-1]["id"]}
                )
            )

    async def look(self, *, session_id: str | None = None, intent_id: str | None = None) -> Standing:
        """Return how a payment stands, by its session or its PaymentIntent; of both, by the session."""
        try:
            if session_id is not None:
                session = await _settled(self._v1.checkout.sessions.retrieve_async(session_id, {"expand": [*_EXPAND]}))
                return standing.of_session(session)
            assert intent_id is not None  # noqa: S101 - one of the two is there
            intent = await _settled(self._v1.payment_intents.retrieve_async(intent_id, {"expand": ["latest_charge"]}))
            return standing.of_intent(intent)
        except StripeRefusedError as refusal:
            if refusal.code == "resource_missing":
                return Standing(State.UNKNOWN, session_id=session_id, intent_id=intent_id)
            raise

    async def close(
        self, key: str, *, session_id: str | None = None, intent_id: str | None = None, give_back: bool
    ) -> Standing:
        """See to it that the payment can no longer be made, and return how it stands then, which is never OPEN.

        `give_back`: one that is authorised is cancelled too; else it is left for the capture. What could not be
        closed because it was paid meanwhile is answered as it is: the look decides, not what Stripe said to the close.
        """
        for attempt in _keys(f"{key}:close"):
            found = await self.look(session_id=session_id, intent_id=intent_id)
            cancels = found.state is State.AUTHORIZED and give_back
            if found.state is not State.OPEN and not cancels:
                return found
            try:
                if cancels or session_id is None:
                    target = found.intent_id or intent_id or ""
                    await _answered(self._v1.payment_intents.cancel_async(target, {}, attempt))  # type: ignore[arg-type]
                else:
                    await _answered(self._v1.checkout.sessions.expire_async(session_id, {}, attempt))  # type: ignore[arg-type]
            except _FailedInsideError:
                continue  # it may be done all the same: the look tells
            except StripeRefusedError:  # ended by another hand, paid meanwhile: the look tells; or made by Checkout
                session_id = session_id or await self._session_of(found.intent_id or "")
        found = await self.look(session_id=session_id, intent_id=intent_id)
        if found.state is State.OPEN or (found.state is State.AUTHORIZED and give_back):
            raise StripeAwayError("the payment could not be closed yet")
        return found

    async def _session_of(self, intent_id: str) -> str | None:
        """Return the session that made a PaymentIntent: only by the session can that one be ended while it is open."""
        page = await _settled(self._v1.checkout.sessions.list_async({"payment_intent": intent_id, "limit": 1}))
        return next((session["id"] for session in page["data"]), None)

    async def capture(self, intent_id: str, key: str) -> Standing:
        """Take the money that is authorised. Done already is done."""
        return await self._bring(
            intent_id,
            key,
            done={State.PAID, State.REFUNDED},
            call=lambda options: self._v1.payment_intents.capture_async(intent_id, {}, options),  # type: ignore[arg-type]
        )

    async def give_back(self, intent_id: str, key: str, metadata: dict[str, str]) -> Standing:
        """Refund what was paid, all that is left of it, or cancel what was only authorised. Done already is done."""
        if (await self.look(intent_id=intent_id)).state is State.AUTHORIZED:
            return await self._bring(
                intent_id,
                f"{key}:cancel",
                done={State.UNPAYABLE, State.REFUNDED},
                call=lambda options: self._v1.payment_intents.cancel_async(intent_id, {}, options),  # type: ignore[arg-type]
            )
        refund = {"payment_intent": intent_id, "metadata": metadata}
        return await self._bring(
            intent_id,
            key,
            done={State.UNPAYABLE, State.REFUNDED},
            call=lambda options: self._v1.refunds.create_async(refund, options),  # type: ignore[arg-type]
        )

    async def _bring(
        self,
        intent_id: str,
        key: str,
        *,
        done: set[State],
        call: Callable[[dict[str, str]], Coroutine[Any, Any, Any]],
    ) -> Standing:
        """Make the call until the PaymentIntent is as wanted; look before each, as a 500 may have done it."""
        refused: StripeRefusedError | None = None
        for attempt in _keys(key):
            found = await self.look(intent_id=intent_id)
            if found.state in done:
                return found
            if refused is not None:
                raise refused
            try:
                await _answered(call(attempt))
            except StripeRefusedError as refusal:
                refused = refusal
            except _FailedInsideError:
                continue
            else:
                return await self.look(intent_id=intent_id)
        raise refused or StripeAwayError("Stripe failed at every attempt")


@asynccontextmanager
async def connected(api_key: str, base: str) -> AsyncIterator[Gateway]:
    """Give the way to Stripe, with connections of its own that end with it."""
    http = HTTPXClient(timeout=CALL_SECONDS)
    try:
        yield Gateway(StripeClient(api_key, base_addresses={"api": base}, http_client=http, max_network_retries=0))
    finally:
        await http.close_async()  # type: ignore[no-untyped-call]


def _keys(key: str) -> list[dict[str, str]]:
    return [{"idempotency_key": key if n == 1 else f"{key}:{n}"} for n in range(1, _KEYS + 1)]


async def _settled(call: Coroutine[Any, Any, Any]) -> dict[str, Any]:
    """Return what a call answers that changes nothing: its 5xx is only one more way to be away."""
    try:
        return await _answered(call)
    except _FailedInsideError as error:
        raise StripeAwayError(str(error)) from error


async def _answered(call: Coroutine[Any, Any, Any]) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = (await call).to_dict()
    except stripe.StripeError as error:
        raise _translated(error) from error
    return answer


def _translated(error: stripe.StripeError) -> Exception:
    status = error.http_status
    text = error.user_message or str(error) or type(error).__name__
    if status is None or status in (409, 429):
        return StripeAwayError(text)
    if status >= 500:  # noqa: PLR2004
        return _FailedInsideError(text)
    about_the_key = isinstance(error, (stripe.AuthenticationError, stripe.PermissionError))
    return StripeRefusedError(
        text,
        code=error.code,
        param=getattr(error, "param", None),
        callers_fault=not about_the_key and isinstance(error, (stripe.InvalidRequestError, stripe.CardError)),
    )
