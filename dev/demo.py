"""The demonstration in `holdfast up`: one hold from create to commit, and one checkout to pay, in the shop `demo`."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
from rich.table import Table

from cli.smoke.client import RETRIED_STATUSES
from core.error_messages import first_line

SHOP = "demo"
_TEE = {"sku": "TEE", "productId": "tee", "name": "T-shirt"}
_STOCK: tuple[dict[str, object], ...] = (
    {**_TEE, "variantKey": "size:S", "variantAttributes": {"size": "S"}, "onHand": 50},
    {**_TEE, "variantKey": "size:M", "variantAttributes": {"size": "M"}, "onHand": 1000},
    {"sku": "MUG", "productId": "mug", "name": "Mug", "onHand": 1000, "lowStockThreshold": 5},
    {"sku": "POSTER", "productId": "poster", "name": "Poster", "onHand": 1},
)
_LINES: tuple[dict[str, Any], ...] = (
    {"sku": "TEE", "variantKey": "size:M", "quantity": 1},
    {"sku": "MUG", "quantity": 2},
)
_CART: tuple[dict[str, Any], ...] = (
    {**_LINES[0], "name": "T-shirt, size M", "unitAmount": 2500, "currency": "eur"},
    {**_LINES[1], "name": "Mug", "unitAmount": 1250, "currency": "eur"},
)
_SHIRT: dict[str, Any] = {
    "sku": "TEE",
    "variantKey": "size:M",
    "quantity": 1,
    "name": "T-shirt, size M",
    "description": "Organic cotton",
    "unitAmount": 2500,
    "currency": "eur",
}
_GIFT_WRAP = {"name": "Gift wrap", "unitAmount": 300, "currency": "eur"}
_SHIPS: dict[str, Any] = {
    "shipping_address_collection": {"allowed_countries": ["DE", "AT", "CH"]},
    "shipping_options": [
        {"shipping_rate_data": {"display_name": name, "fixed_amount": {"amount": amount, "currency": "eur"}}}
        for name, amount in (("Post", 490), ("Express", 1490))
    ],
    "automatic_tax": {"enabled": True},
    "allow_promotion_codes": True,
    "invoice_creation": {"enabled": True},
}
_OWN_PAGES: dict[str, dict[str, Any]] = {
    "Embedded": {"ui_mode": "embedded_page", **_SHIPS},
    "Elements": {"ui_mode": "elements"},
}
"""Stripe's parameters of the checkouts on pages of the shop's own."""
_RETRY_SECONDS = 20.0
"""Retried: the worker may still be starting, and every request is idempotent."""


class DemoError(Exception):
    """A demo request failed. The message has the request and its answer."""


@dataclass(frozen=True)
class PayLink:
    """A pay page and the hold that its payment commits."""

    url: str
    hold_id: str
    until: datetime
    """The hold's deadline."""


