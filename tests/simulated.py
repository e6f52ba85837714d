"""The Stripe simulator for a test: served over HTTP, called by Stripe's own library, its webhooks taken in."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp
from stripe import HTTPXClient, StripeClient, Webhook

from cli.installation import SIMULATED_STRIPE_KEY
from dev.simulator.account import Account
from dev.simulator.app import create_app
from dev.simulator.config import Config, Endpoint
from tests.stack import NO_TLS, serving
from tests.waiting import until

API_KEY = SIMULATED_STRIPE_KEY
SECRET = "whsec_simulated"


@asynccontextmanager
async def stripe_client(
    url: str, *, api_key: str = API_KEY, patience: float = 120, retries: int = 0
) -> AsyncIterator[StripeClient]:
    """Give Stripe's official client, unchanged, speaking to the simulator at `url`. Use its `..._async` methods."""
    http = HTTPXClient(timeout=patience)
    try:
        yield StripeClient(api_key, base_addresses={"api": url}, http_client=http, max_network_retries=retries)
    finally:
        await http.close_async()  # type: ignore[no-untyped-call]


@dataclass
class Simulated:
    """A running simulator."""

    url: str
    account: Account
    """Its inside, for looking; a test acts through `stripe` and `control`."""
    stripe: StripeClient
    browser: httpx.AsyncClient
    """Follows no redirects."""

    async def control(self, path: str, method: str = "POST", /, **body: Any) -> Any:
        """Call the control API and return its answer."""
        answer = await self.browser.request(method, f"/_simulator{path}", json=body or None)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def books(self, payment: str) -> dict[str, Any]:
        """Return a payment's books, by the id of its PaymentIntent or session."""
        found = await self.control("/payments", "GET")
        books: dict[str, Any] = next(each for each in found if payment in (each["payment_intent"], each["session"]))
        return books


@asynccontextmanager
async def simulated(
    *endpoints: Endpoint, watched_by: Callable[[ASGIApp], ASGIApp] = lambda app: app, **config: Any
) -> AsyncIterator[Simulated]:
    """Run a simulator that retries webhooks quickly; `config` are fields of `dev.simulator.config.Config`."""
    app = create_app(Config(endpoints=endpoints, **{"first_retry": 0.05, "longest_retry": 0.5, **config}))
    async with (
        serving(watched_by(app)) as url,
        httpx.AsyncClient(base_url=url, timeout=120, verify=NO_TLS) as browser,
        stripe_client(url) as stripe,
    ):
        account: Account = app.state.account
        try:
            yield Simulated(url, account, stripe, browser)
        finally:
            account.faults.clear()  # or calls that wait would hold the server up


@dataclass
class Inbox:
    """Takes webhooks in, and refuses those whose signature is wrong."""

    url: str = ""
    secret: str = SECRET
    events: list[dict[str, Any]] = field(default_factory=list)
    """Those answered with 200, each time they came."""
    signatures: list[str] = field(default_factory=list)
    """Of every attempt."""
    refusals: int = 0
    """How many attempts from now on are answered with 500."""

    @property
    def types(self) -> list[str]:
        """What came, in its order."""
        return [event["type"] for event in self.events]

    def clear(self) -> None:
        """Forget what came."""
        self.secret, self.refusals = SECRET, 0
        self.events.clear()
        self.signatures.clear()

    async def wait_for(self, *types: str) -> None:
        """Wait until each of these has come."""
        await until(lambda: set(types) <= set(self.types), f"webhooks {types} have come")

    async def take(self, request: Request) -> Response:
        """Answer one attempt."""
        body = (await request.body()).decode()
        self.signatures.append(request.headers["stripe-signature"])
        event = Webhook.construct_event(body, request.headers["stripe-signature"], self.secret)
        if self.refusals:
            self.refusals -= 1
            return Response(status_code=500)
        self.events.append(event.to_dict())
        return Response()


@asynccontextmanager
async def inbox() -> AsyncIterator[Inbox]:
    """Run an inbox."""
    box = Inbox()
    async with serving(Starlette(routes=[Route("/hook", box.take, methods=["POST"])])) as url:
        box.url = f"{url}/hook"
        yield box
