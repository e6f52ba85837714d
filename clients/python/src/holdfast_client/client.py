"""The synchronous client."""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from holdfast_client import calls
from holdfast_client.answers import MAX_BYTES
from holdfast_client.calls import Answer, Call
from holdfast_client.deadline import DeadlineTransport
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


class InventoryAuthorityClient:
    """Calls Holdfast. Every outcome but success raises an InventoryAuthorityError.

    Arguments default to INVENTORY_AUTHORITY_URL, INVENTORY_AUTHORITY_TOKEN and INVENTORY_AUTHORITY_TIMEOUT. `timeout`
    limits a call with all its repeats, in seconds (default 5, at most 300). Threads may share a client. Close it, or
    use it in a `with` statement. A `transport` of your own, for example for a proxy, applies its time-outs to each
    read, so that a slow answer can take longer. Raises ConfigurationError.
    """

    def __init__(
        self,
        base_url: str | None = None,
        token: str | None = None,
        timeout: float | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._settings = Settings.read(base_url, token, timeout)
        self._http = httpx.Client(
            base_url=self._settings.origin,
            headers=calls.common_headers(self._settings.token),
            transport=transport or DeadlineTransport(),
            trust_env=False,
        )

    def health_check(self) -> Health:
        """Return the health of Holdfast: `ok`, or `degraded`, which still works. The call is not repeated.

        Raises InventoryUnavailableError, with what has failed, if Holdfast cannot work.
        """
        return self._send(calls.health_check())

    def validate(
        self, shop_id: str, items: Iterable[Item], *, hold_id: str | None = None, reference: str | None = None
    ) -> Validated:
        """Check that the whole cart is available now. Nothing is held: two shoppers may both succeed.

        The units of the shopper's own active hold, named by `hold_id` or `reference`, count as available.
        Raises InsufficientStockError, with every short item.
        """
        return self._send(calls.validate(self._settings, shop_id, items, hold_id=hold_id, reference=reference))

    def create_hold(
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
        """Hold the stock of every item, or of none, until the hold is committed, released or expires.

        Returns an active hold, a hold that is committed already, or NotHeld if the mode or a bypass prevents holds.
        A repeat with the same `hold_id` or `idempotency_key` returns the same hold. `ttl_seconds` is 30 to 86400.
        `reference` is the shop's order or cart, which has one active hold at most; `replace` ends an earlier one and
        takes over its units.
        `browser_extensions` is how often (0 to 20) the shopper's browser may extend the hold with its `hold_token`.
        `metadata` (up to 20 texts) comes back with the hold and in its events; `warn_before_seconds` before the
        deadline the event `hold.expiring` is sent.

        Raises InsufficientStockError, with every short item; LimitExceededError; HoldExistsError;
        PaymentInProgressError if an earlier
        hold waits for a bank debit or a voucher; HoldNotActiveError if the hold of this key has been released or has
        expired; IdempotencyConflictError if the key was used for another request.
        """
        return self._send(
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

    def get_hold(self, shop_id: str, hold_id: str) -> Hold:
        """Return the hold in any state. Raises HoldNotFoundError."""
        return self._send(calls.get_hold(shop_id, hold_id))

    def find_holds(
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
        return self._send(calls.find_holds(shop_id, filters))

    def get_order(self, shop_id: str, reference: str) -> Order:
        """Return everything that happened to an order. Raises InventoryAuthorityError if no hold has the reference."""
        return self._send(calls.get_order(shop_id, reference))

    def commit(
        self,
        shop_id: str,
        hold_id: str,
        *,
        reason: str | None = None,
        items: Iterable[Item] | None = None,
        paid_elsewhere: bool = False,
    ) -> Hold:
        """Sell the hold's units, or with `items` only those, and give the others back.

        A hold that sold the same is returned unchanged. Raises HoldNotActiveError if it was released, has expired, or
        sold other units (its status is then `committed`); PaymentNotMadeError if its payment is not made, unless it was
        `paid_elsewhere`, which closes that payment; PaymentsUnavailableError if Stripe does not tell; nothing was
        changed then. InvalidRequestError if it has fewer units than `items`; HoldNotFoundError.
        """
        return self._send(calls.commit(shop_id, hold_id, reason, items, paid_elsewhere=paid_elsewhere))

    def release(self, shop_id: str, hold_id: str, *, reason: str | None = None) -> Hold:
        """Give the hold's units back. A released or expired hold is returned unchanged.

        If the release takes longer than the request, returns the hold still active with `ending` "release".
        Raises HoldNotActiveError if it is committed; HoldNotFoundError.
        """
        return self._send(calls.release(shop_id, hold_id, reason))

    def extend(self, shop_id: str, hold_id: str, ttl_seconds: int, *, idempotency_key: str | None = None) -> Hold:
        """Add `ttl_seconds` to the hold's deadline, once for each `idempotency_key`, up to Holdfast's limit.

        Raises HoldExtendLimitError if the limit is reached already; HoldNotActiveError; HoldNotFoundError.
        """
        return self._send(calls.extend(shop_id, hold_id, ttl_seconds, idempotency_key))

    def amend(
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
        return self._send(
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

    def pay_for_hold(
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
        return self._send(
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

    def create_checkout_session(
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
        """Hold the items as `create_hold` does, and open a Stripe checkout session for them.

        With the shop's own bypass or `validate_only` no session is opened, and `url` is None.
        Raises what `create_hold` raises; CheckoutRefusedError; PaymentsUnavailableError.
        """
        return self._send(
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

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _send(self, call: Call[Answer]) -> Answer:
        """Repeat the request until it has an answer, fails for good, or has no time for another attempt."""
        if call.known_answer is not None:
            return call.known_answer
        deadline, attempt = time.monotonic() + self._settings.timeout, 0
        while True:
            started = time.monotonic()
            outcome = self._attempt(call, deadline - started)
            if not isinstance(outcome, Failure):
                return outcome
            now = time.monotonic()
            pause = pause_before_repeat(outcome, attempt, seconds_taken=now - started, seconds_left=deadline - now)
            if pause is None or not call.repeat:
                raise call.error(outcome)
            time.sleep(pause)
            attempt += 1

    def _attempt(self, call: Call[Answer], seconds: float) -> Answer | Failure:
        headers, content, body = call.headers(), call.content(), bytearray()
        limit = max(seconds, 0.0)
        try:
            with self._http.stream(call.method, call.path, headers=headers, content=content, timeout=limit) as response:
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        break
        except (httpx.TimeoutException, TimeoutError):
            return Failure(InventoryTimeoutError(f"No answer from Holdfast within {self._settings.timeout:g} s."))
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            return connection_failure(self._settings.origin, error)
        return call.outcome(response.status_code, response.headers, body)
