"""The calls to Stripe's API. Each may be repeated: its idempotency keys are derived from the hold or the payment."""

import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import stripe
from stripe import StripeClient

from payments.errors import IDEMPOTENCY_ERROR, StripeRefusedError, StripeUnavailableError
from payments.status import PaymentState, PaymentStatus, status_of_intent, status_of_session

CALL_SECONDS = 10.0
"""The time-out of one HTTP request."""
_NEW_FAILURES = 3
"""After so many failures in one call the caller is asked to come again."""
_LONGEST_KEY = 250
"""Stripe's limit is 255; `:2`, `:3` and so on are appended for later attempts."""
_EXPAND = ["payment_intent.latest_charge"]
_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class IntentPage:
    """PaymentIntents, newest first, and the position after which the next page begins (None: this was the last)."""

    intents: tuple[PaymentStatus, ...]
    next_after: str | None


class _ServerError(Exception):
    """Stripe answered 5xx. The request may have been executed, and Stripe may repeat the answer for this key."""

    def __init__(self, message: str, *, replayed: bool) -> None:
        super().__init__(message)
        self.replayed = replayed


class PaymentClient:
    """Stripe's API for payments.

    Every method raises StripeUnavailableError while Stripe gives no final answer, and StripeRefusedError.
    """

    def __init__(self, client: StripeClient) -> None:
        self._v1 = client.v1

    async def open_session(self, params: dict[str, Any], key: str, *, begun_at: datetime | None) -> PaymentStatus:
        """Create a Checkout Session, or return the one that was created with the same key.

        A 5xx may have created one all the same, so the sessions created since `begun_at` are searched for one with
        the same metadata: a second session would let the shopper pay twice. Without `begun_at` nothing is searched.
        """
        attempts = _Attempts(key, reuse_key_until_replayed=True)
        while attempts.left:
            try:
                session = await _call(self._v1.checkout.sessions.create_async(params, attempts.options))  # type: ignore[arg-type]
            except StripeRefusedError as refusal:
                if not refusal.replayed:
                    raise
                attempts.record(replayed=True)
            except _ServerError as failure:
                attempts.record(replayed=failure.replayed)
                if begun_at and (found := await self._find_session(params["metadata"], begun_at)):
                    return found
            else:
                return status_of_session(session)
        raise StripeUnavailableError("Stripe failed at every attempt to create the session")

    async def _find_session(self, metadata: dict[str, str], begun_at: datetime) -> PaymentStatus | None:
        stored = {name: value for name, value in metadata.items() if value}  # Stripe drops empty values
        since = int((begun_at - _CLOCK_SKEW).timestamp())
        query: dict[str, Any] = {"created": {"gte": since}, "limit": 100, "expand": ["data.payment_intent"]}
        while True:
            page = await _read(self._v1.checkout.sessions.list_async(query))  # type: ignore[arg-type]
            for session in page["data"]:
                if session.get("metadata") == stored:
                    return status_of_session(session)
            if not page["has_more"]:
                return None
            query["starting_after"] = page["data"][-1]["id"]

    async def check(self, *, session_id: str | None = None, intent_id: str | None = None) -> PaymentStatus:
        """Retrieve the status of a payment by its session, or else by its PaymentIntent; one of the two is given."""
        try:
            if session_id is not None:
                session = await _read(self._v1.checkout.sessions.retrieve_async(session_id, {"expand": [*_EXPAND]}))
                return status_of_session(session)
            assert intent_id is not None  # noqa: S101 - one of the two is given
            intent = await _read(self._v1.payment_intents.retrieve_async(intent_id, {"expand": ["latest_charge"]}))
            return status_of_intent(intent)
        except StripeRefusedError as refusal:
            if refusal.code == "resource_missing":
                return PaymentStatus(PaymentState.UNKNOWN, session_id=session_id, intent_id=intent_id)
            raise

    async def list_intents(
        self, *, since: datetime, until: datetime, after: str | None = None, limit: int = 100
    ) -> IntentPage:
        """Return a page of the PaymentIntents that were made from `since` until before `until`, newest first.

        `after` is the `next_after` of the page before.
        """
        query: dict[str, Any] = {
            "created": {"gte": int(since.timestamp()), "lt": int(until.timestamp())},
            "limit": limit,
            "expand": ["data.latest_charge"],
        }
        if after is not None:
            query["starting_after"] = after
        page = await _read(self._v1.payment_intents.list_async(query))  # type: ignore[arg-type]
        found = tuple(status_of_intent(intent) for intent in page["data"])
        return IntentPage(found, page["data"][-1]["id"] if page["has_more"] else None)

    async def close(
        self, key: str, *, session_id: str | None = None, intent_id: str | None = None, cancel_authorized: bool
    ) -> PaymentStatus:
        """Expire the session or cancel the PaymentIntent, and return the status after that, which is never OPEN.

        `cancel_authorized`: an authorised payment is cancelled too; otherwise it is left for the capture. Stripe
        refuses to close what was paid meanwhile; then the status says that it is paid.
        """
        attempts = _Attempts(f"{key}:close")
        closed = False
        while True:
            found = await self.check(session_id=session_id, intent_id=intent_id)
            cancels = found.state is PaymentState.AUTHORIZED and cancel_authorized
            if found.state is not PaymentState.OPEN and not cancels:
                return replace(found, closed=closed and found.state is PaymentState.UNPAYABLE)
            if not attempts.left:
                raise StripeUnavailableError("the payment could not be closed yet")
            replayed = False
            try:
                if cancels or session_id is None:
                    target = found.intent_id or intent_id or ""
                    await _call(self._v1.payment_intents.cancel_async(target, {}, attempts.options))  # type: ignore[arg-type]
                else:
                    await _call(self._v1.checkout.sessions.expire_async(session_id, {}, attempts.options))  # type: ignore[arg-type]
                closed = True
            except _ServerError as failure:
                replayed = failure.replayed
            except StripeRefusedError as refusal:
                # It was closed or paid meanwhile, which the next check shows; or a session made this PaymentIntent,
                # and Stripe closes it only by that session.
                replayed = refusal.replayed
                session_id = session_id or await self.session_of(found.intent_id or "")
            attempts.record(replayed=replayed)

    async def session_of(self, intent_id: str) -> str | None:
        """Return the id of the session that made the PaymentIntent, None for one that the shop made itself."""
        page = await _read(self._v1.checkout.sessions.list_async({"payment_intent": intent_id, "limit": 1}))
        return next((session["id"] for session in page["data"]), None)

    async def capture(self, intent_id: str, key: str) -> PaymentStatus:
        """Capture an authorised payment. One that is captured already is left as it is."""
        return await self._ensure(
            intent_id,
            key,
            done={PaymentState.PAID, PaymentState.REFUNDED},
            call=lambda options: self._v1.payment_intents.capture_async(intent_id, {}, options),  # type: ignore[arg-type]
        )

    async def refund_or_cancel(self, intent_id: str, key: str, metadata: dict[str, str]) -> PaymentStatus:
        """Refund the rest of what was paid, or cancel what was only authorised. Nothing is refunded twice."""
        done = {PaymentState.UNPAYABLE, PaymentState.REFUNDED}
        found = await self.check(intent_id=intent_id)
        if found.state is PaymentState.AUTHORIZED:
            return await self._ensure(
                intent_id,
                f"{key}:cancel",
                done=done,
                call=lambda options: self._v1.payment_intents.cancel_async(intent_id, {}, options),  # type: ignore[arg-type]
            )
        refund: dict[str, Any] = {"payment_intent": intent_id, "metadata": metadata}
        if found.application_fee:  # else the platform would keep its fee of an order that nobody gets
            refund["refund_application_fee"] = True
        if found.transferred:  # else the platform would pay for what it transferred to the connected account
            refund["reverse_transfer"] = True
        return await self._ensure(
            intent_id,
            key,
            done=done,
            call=lambda options: self._v1.refunds.create_async(refund, options),  # type: ignore[arg-type]
        )

    async def _ensure(
        self,
        intent_id: str,
        key: str,
        *,
        done: set[PaymentState],
        call: Callable[[dict[str, str]], Coroutine[Any, Any, Any]],
    ) -> PaymentStatus:
        """Repeat the call until the PaymentIntent is in one of the states `done`.

        The status is checked before each attempt, because a 5xx may have executed the call. A replayed refusal is
        out of date: for example, the balance may suffice for the refund by now.
        """
        attempts = _Attempts(key)
        while attempts.left:
            found = await self.check(intent_id=intent_id)
            if found.state in done:
                return found
            try:
                await _call(call(attempts.options))
            except StripeRefusedError as refusal:
                if not refusal.replayed:
                    found = await self.check(intent_id=intent_id)
                    if found.state in done:  # by another process meanwhile
                        return found
                    raise
                attempts.record(replayed=True)
            except _ServerError as failure:
                attempts.record(replayed=failure.replayed)
            else:
                return await self.check(intent_id=intent_id)
        raise StripeUnavailableError("Stripe failed at every attempt")


