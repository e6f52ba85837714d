"""The shop on which `holdfast smoke` buys: an item for each run, the API called as a checkout calls it."""

import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from cli.smoke.steps import SmokeError

SHOP = "holdfast-smoke"
"""Reserved for this: nothing of it is for sale."""
PATIENCE_SECONDS = 20.0
_SKUS = tuple(f"smoke-{number}" for number in range(16))
"""So that runs at the same time have an item each, and the metrics, which have a series for each SKU, 16 at most."""
_ASK_AGAIN = frozenset({202, 429, 503, 504})
"""Not refusals: each of these requests may be repeated as it is."""
_HINTS = {
    401: "the token is not one of the API's: set INVENTORY_AUTHORITY_TOKEN and INVENTORY_ADMIN_TOKEN as it has them",
    403: "the admin token is needed: set INVENTORY_ADMIN_TOKEN as the API has it",
    503: "Postgres or Temporal is out of the API's reach: run holdfast doctor",
    504: "nobody does the work: is a worker running? Run holdfast doctor",
}


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API is, and with what it is asked."""

    origin: str
    authority_token: str
    admin_token: str
    webhook_secret: str | None


class Shop:
    """The reserved shop. Every method raises SmokeError where the answer is not the one that it needs."""

    def __init__(self, http: httpx.Client, access: Access, patience: float = PATIENCE_SECONDS) -> None:
        self._http = http
        self._access = access
        self._patience = patience
        self.sku = _SKUS[0]
        self.holds: list[str] = []
        """Those that may be active, by id; noted before they are asked for."""

    def health(self) -> dict[str, Any]:
        """Return what the API says of itself, healthy or not."""
        answer = self._send("GET", "/api/inventory/health")
        told = _json(answer)
        if "mode" not in told:
            raise SmokeError(f"{self._access.origin} is no Holdfast: its health answered {answer.status_code}")
        return told

    def choose_item(self) -> None:
        """Take an item that no other run has stock of; where there is none, the one that was left alone longest."""
        items = self._ask("GET", f"/api/inventory/items?shopId={SHOP}")["items"]
        stocked = {item["sku"]: item["updatedAt"] for item in items if item["onHand"]}
        free = [sku for sku in _SKUS if sku not in stocked]
        self.sku = secrets.choice(free) if free else min(_SKUS, key=lambda sku: stocked[sku])

    def put_stock(self, on_hand: int) -> None:
        """Set the count of the run's item."""
        body = {"shopId": SHOP, "items": [{"sku": self.sku, "onHand": on_hand}]}
        self._ask("PUT", "/api/inventory/items", body, admin=True)

    def stock(self) -> tuple[int, int]:
        """Return what can be sold of the run's item, and what is held."""
        items = self._ask("GET", self._item_path)["items"]
        return (items[0]["quantity"], items[0]["held"]) if items else (0, 0)

    def expect_stock(self, quantity: int, held: int) -> str:
        """Return the stock in words. Raises SmokeError where it is another."""
        found = self.stock()
        if found != (quantity, held):
            raise SmokeError(f"{found[0]} for sale and {found[1]} held, where it should be {quantity} and {held}")
        return f"{quantity} for sale, {held} held"

    def validate(self, quantity: int, *, expect: int = 200) -> dict[str, Any]:
        """Validate a cart."""
        return self._ask("POST", "/api/inventory/validate", self._cart(quantity), expect=expect)

    def hold(self, quantity: int, *, ttl_seconds: int = 600, expect: int = 201) -> dict[str, Any]:
        """Ask for a hold."""
        hold_id = f"smoke-{uuid.uuid4().hex}"
        self.holds.append(hold_id)
        body = {**self._cart(quantity), "holdId": hold_id, "ttlSeconds": ttl_seconds}
        return self._ask("POST", "/api/inventory/holds", body, expect=expect)

    def read(self, hold_id: str) -> dict[str, Any]:
        """Read a hold."""
        return self._ask("GET", f"/api/inventory/holds/{SHOP}/{hold_id}")

    def release(self, hold_id: str) -> dict[str, Any]:
        """Release a hold."""
        return self._ask("POST", f"/api/inventory/holds/{SHOP}/{hold_id}/release", {"reason": "smoke test"})

    def commit(self, hold_id: str) -> dict[str, Any]:
        """Commit a hold, as a shop does whose payments are not Stripe's."""
        return self._ask("POST", f"/api/inventory/holds/{SHOP}/{hold_id}/commit", {})

    def pay(self, hold_id: str) -> None:
        """Bring the webhook that Stripe sends when a payment has succeeded."""
        metadata = {"inventory_reservation_id": hold_id, "shop_id": SHOP}
        intent = {"id": f"pi_smoke_{uuid.uuid4().hex}", "object": "payment_intent", "metadata": metadata}
        event = {
            "id": f"evt_smoke_{uuid.uuid4().hex}",
            "object": "event",
            "type": "payment_intent.succeeded",
            "created": int(time.time()),
            "livemode": False,
            "data": {"object": {**intent, "status": "succeeded"}},
        }
        body = json.dumps(event).encode()
        answer = self._send("POST", "/api/webhooks/stripe", content=body, headers=self._signature(body))
        if answer.status_code != httpx.codes.OK:
            hint = (
                "set STRIPE_WEBHOOK_SECRET as the API has it" if answer.status_code == httpx.codes.BAD_REQUEST else ""
            )
            raise SmokeError(_complaint("POST", "/api/webhooks/stripe", answer, hint))

    def wait_for(self, hold_id: str, status: str, seconds: float) -> dict[str, Any]:
        """Wait until the hold has the status, and return it."""
        until = time.monotonic() + seconds
        while (hold := self.read(hold_id))["status"] != status:
            if hold["status"] != "active":
                raise SmokeError(f"hold {hold_id} is {hold['status']}, not {status}")
            if time.monotonic() > until:
                hint = "is a worker running? Run holdfast doctor"
                raise SmokeError(f"hold {hold_id} is still active after {seconds:g} s, not {status}: {hint}")
            time.sleep(0.02)
        return hold

    def clean_up(self) -> None:
        """Release what is held and set the item's count to 0. Raises SmokeError, when it has done what it could.

        All by the admin token, which has put the stock: the other one may have been the fault.
        """
        left = []
        for hold_id in self.holds:
            try:
                self._give_back(hold_id)
            except SmokeError as error:
                left.append(f"hold {hold_id} of shop {SHOP} may still be active, until its deadline: {error}")
        try:
            for item in self._ask("GET", self._item_path, admin=True)["items"]:
                if item["quantity"]:
                    self.put_stock(item["held"])
        except SmokeError as error:
            left.append(f"the count of {self.sku} in shop {SHOP} was not set to 0: {error}")
        if left:
            raise SmokeError("; ".join(left))

    def _give_back(self, hold_id: str) -> None:
        path = f"/api/inventory/holds/{SHOP}/{hold_id}/release"
        answer = self._patiently("POST", path, {"reason": "smoke test"}, admin=True)
        if answer.status_code not in (httpx.codes.OK, httpx.codes.NOT_FOUND, httpx.codes.CONFLICT):
            raise SmokeError(_complaint("POST", path, answer, _HINTS.get(answer.status_code, "")))

    @property
    def _item_path(self) -> str:
        return f"/api/inventory/items?shopId={SHOP}&sku={self.sku}"

    def _cart(self, quantity: int) -> dict[str, Any]:
        return {"shopId": SHOP, "items": [{"sku": self.sku, "quantity": quantity}]}

    def _ask(
        self, method: str, path: str, body: object = None, *, admin: bool = False, expect: int = 200
    ) -> dict[str, Any]:
        answer = self._patiently(method, path, body, admin=admin)
        if answer.status_code != expect:
            raise SmokeError(_complaint(method, path, answer, _HINTS.get(answer.status_code, "")))
        return _json(answer)

    def _patiently(self, method: str, path: str, body: object, *, admin: bool) -> httpx.Response:
        token = self._access.admin_token if admin else self._access.authority_token
        until = time.monotonic() + self._patience
        while True:
            answer = self._send(method, path, json=body, headers={"Authorization": f"Bearer {token}"})
            if answer.status_code not in _ASK_AGAIN or time.monotonic() > until:
                return answer
            time.sleep(0.2)

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        try:
            return self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise SmokeError(
                f"{self._access.origin} does not answer ({error or type(error).__name__}): is `holdfast api` running "
                "there? INVENTORY_AUTHORITY_URL or --url names another address"
            ) from error

    def _signature(self, body: bytes) -> Mapping[str, str]:
        at = int(time.time())
        secret = (self._access.webhook_secret or "").encode()
        signed = hmac.new(secret, f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        return {"Stripe-Signature": f"t={at},v1={signed}", "Content-Type": "application/json"}


def _complaint(method: str, path: str, answer: httpx.Response, hint: str) -> str:
    told = _json(answer)
    said = told.get("message") or told.get("error") or answer.text[:100]
    return f"{method} {path.partition('?')[0]} was answered {answer.status_code} ({said}){': ' if hint else ''}{hint}"


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
