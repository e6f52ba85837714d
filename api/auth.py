"""Authentication: the authority token is for the checkout's routes, the admin token for all."""

import hmac
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from pydantic import SecretStr, StringConstraints

from api.admission import ROUTES
from api.dependencies import resources_of
from api.errors import ApiError
from api.headers import text_of
from api.json_body import JsonRequest
from api.problems import Problem
from core.request_context import note_hold
from holds.errors import RequestTimeoutError

_BEARER = HTTPBearer(auto_error=False, description="The authority token, or where it says so the admin token.")
_ACTOR_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Caller:
    """The token's role, and the actor that is recorded with a change."""

    role: str
    actor: str


def _matches(given: bytes, tokens: Iterable[SecretStr]) -> bool:
    """Compare with every token in constant time."""
    found = False
    for token in tokens:
        found |= hmac.compare_digest(given, token.get_secret_value().encode())
    return found


def _role(request: Request) -> str:
    """Return the role of the request's token. Raises the 401 for a missing or unknown token."""
    scheme, token = get_authorization_scheme_param(request.headers.get("Authorization"))
    if scheme.lower() != "bearer" or not token:
        raise ApiError(Problem.unauthorized, "Send the header: Authorization: Bearer <token>.")
    given = token.encode()
    settings = resources_of(request).settings
    if _matches(given, settings.admin_tokens):
        return "admin"
    if _matches(given, settings.authority_tokens):
        return "authority"
    raise ApiError(Problem.unauthorized, "The token is unknown.")


class KnownCallersRoute(APIRoute):
    """A route that neither reads nor validates the body of a request without a known token."""

    def check_token(self, request: Request) -> None:
        """Raise the 401 unless the request has a token for this route."""
        _role(request)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, which checks the token first, then lets the request in or refuses it (`Admission`)."""
        handle = super().get_route_handler()
        importance = ROUTES.get(self.name)

        async def handle_known(request: Request) -> Response:
            known = JsonRequest(request.scope, request.receive)
            self.check_token(known)
            if importance is None:
                return await handle(known)
            async with resources_of(known).admission.admitted(importance, await _shop_of(known), known) as passage:
                try:
                    response = await handle(known)
                except RequestTimeoutError:
                    passage.timed_out = True
                    raise
                passage.did_its_work = response.status_code == (self.status_code or 200)
                return response

        return handle_known


async def _shop_of(request: JsonRequest) -> str:
    """Return the shop that a request is about, before it is validated: an empty text if it names none."""
    named = request.path_params.get("shopId") or request.query_params.get("shopId")
    note_hold(named)
    if named is None and request.method == "POST":
        with suppress(ApiError, ValueError, RecursionError):  # answered when the body is validated
            body = await request.json()
            named = body.get("shopId") if isinstance(body, dict) else None
    return named if isinstance(named, str) else ""


async def _caller(  # async, though it awaits nothing: FastAPI hands plain functions to a thread, each time
    request: Request,
    _documented: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    x_actor: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=_ACTOR_LENGTH)] | None,
        Header(alias="X-Actor", description="Recorded with the change. Default: the token's role."),
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
