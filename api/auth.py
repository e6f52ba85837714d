"""Who may: the authority token opens the checkout's routes, the admin token all of them."""

import hmac
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from pydantic import SecretStr, StringConstraints

from api.dependencies import context_of
from api.errors import ApiError, Problem
from api.headers import text_of

_BEARER = HTTPBearer(auto_error=False, description="The authority token, or where it says so the admin token.")
_ACTOR_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the token's role, and the name that goes into the records."""

    role: str
    actor: str


def _matches(given: bytes, tokens: Iterable[SecretStr]) -> bool:
    """Compare with every token, in a time that does not tell which or how much of it was right."""
    found = False
    for token in tokens:
        found |= hmac.compare_digest(given, token.get_secret_value().encode())
    return found


def _role(request: Request) -> str:
    """Return the role of the request's token. Raises ApiError 401 without one that is known."""
    scheme, token = get_authorization_scheme_param(request.headers.get("Authorization"))
    if scheme.lower() != "bearer" or not token:
        raise ApiError(Problem.unauthorized, "Send the header: Authorization: Bearer <token>.")
    given = token.encode()
    settings = context_of(request).settings
    if _matches(given, settings.admin_tokens):
        return "admin"
    if _matches(given, settings.authority_tokens):
        return "authority"
    raise ApiError(Problem.unauthorized, "The token is not known.")


class KnownCallersRoute(APIRoute):
    """A route that does not read the body of a request without a known token, nor say what is wrong with it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, behind the look at the token."""
        handle = super().get_route_handler()

        async def handle_known(request: Request) -> Response:
            _role(request)
            return await handle(request)

        return handle_known


async def _caller(  # async, though it awaits nothing: FastAPI hands plain functions to a thread, each time
    request: Request,
    _documented: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    x_actor: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=_ACTOR_LENGTH)] | None,
        Header(alias="X-Actor", description="Who did it, for the records. Default: the token's role."),
    ] = None,
) -> Caller:
    role = _role(request)
    return Caller(role, role if x_actor is None else text_of("X-Actor", x_actor))


async def _admin(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
    if caller.role != "admin":
        raise ApiError(Problem.forbidden)
    return caller


Authority = Annotated[Caller, Depends(_caller)]
Admin = Annotated[Caller, Depends(_admin)]