class _Shop:
    def __init__(self, http: httpx.Client, tokens: Mapping[str, str], check_interrupt: Callable[[], None]) -> None:
        self._http = http
        self._tokens = tokens
        self._check_interrupt = check_interrupt

    def stock(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._ask("GET", f"/inventory/items?shopId={SHOP}")["items"]
        return items

    def put_stock(self) -> None:
        self._ask("PUT", "/inventory/items", {"shopId": SHOP, "items": _STOCK}, role="admin")

    def has_holds(self) -> bool:
        return bool(self._ask("GET", f"/inventory/holds?shopId={SHOP}&limit=1")["holds"])

    def hold(self) -> str | None:
        reference = f"demo-{time.time_ns()}"
        body = {"shopId": SHOP, "items": _LINES, "reference": reference}
        return self._ask("POST", "/inventory/holds", body, key=reference).get("holdId")

    def checkout(self, success_url: str, cancel_url: str) -> dict[str, Any]:
        body = {"shopId": SHOP, "items": _CART, "successUrl": success_url, "cancelUrl": cancel_url}
        return self._ask("POST", "/checkout/sessions", body, key=f"demo-{time.time_ns()}")

    def own_checkout(self, options: Mapping[str, Any]) -> dict[str, Any]:
        body = {"shopId": SHOP, "items": [_SHIRT], "extraLines": [_GIFT_WRAP], "stripe": options}
        return self._ask("POST", "/checkout/sessions", body, key=f"demo-{time.time_ns()}")

    def pay(self, hold_id: str) -> None:
        status = self._ask("POST", f"/inventory/holds/{SHOP}/{hold_id}/commit", {})["status"]
        if status != "committed":
            raise DemoError(f"paying for the demo hold {hold_id} left it {status}")

    def _ask(
        self, method: str, path: str, body: object = None, *, role: str = "authority", key: str | None = None
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._tokens[role]}"} | ({"Idempotency-Key": key} if key else {})
        deadline = time.monotonic() + _RETRY_SECONDS
        while True:
            self._check_interrupt()
            try:
                answer = self._http.request(method, path, json=body, headers=headers)
            except httpx.HTTPError as error:
                raise DemoError(f"{method} {path.partition('?')[0]}: {first_line(error)}") from error
            if answer.status_code not in RETRIED_STATUSES or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        if not answer.is_success:
            raise DemoError(f"{method} {path.partition('?')[0]} was answered {answer.status_code}: {_message(answer)}")
        answered: dict[str, Any] = answer.json()
        return answered


def has_holds(api_url: str, tokens: Mapping[str, str], check_interrupt: Callable[[], None]) -> bool:
    """Return whether an earlier start or a person has made holds in the demo shop. Raises DemoError, as below."""
    with _shop(api_url, tokens, check_interrupt) as shop:
        return shop.has_holds()


def first_hold(api_url: str, tokens: Mapping[str, str], check_interrupt: Callable[[], None]) -> Table | None:
    """Hold a shirt and two mugs, commit, and return a table of the stock before, held and paid.

    Puts the demo stock first if the shop has none. Returns None in the mode `validate_only`, which creates no hold.
    Raises DemoError; `check_interrupt` is called before each request and may raise to give up.
    """
    with _shop(api_url, tokens, check_interrupt) as shop:
        if not shop.stock():
            shop.put_stock()
        before = shop.stock()
        hold_id = shop.hold()
        if hold_id is None:
            return None
        held = shop.stock()
        shop.pay(hold_id)
        return _table(hold_id, {"before": before, "held": held, "paid": shop.stock()})


def pay_link(
    api_url: str, pages: str, tokens: Mapping[str, str], check_interrupt: Callable[[], None]
) -> PayLink | None:
    """Create a checkout session for a shirt and two mugs, on the stock of `first_hold`, and return its pay page.

    `pages` is the simulator's URL: it also serves the shop's return pages. Returns None if the session has
    no hold. Raises DemoError; `check_interrupt` as above.
    """
    with _shop(api_url, tokens, check_interrupt) as shop:
        opened = shop.checkout(f"{pages}/shop/thanks/{{CHECKOUT_SESSION_ID}}", f"{pages}/shop/basket")
    if opened.get("holdId") is None:
        return None
    return PayLink(opened["url"], opened["holdId"], datetime.fromisoformat(opened["expiresAt"]))


def own_pages(
    api_url: str, pages: str, tokens: Mapping[str, str], check_interrupt: Callable[[], None]
) -> dict[str, str]:
    """Hold a shirt for each way to pay on a page of the shop's own, and return the page of each.

    Raises DemoError; the parameters are as of `pay_link`.
    """
    with _shop(api_url, tokens, check_interrupt) as shop:
        back = {"return_url": f"{pages}/shop/thanks/{{CHECKOUT_SESSION_ID}}"}
        opened = {name: shop.own_checkout(options | back) for name, options in _OWN_PAGES.items()}
    return {name: f"{pages}/shop/embedded/{made['checkoutSessionId']}" for name, made in opened.items()}


@contextmanager
def _shop(api_url: str, tokens: Mapping[str, str], check_interrupt: Callable[[], None]) -> Iterator[_Shop]:
    with httpx.Client(base_url=f"{api_url}/api", timeout=15, trust_env=False) as http:
        yield _Shop(http, tokens, check_interrupt)


def _table(hold_id: str, moments: Mapping[str, list[dict[str, Any]]]) -> Table:
    table = Table(title=f"The first hold: {hold_id}", title_justify="left")
    for heading in ("", "item"):
        table.add_column(heading)
    for heading in ("on hand", "held", "available"):
        table.add_column(heading, justify="right")
    names = [(line["sku"], line.get("variantKey", "")) for line in _LINES]
    for moment, items in moments.items():
        by_name = {(item["sku"], item["variantKey"]): item for item in items}
        for position, name in enumerate(names):
            item = by_name[name]
            label = moment if position == 0 else ""
            counts = (str(item["onHand"]), str(item["held"]), str(item["quantity"]))
            table.add_row(label, " ".join(name).strip(), *counts, end_section=position == len(names) - 1)
    return table


def _message(answer: httpx.Response) -> str:
    try:
        body = answer.json()
        return str(body.get("message") or body)
    except (ValueError, AttributeError):
        return answer.text[:200]
