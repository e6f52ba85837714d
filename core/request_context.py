"""What a log line says of the request that it was written for."""

import os
import re
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any

from domain.names import is_name

REQUEST_ID_PATTERN = r"[A-Za-z0-9._:=/+-]{1,128}"
"""The ids that are taken from callers: UUIDs, trace ids and those that proxies make, without blanks and `@`."""

_REQUEST_ID = re.compile(REQUEST_ID_PATTERN)


class RequestContext:
    """One request to the API: its id, what the router made of it, and the hold that it is about."""

    __slots__ = ("_hold_id", "_scope", "_shop_id", "request_id")

    def __init__(self, scope: Mapping[str, Any], given_id: bytes | None) -> None:
        """Take the caller's id if it is well formed, else make one. `scope` is the server's, as ASGI has it."""
        text = "" if given_id is None else given_id.decode("latin-1")
        self.request_id = text if _REQUEST_ID.fullmatch(text) else os.urandom(16).hex()
        self._shop_id: str | None = None
        self._hold_id: str | None = None
        self._scope = scope

    @property
    def method(self) -> str:
        """The method, of those that exist; callers can invent others."""
        method: str = self._scope["method"]
        return method if method in _METHODS else "other"

    @property
    def route(self) -> str:
        """The path's template, or `unknown` where no route fits."""
        return getattr(self._scope.get("route"), "path", "unknown")

    def note(self, shop_id: object, hold_id: object = None) -> None:
        """Note what the request is about. What cannot be a name is left out: it may be anything, of any length."""
        if isinstance(shop_id, str) and is_name(shop_id):
            self._shop_id = shop_id
            if isinstance(hold_id, str) and is_name(hold_id):
                self._hold_id = hold_id

    def fields(self) -> dict[str, str]:
        """Return what a log line has of the request."""
        if self._hold_id is None:
            in_path = self._scope.get("path_params", {})
            self.note(in_path.get("shopId"), in_path.get("holdId"))
        known = {"request_id": self.request_id, "method": self.method, "route": self.route}
        if self._shop_id is not None:
            known["shop_id"] = self._shop_id
        if self._hold_id is not None:
            known["hold_id"] = self._hold_id
        return known


_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})

current_request: ContextVar[RequestContext | None] = ContextVar("current_request", default=None)
"""The request that the present task works for. It is inherited by the tasks that the request starts."""


def note_hold(shop_id: object, hold_id: object = None) -> None:
    """Note what the present request is about, for its log lines. See `RequestContext.note`."""
    request = current_request.get()
    if request is not None:
        request.note(shop_id, hold_id)


def requests_shop() -> str | None:
    """Return the shop that the present request is about, None if that is unknown or there is no request."""
    request = current_request.get()
    return None if request is None else request.fields().get("shop_id")


def add_request(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the present request's fields to a log record, where it has none of its own. A structlog processor."""
    request = current_request.get()
    return event if request is None else {**request.fields(), **event}
