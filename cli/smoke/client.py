"""HTTP client of `holdfast smoke`: calls the API as a checkout does, for one item of a reserved shop."""

import hashlib
import hmac
import json
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import Any

import httpx

from cli.smoke.steps import SmokeError
from core.error_messages import first_line
from domain.smoke import SMOKE_SHOP

TIMEOUT_SECONDS = 20.0
"""How long one request is repeated, and how long a status change may take."""
_CALL_TIMEOUT_SECONDS = 15.0
_SKUS = tuple(f"smoke-{number}" for number in range(16))
"""Sixteen, so that concurrent runs use different items but the metrics get at most 16 more SKU series."""
_RELEASE = {"reason": "smoke test"}
RETRIED_STATUSES = frozenset({202, 429, 503, 504})
"""Answers after which the same request is repeated, as the API promises it may be: it is under way, or may have had no
effect."""
_CHECK_WORKER = "is a worker running? Run holdfast doctor"
_HINTS = {
    401: "unknown token: set INVENTORY_AUTHORITY_TOKEN and INVENTORY_ADMIN_TOKEN to the API's values",
    403: "the request needs the admin token: set INVENTORY_ADMIN_TOKEN to the API's value",
    503: "the API cannot use Postgres or Temporal, as its health says: run holdfast doctor --faults",
    504: _CHECK_WORKER,
}


@dataclass(frozen=True, slots=True)
class ApiAccess:
    """The API's origin and credentials. Without `webhook_secret` no Stripe webhook can be signed."""

    origin: str
    authority_token: str
    admin_token: str
    webhook_secret: str | None
    live_key: bool = False
    """Whether STRIPE_API_KEY is known to be a live key. The API ignores events of the other mode than its key's."""

    def connect(self) -> httpx.Client:
        """Return an HTTP client for the API, without credentials."""
        return httpx.Client(base_url=self.origin, timeout=_CALL_TIMEOUT_SECONDS, trust_env=False)


