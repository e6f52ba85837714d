"""The asyncio client: the methods of InventoryAuthorityClient, which documents them, as coroutines."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from holdfast_client import calls
from holdfast_client.answers import MAX_BYTES
from holdfast_client.calls import Answer, Call
from holdfast_client.errors import InventoryTimeoutError
from holdfast_client.failures import Failure, connection_failure, pause_before_repeat
from holdfast_client.models import (
    CheckoutItem,
    CheckoutSession,
    ExtraLine,
    Health,
    Hold,
    HoldPage,
    HoldStatus,
    Item,
    NotHeld,
    Order,
    Validated,
)
from holdfast_client.settings import Settings


class AsyncInventoryAuthorityClient:
    """InventoryAuthorityClient for asyncio. A client belongs to one event loop."""

    def __init__(
        self,
        base_url: str | None = None,
        token: str | None = None,
        timeout: float | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = Settings.read(base_url, token, timeout)
        self._http = httpx.AsyncClient(
            base_url=self._settings.origin,
            headers=calls.common_headers(self._settings.token),
            transport=transport,
            verify=httpx.create_ssl_context(),
            trust_env=False,
        )

    async def health_check(self) -> Health:
        """Return the health of Holdfast: `ok`, or `degraded`, which still works. The call is not repeated."""
        return await self._send(calls.health_check())

    async def validate(
        self, shop_id: str, items: Iterable[Item], *, hold_id: str | None = None, reference: str | None = None
    ) -> Validated:
        """See InventoryAuthorityClient."""
        return await self._send(calls.validate(self._settings, shop_id, items, hold_id=hold_id, reference=reference))

    async def create_hold(
        self,
        shop_id: str,
        items: Iterable[Item],
        *,
        ttl_seconds: int | None = None,
        hold_id: str | None = None,
        reference: str | None = None,
        replace: bool = False,
        browser_extensions: int = 0,
        buyer: str | None = None,
        metadata: Mapping[str, str] | None = None,
        warn_before_seconds: int | None = None,
        idempotency_key: str | None = None,
    ) -> Hold | NotHeld:
        """Hold the stock of every item, or of none, until the hold is committed, released or expires."""
        return await self._send(
            calls.create_hold(
                self._settings,
                shop_id,
                items,
                ttl_seconds=ttl_seconds,
                hold_id=hold_id,
                reference=reference,
                replace=replace,
                browser_extensions=browser_extensions,
                buyer=buyer,
                metadata=metadata,
                warn_before_seconds=warn_before_seconds,
                idempotency_key=idempotency_key,
            )
        )

    async def get_hold(self, shop_id: str, hold_id: str) -> Hold:
        """Return the hold in any state. Raises HoldNotFoundError."""
        return await self._send(calls.get_hold(shop_id, hold_id))

    async def find_holds(
        self,
        shop_id: str,
        *,
        status: HoldStatus | Sequence[HoldStatus] | None = None,
        reference: str | None = None,
        buyer: str | None = None,
        sku: str | None = None,
        variant_key: str | None = None,
        payment_intent_id: str | None = None,
        checkout_session_id: str | None = None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        expires_to: datetime | None = None,
        archived: bool = False,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> HoldPage:
        """Return a page of the holds that fit all filters, newest first; `cursor` is that of the page before."""
        filters = {
            "status": status,
            "reference": reference,
            "buyer": buyer,
            "sku": sku,
            "variantKey": variant_key,
            "paymentIntentId": payment_intent_id,
            "checkoutSessionId": checkout_session_id,
            "createdFrom": created_from,
            "createdTo": created_to,
            "expiresTo": expires_to,
            "archived": archived or None,
            "limit": limit,
            "cursor": cursor,
        }
        return await self._send(calls.find_holds(shop_id, filters))

    async def get_order(self, shop_id: str, reference: str) -> Order:
        """Return everything that happened to an order. Raises InventoryAuthorityError if no hold has the reference."""
        return await self._send(calls.get_order(shop_id, reference))

    async def commit(
        self,
        shop_id: str,
        hold_id: str,
        *,
        reason: str | None = None,
        items: Iterable[Item] | None = None,
        paid_elsewhere: bool = False,
    ) -> Hold:
        """Sell the hold's units, or with `items` only those. A hold that sold the same is returned unchanged."""
        return await self._send(calls.commit(shop_id, hold_id, reason, items, paid_elsewhere=paid_elsewhere))

    async def release(self, shop_id: str, hold_id: str, *, reason: str | None = None) -> Hold:
        """Give the hold's units back. A released or expired hold is returned unchanged."""
        return await self._send(calls.release(shop_id, hold_id, reason))

    async def extend(self, shop_id: str, hold_id: str, ttl_seconds: int, *, idempotency_key: str | None = None) -> Hold:
        """Add `ttl_seconds` to the hold's deadline, once for each `idempotency_key`, up to Holdfast's limit."""
        return await self._send(calls.extend(shop_id, hold_id, ttl_seconds, idempotency_key))

    async def amend(
        self,
        shop_id: str,
        hold_id: str,
        *,
        items: Iterable[Item] | None = None,
        reference: str | None = None,
        ttl_seconds: int | None = None,
        buyer: str | None = None,
        idempotency_key: str | None = None,
    ) -> Hold:
        """Change an active hold, all or nothing; what is left out stays. `items` is the whole new set.

        If the answer has a `closed_checkout_session_id`, that page had the old items: open a new one with
        `pay_for_hold`. A repeat with the same key returns the hold as it is now. Raises InsufficientStockError,
        LimitExceededError, PaymentOpenError, PaymentInProgressError, HoldExistsError, HoldNotActiveError,
        HoldNotFoundError, PaymentsUnavailableError.
        """
        return await self._send(
            calls.amend(
                shop_id,
                hold_id,
                items=items,
                reference=reference,
                ttl_seconds=ttl_seconds,
                buyer=buyer,
                idempotency_key=idempotency_key,
            )
        )

    async def pay_for_hold(
        self,
        shop_id: str,
        hold_id: str,
        items: Iterable[CheckoutItem],
        *,
        success_url: str | None = None,
        cancel_url: str | None = None,
        extra_lines: Iterable[ExtraLine] = (),
        stripe: Mapping[str, Any] | None = None,
        capture_method: Literal["automatic", "manual"] | None = None,
        payment_method_types: Sequence[str] | None = None,
        locale: str | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> CheckoutSession:
        """Open a Stripe checkout session for an existing hold, in the place of an open one.

        If `items` differ from those of the hold, the hold is changed to them in the same step.
        Raises what `amend` raises; CheckoutRefusedError, after which the hold goes on without a session.
        """
        return await self._send(
            calls.pay_for_hold(
                shop_id,
                hold_id,
                items,
                success_url=success_url,
                cancel_url=cancel_url,
                extra_lines=extra_lines,
                stripe=stripe,
                capture_method=capture_method,
                payment_method_types=payment_method_types,
                locale=locale,
                metadata=metadata,
                idempotency_key=idempotency_key,
            )
        )

    async def create_checkout_session(
        self,
        shop_id: str,
        items: Iterable[CheckoutItem],
        *,
        success_url: str | None = None,
        cancel_url: str | None = None,
        extra_lines: Iterable[ExtraLine] = (),
        stripe: Mapping[str, Any] | None = None,
        ttl_seconds: int | None = None,
        hold_id: str | None = None,
        reference: str | None = None,
        replace: bool = False,
        browser_extensions: int = 0,
        capture_method: Literal["automatic", "manual"] | None = None,
        payment_method_types: Sequence[str] | None = None,
        locale: str | None = None,
        metadata: Mapping[str, str] | None = None,
        buyer: str | None = None,
        idempotency_key: str | None = None,
    ) -> CheckoutSession:
        """Hold the items as `create_hold` does, and open a Stripe checkout session for them."""
        return await self._send(
            calls.create_checkout_session(
                self._settings,
                shop_id,
                items,
                success_url=success_url,
                cancel_url=cancel_url,
                extra_lines=extra_lines,
                stripe=stripe,
                ttl_seconds=ttl_seconds,
                hold_id=hold_id,
                reference=reference,
                replace=replace,
                browser_extensions=browser_extensions,
                capture_method=capture_method,
                payment_method_types=payment_method_types,
                locale=locale,
                metadata=metadata,
                buyer=buyer,
                idempotency_key=idempotency_key,
            )
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, call: Call[Answer]) -> Answer:
        """Repeat the request until it has an answer, fails for good, or has no time for another attempt."""
        if call.known_answer is not None:
            return call.known_answer
        deadline, attempt = time.monotonic() + self._settings.timeout, 0
        while True:
            started = time.monotonic()
            outcome = await self._attempt(call, deadline - started)
            if not isinstance(outcome, Failure):
                return outcome
            now = time.monotonic()
            pause = pause_before_repeat(outcome, attempt, seconds_taken=now - started, seconds_left=deadline - now)
            if pause is None or not call.repeat:
                raise call.error(outcome)
            await asyncio.sleep(pause)
            attempt += 1

    async def _attempt(self, call: Call[Answer], seconds: float) -> Answer | Failure:
        headers, content, body = call.headers(), call.content(), bytearray()
        request = self._http.stream(call.method, call.path, headers=headers, content=content, timeout=None)
        try:
            async with asyncio.timeout(seconds), request as response:
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        break
        except (httpx.TimeoutException, TimeoutError):
            return Failure(InventoryTimeoutError(f"No answer from Holdfast within {self._settings.timeout:g} s."))
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            return connection_failure(self._settings.origin, error)
        return call.outcome(response.status_code, response.headers, body)