class _Attempts:
    """The idempotency keys of one call, `key`, `key:2`, `key:3` and so on, and how many attempts are left.

    Stripe stores the answer to a key, a 500 included, and replays it: after that only another key can succeed.
    Everybody who repeats the call walks through the same keys in the same order. A replayed answer says nothing about
    the present and does not count, or an outage would use up all attempts of later calls.

    `reuse_key_until_replayed`: take the next key only once Stripe has replayed a failure of this one. A 503 that
    Stripe did not store leaves its key unused: whoever repeats the call begins with that key and would execute the
    call a second time, after the next key has executed it.
    """

    def __init__(self, key: str, *, reuse_key_until_replayed: bool = False) -> None:
        self._key = key if len(key) <= _LONGEST_KEY else hashlib.sha256(key.encode()).hexdigest()
        self._reuse_key = reuse_key_until_replayed
        self._number = 1
        self._new_failures = 0

    @property
    def left(self) -> bool:
        """Whether to make another attempt."""
        return self._new_failures < _NEW_FAILURES

    @property
    def options(self) -> dict[str, str]:
        """The request options of the next attempt."""
        return {"idempotency_key": self._key if self._number == 1 else f"{self._key}:{self._number}"}

    def record(self, *, replayed: bool) -> None:
        """Record that an attempt did not reach its aim; `replayed`: Stripe only repeated a stored answer."""
        if not replayed:
            self._new_failures += 1
        if replayed or not self._reuse_key:
            self._number += 1


async def _read(call: Coroutine[Any, Any, Any]) -> dict[str, Any]:
    """Return the answer to a call that changes nothing, so that a 5xx has no consequences."""
    try:
        return await _call(call)
    except _ServerError as error:
        raise StripeUnavailableError(str(error)) from error


async def _call(call: Coroutine[Any, Any, Any]) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = (await call).to_dict()
    except stripe.StripeError as error:
        raise _translate(error) from error
    return answer


def _translate(error: stripe.StripeError) -> Exception:
    status = error.http_status
    text = error.user_message or str(error) or type(error).__name__
    replayed = "idempotent-replayed" in {name.lower() for name in error.headers or {}}
    if status is None or status in (409, 429):
        return StripeUnavailableError(text)
    if status >= 500:  # noqa: PLR2004
        return _ServerError(text, replayed=replayed)
    about_the_key = isinstance(error, (stripe.AuthenticationError, stripe.PermissionError))
    return StripeRefusedError(
        text,
        code=error.code or (IDEMPOTENCY_ERROR if isinstance(error, stripe.IdempotencyError) else None),
        param=getattr(error, "param", None),
        callers_fault=not about_the_key and isinstance(error, (stripe.InvalidRequestError, stripe.CardError)),
        replayed=replayed,
    )
