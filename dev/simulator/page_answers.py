"""Answers with pages: their headers, and errors as pages."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from dev.simulator import actions, html
from dev.simulator.account import Account
from dev.simulator.errors import StripeError
from dev.simulator.forms import Params, decode

Handler = Callable[[Account, Request, Params], Response | Awaitable[Response]]


def answer_page(body: str, status: int = 200, *, framed: bool = False, framing: bool = False) -> HTMLResponse:
    """Return a page. `framed`: a page of any shop may show it; `framing`: it shows such frames itself."""
    # No form-action: Chromium would apply it to the redirect to the shop, too.
    policy = ["default-src 'none'", "style-src 'unsafe-inline'", "base-uri 'none'"]
    policy.append(f"frame-ancestors {'*' if framed else chr(39) + 'none' + chr(39)}")
    if framed or framing:
        policy += ["script-src 'self'", "connect-src 'self'", "frame-src 'self'"]
    headers = {
        "Content-Security-Policy": "; ".join(policy),
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(body, status, headers)


def endpoint(account: Account, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a page."""

    async def answer(request: Request) -> Response:
        actions.tick(account)
        body = (await request.body()).decode("utf-8", "replace")
        try:
            is_json = request.headers.get("content-type", "").startswith("application/json")
            owner = account.owner_of(request.path_params.get("id"))
            found = handler(owner, request, Params({} if is_json else decode(body), raw=body))
            return found if isinstance(found, Response) else await found
        except StripeError as error:
            framed = request.url.path.startswith(("/c/embed/", "/c/element/"))
            return answer_page(html.message("This did not work", error.message), error.status, framed=framed)

    return answer
