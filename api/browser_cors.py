"""Lets the pages of a shop's origins call the browser routes, and no others."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from api.routes.browser import PREFIX
from core.browser_settings import BrowserSettings

_REMEMBERED_SECONDS = 600


class BrowserCors:
    """Answers preflight requests of the browser routes, and names the allowed origin in their answers."""

    def __init__(self, app: ASGIApp, settings: BrowserSettings) -> None:
        self._app = app
        self._settings = settings
        self._by_origins: dict[tuple[str, ...], CORSMiddleware] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with the rules of the shop in its path."""
        if scope["type"] != "http" or not scope["path"].startswith(f"{PREFIX}/"):
            await self._app(scope, receive, send)
            return
        shop_id = scope["path"].removeprefix(f"{PREFIX}/").partition("/")[0]
        origins = tuple(self._settings.browser_origins_of(shop_id))
        await self._of(origins)(scope, receive, send)

    def _of(self, origins: tuple[str, ...]) -> CORSMiddleware:
        """Return the rules for these origins; there are as many as shops with origins of their own, and one."""
        if origins not in self._by_origins:
            self._by_origins[origins] = CORSMiddleware(
                self._app,
                allow_origins=origins,
                allow_methods=("GET", "POST"),
                allow_headers=("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-ID"),
                expose_headers=("Retry-After", "X-Request-ID"),
                max_age=_REMEMBERED_SECONDS,
            )
        return self._by_origins[origins]
