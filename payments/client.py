"""The calls to Stripe: each may be repeated, keyed by the hold, with its failures told apart once."""

import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import stripe
from stripe import HTTPXClient, StripeClient

from payments import status as standing
from payments.status import Standing, State

CALL_SECONDS = 10.0
"""How long one call waits for its answer."""
_NEW_TRIES = 3
_LONGEST_KEY = 250
"""Stripe's limit is 255; the number of the attempt comes behind."""
IDEMPOTENCY_ERROR = "idempotency_error"
"""The code of a StripeRefusedError where the key was used before with other parameters."""
_EXPAND = ["payment_intent.latest_charge"]
_CLOCK_SKEW = timedelta(minutes=5)


class StripeAwayError(Exception):
    """Stripe did not answer, or not for now. What was asked may have been done: ask again with the same key."""


class StripeRefusedError(Exception):
    """Stripe says no, and will say so again."""

    def __init__(
        self, message: str, *, code: str | None, param: str | None, callers_fault: bool, replayed: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        """The parameter at fault, by Stripe's name."""
        self.callers_fault = callers_fault
        """Whether it is about what was asked for; else it is about the account or the key."""
        self.replayed = replayed
        """Whether it is the answer of an earlier attempt, kept under its key."""


class _FailedInsideError(Exception):
    """Stripe failed with a 5xx, which it keeps under the key."""

    def __init__(self, message: str, *, replayed: bool) -> None:
        super().__init__(message)
        self.replayed = replayed


class Gateway:
    """Stripe's API. Every method raises StripeAwayError while Stripe is out of reach, and StripeRefusedError."""

    def __init__(self, client: StripeClient) -> None:
        self._v1 = client.v1

    async def open_session(self, params: dict[str, Any], key: str, *, begun_at: datetime | None) -> Standing:
        """Open a Checkout Session, or return the one that was opened with the same key.

        After a 5xx, which may have opened one all the same, it is looked for among those since `begun_at` by its
        metadata: nobody gets two pages to pay on. With no `begun_at` it is not looked for.
        """
        for attempt in _attempts(key, each_used_up=True):
            try:
                session = await _answered(self._v1.checkout.sessions.create_async(params, attempt.options))  # type: ignore[arg-type]
                return standing.of_session(session)
            except StripeRefusedError as refusal:
                if not refusal.replayed:
                    raise
                attempt.replayed = True
            except _FailedInsideError as failure:
                attempt.replayed = failure.replayed
                if begun_at and (found := await self._opened_before(params["metadata"], begun_at)):
                    return found
        raise StripeAwayError("Stripe failed at every attempt to open the session")

    async def _opened_before(self, metadata: dict[str, str], begun_at: datetime) -> Standing | None:
        kept = {name: value for name, value in metadata.items() if value}  # Stripe drops what is empty
        since = int((begun_at - _CLOCK_SKEW).timestamp())
        page = await _settled(
            self._v1.checkout.sessions.list_async(
                {"created": {"gte": since}, "limit": 100, "expand": ["data.payment_intent"]}
            )
        )
        while True:
            for session in page["data"]:
                if session.get("metadata") == kept:
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
        for attempt in _attempts(f"{key}:close"):
            found = await self.look(session_id=session_id, intent_id=intent_id)
            cancels = found.state is State.AUTHORIZED and give_back
            if found.state is not State.OPEN and not cancels:
                return found
            try:
                if cancels or session_id is None:
                    target = found.intent_id or intent_id or ""
                    await _answered(self._v1.payment_intents.cancel_async(target, {}, attempt.options))  # type: ignore[arg-type]
                else:
                    await _answered(self._v1.checkout.sessions.expire_async(session_id, {}, attempt.options))  # type: ignore[arg-type]
            except _FailedInsideError as failure:  # it may be done all the same: the look tells
                attempt.replayed = failure.replayed
            except StripeRefusedError as refusal:
                # Ended by another hand, or paid meanwhile: the look tells. Or made by Checkout.
                attempt.replayed = refusal.replayed
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
        """Make the call until the PaymentIntent is as wanted; look before each, as a 500 may have done it.

        A refusal of an earlier attempt is not believed: there may be balance for the refund by now.
        """
        refused: StripeRefusedError | None = None
        for attempt in _attempts(key):
            found = await self.look(intent_id=intent_id)
            if found.state in done:
                return found
            if refused is not None:
                raise refused
            try:
                await _answered(call(attempt.options))
            except StripeRefusedError as refusal:
                attempt.replayed = refusal.replayed
                refused = None if refusal.replayed else refusal
            except _FailedInsideError as failure:
                attempt.replayed = failure.replayed
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


@dataclass
class _Attempt:
    """One try of a call, under a key of its own."""

    options: dict[str, str]
    replayed: bool = False
    """Whether Stripe only repeated what it had answered under this key before."""


def _attempts(key: str, *, each_used_up: bool = False) -> Iterator[_Attempt]:
    """Yield the attempts at a call, with keys in the same order for everybody who repeats it; three that are new.

    Stripe's v1 API keeps the answer under the key, a 500 included: after one, the next attempt needs another key. A
    failure that is only repeated says nothing of today and counts for nothing, or an outage would use up all keys.

    `each_used_up`: a key is left only once Stripe has repeated its failure. One whose 503 was not kept would do the
    call a second time for who comes later and begins with it, after the next key has done it.
    """
    if len(key) > _LONGEST_KEY:
        key = hashlib.sha256(key.encode()).hexdigest()
    n = 1
    new = 0
    while new < _NEW_TRIES:
        attempt = _Attempt({"idempotency_key": key if n == 1 else f"{key}:{n}"})
        yield attempt
        new += not attempt.replayed
        n += attempt.replayed or not each_used_up


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
    replayed = {name.lower() for name in error.headers or {}} >= {"idempotent-replayed"}
    if status is None or status in (409, 429):
        return StripeAwayError(text)
    if status >= 500:  # noqa: PLR2004
        return _FailedInsideError(text, replayed=replayed)
    about_the_key = isinstance(error, (stripe.AuthenticationError, stripe.PermissionError))
    return StripeRefusedError(
        text,
        code=error.code or (IDEMPOTENCY_ERROR if isinstance(error, stripe.IdempotencyError) else None),
        param=getattr(error, "param", None),
        callers_fault=not about_the_key and isinstance(error, (stripe.InvalidRequestError, stripe.CardError)),
        replayed=replayed,
    )