class SmokeClient:
    """The reserved shop's requests. Every method raises SmokeError when the response is not the expected one."""

    def __init__(self, http: httpx.Client, access: ApiAccess, timeout: float = TIMEOUT_SECONDS) -> None:
        self._http = http
        self._access = access
        self._timeout = timeout
        self.sku = _SKUS[0]
        self.hold_ids: list[str] = []
        """Holds to release at the end. Recorded before the request, because a failed create may have made the hold."""

    @property
    def can_sign_webhooks(self) -> bool:
        """Whether the Stripe webhook secret is known."""
        return self._access.webhook_secret is not None

    def health(self) -> dict[str, Any]:
        """Return the API's health document, healthy or not."""
        response = self._send("GET", "/api/inventory/health")
        health = _json_object(response) or {}
        if not health.keys() >= {"status", "mode"}:
            raise SmokeError(f"{self._access.origin} is not a Holdfast API: health returned {response.status_code}")
        return health

    def choose_item(self) -> None:
        """Choose an item without stock, so that no concurrent run uses it; else the least recently updated one."""
        items = self._request("GET", f"/api/inventory/items?shopId={SMOKE_SHOP}")["items"]
        updated = {item["sku"]: item["updatedAt"] for item in items if item["onHand"]}
        unused = [sku for sku in _SKUS if sku not in updated]
        self.sku = secrets.choice(unused) if unused else min(_SKUS, key=lambda sku: updated[sku])

    def set_stock(self, on_hand: int) -> None:
        """Set the item's stock on hand."""
        body = {"shopId": SMOKE_SHOP, "items": [{"sku": self.sku, "onHand": on_hand}]}
        self._request("PUT", "/api/inventory/items", body, admin=True)

    def expect_stock(self, available: int, held: int) -> str:
        """Return a description of the item's stock. Raises SmokeError when the counts differ."""
        items = self._request("GET", self._item_path)["items"]
        actual = (items[0]["quantity"], items[0]["held"]) if items else (0, 0)
        if actual != (available, held):
            raise SmokeError(f"{actual[0]} for sale, {actual[1]} held; expected {available} and {held}")
        return f"{available} for sale, {held} held"

    def validate(self, quantity: int, *, expect: int = 200) -> dict[str, Any]:
        """Validate a cart."""
        return self._request("POST", "/api/inventory/validate", self._cart(quantity), expect=expect)

    def hold(self, quantity: int, *, ttl_seconds: int = 600, expect: int = 201) -> dict[str, Any]:
        """Create a hold."""
        hold_id = f"smoke-{uuid.uuid4().hex}"
        self.hold_ids.append(hold_id)
        body = {**self._cart(quantity), "holdId": hold_id, "ttlSeconds": ttl_seconds}
        return self._request("POST", "/api/inventory/holds", body, expect=expect)

    def release(self, hold_id: str) -> dict[str, Any]:
        """Release a hold."""
        return self._request("POST", _hold_path(hold_id, "/release"), _RELEASE)

    def commit(self, hold_id: str) -> dict[str, Any]:
        """Commit a hold through the API, as a shop without Stripe does."""
        return self._request("POST", _hold_path(hold_id, "/commit"), {})

    def send_payment_webhook(self, hold_id: str) -> None:
        """Post the signed `payment_intent.succeeded` webhook that Stripe would send, in the mode of the API's key."""
        for livemode in (self._access.live_key, not self._access.live_key):
            response = self._send_event(hold_id, livemode=livemode)
            if response.status_code != httpx.codes.OK:
                rejected = response.status_code == httpx.codes.BAD_REQUEST
                raise _failure(response, "set STRIPE_WEBHOOK_SECRET to the API's value" if rejected else "")
            if _answer(response).get("result") != "wrong_mode":
                return

    def _send_event(self, hold_id: str, *, livemode: bool) -> httpx.Response:
        now = int(time.time())
        intent = {
            "id": f"pi_smoke_{uuid.uuid4().hex}",
            "object": "payment_intent",
            "metadata": {"inventory_reservation_id": hold_id, "shop_id": SMOKE_SHOP},
            "status": "succeeded",
        }
        event = {
            "id": f"evt_smoke_{uuid.uuid4().hex}",
            "object": "event",
            "type": "payment_intent.succeeded",
            "created": now,
            "livemode": livemode,
            "data": {"object": intent},
        }
        body = json.dumps(event).encode()
        key = (self._access.webhook_secret or "").encode()
        signature = hmac.new(key, f"{now}.".encode() + body, hashlib.sha256).hexdigest()
        headers = {"Stripe-Signature": f"t={now},v1={signature}", "Content-Type": "application/json"}
        return self._send("POST", "/api/webhooks/stripe", content=body, headers=headers)

    def wait_for(self, hold_id: str, status: str, after_seconds: float = 0) -> dict[str, Any]:
        """Wait until an active hold has the status, at most `after_seconds` plus the client's time-out; return it."""
        seconds = after_seconds + self._timeout
        deadline = time.monotonic() + seconds
        while (hold := self._request("GET", _hold_path(hold_id)))["status"] != status:
            if hold["status"] != "active":
                raise SmokeError(f"hold {hold_id} is {hold['status']}, expected {status}")
            if time.monotonic() > deadline:
                raise SmokeError(f"hold {hold_id} is still active after {seconds:g} s: {_CHECK_WORKER}")
            time.sleep(0.02)
        return hold

    def clean_up(self) -> None:
        """Release the holds and set the item's stock to 0. Attempts everything, then raises SmokeError for failures.

        Uses the admin token, which set the stock: the authority token may be what is wrong.
        """
        failures = []
        for hold_id in self.hold_ids:
            try:
                self._release_if_active(hold_id)
            except SmokeError as error:
                failures.append(f"hold {hold_id} of shop {SMOKE_SHOP} may stay active until it expires: {error}")
        try:
            for item in self._request("GET", self._item_path, admin=True)["items"]:
                if item["quantity"]:
                    self.set_stock(item["held"])
        except SmokeError as error:
            failures.append(f"the stock of {self.sku} in shop {SMOKE_SHOP} was not set to 0: {error}")
        if failures:
            raise SmokeError("; ".join(failures))

    def _release_if_active(self, hold_id: str) -> None:
        response = self._send_with_retries("POST", _hold_path(hold_id, "/release"), _RELEASE, admin=True)
        if response.status_code not in (httpx.codes.OK, httpx.codes.NOT_FOUND, httpx.codes.CONFLICT):
            raise _failure(response)

    @property
    def _item_path(self) -> str:
        return f"/api/inventory/items?shopId={SMOKE_SHOP}&sku={self.sku}"

    def _cart(self, quantity: int) -> dict[str, Any]:
        return {"shopId": SMOKE_SHOP, "items": [{"sku": self.sku, "quantity": quantity}]}

    def _request(
        self, method: str, path: str, body: object = None, *, admin: bool = False, expect: int = 200
    ) -> dict[str, Any]:
        response = self._send_with_retries(method, path, body, admin=admin)
        if response.status_code != expect:
            raise _failure(response)
        return _answer(response)

    def _send_with_retries(self, method: str, path: str, body: object, *, admin: bool) -> httpx.Response:
        token = self._access.admin_token if admin else self._access.authority_token
        deadline = time.monotonic() + self._timeout
        while True:
            response = self._send(method, path, json=body, headers={"Authorization": f"Bearer {token}"})
            if response.status_code not in RETRIED_STATUSES or time.monotonic() > deadline:
                return response
            time.sleep(0.2)

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        try:
            return self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise SmokeError(
                f"cannot reach the API at {self._access.origin} ({first_line(error)}): start "
                "`holdfast api`, or correct INVENTORY_AUTHORITY_URL or --url"
            ) from error


def _hold_path(hold_id: str, action: str = "") -> str:
    return f"/api/inventory/holds/{SMOKE_SHOP}/{hold_id}{action}"


def _failure(response: httpx.Response, hint: str = "") -> SmokeError:
    body = _json_object(response) or {}
    reason = body.get("message") or body.get("error") or response.text[:100]
    hint = hint or _HINTS.get(response.status_code, "")
    return SmokeError(
        f"{_request_line(response)} returned {response.status_code} ({reason}){': ' if hint else ''}{hint}"
    )


def _answer(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of a successful response: a proxy may answer 200 with a page of its own."""
    body = _json_object(response)
    if body is None:
        kind = response.headers.get("Content-Type", "no Content-Type")
        raise SmokeError(f"{_request_line(response)} answered something else: {kind}: {response.text[:100]!r}")
    return body


def _request_line(response: httpx.Response) -> str:
    return f"{response.request.method} {response.request.url.path}"


def _json_object(response: httpx.Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
