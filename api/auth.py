"""Who may: the authority token opens the checkout's routes, the admin token all of them."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr

from api.context import context_of
from api.errors import ApiError, Problem, invalid

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


def _caller(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    x_actor: Annotated[
        str | None, Header(description="Who did it, for the records; at most 64 characters. Default: the token's role.")
    ] = None,
) -> Caller:
    if credentials is None:
        raise ApiError(Problem.unauthorized, "Send the header: Authorization: Bearer <token>.")
    given = credentials.credentials.encode(errors="surrogateescape")
    settings = context_of(request).settings
    if _matches(given, settings.admin_tokens):
        role = "admin"
    elif _matches(given, settings.authority_tokens):
        role = "authority"
    else:
        raise ApiError(Problem.unauthorized, "The token is not known.")
    if x_actor is not None and not (0 < len(x_actor) <= _ACTOR_LENGTH and x_actor.isprintable()):
        raise invalid("X-Actor", f"must be 1 to {_ACTOR_LENGTH} printable characters")
    return Caller(role, x_actor or role)


def _admin(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
    if caller.role != "admin":
        raise ApiError(Problem.forbidden)
    return caller


Authority = Annotated[Caller, Depends(_caller)]
Admin = Annotated[Caller, Depends(_admin)]
