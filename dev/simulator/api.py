"""Stripe's v1 API over HTTP: authentication, idempotency keys, and faults."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dev.simulator import actions
from dev.simulator.account import Account, Call
from dev.simulator.connect import acting
from dev.simulator.errors import StripeError, broken, not_authenticated
from dev.simulator.expand import expand
from dev.simulator.faults import Fault
from dev.simulator.forms import Params, decode
from dev.simulator.idempotency import claim, fingerprint, keep, release
from dev.simulator.ids import new_request_id
from dev.simulator.operations import OPERATIONS, ApiRequest, Operation
from dev.simulator.records import Json
from dev.simulator.waiting import wait

_SERVER_ERROR = 500


def api_routes(account: Account) -> list[Route]:
    """Return the routes of the simulated API."""
    unknown = Route("/v1/{path:path}", _unrecognized, methods=["GET", "POST", "DELETE"])
    return [
        *(Route(each.path, _endpoint(account, each), methods=[each.method], name=each.name) for each in OPERATIONS),
        unknown,
    ]


def _endpoint(account: Account, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        actions.tick(account)
        encoded = (await request.body()).decode() if operation.method == "POST" else request.url.query
        return await _Exchange(account, operation, request, new_request_id()).answer(encoded)

    return endpoint


async def _unrecognized(request: Request) -> Response:
    error = StripeError(404, f"Unrecognized request URL ({request.method}: {request.url.path}).")
    return JSONResponse(error.body(new_request_id()), 404)


def base_url_of(account: Account, request: Request) -> str:
    """Return the base URL of the pages for a browser."""
    return (account.config.public_url or str(request.base_url)).rstrip("/")


@dataclass
class _Exchange:
    """One API call."""

    account: Account
    operation: Operation
    request: Request
    request_id: str
    key: str | None = None
    fault: Fault | None = None

    async def answer(self, encoded: str) -> Response:
        try:
            key_owner = self._authenticate()
            self.account = acting(self.account, key_owner, self.request.headers.get("stripe-account"))
            values = decode(encoded)
            sent = self.request.headers.get("idempotency-key")
            if self.operation.method == "POST" and sent:
                scoped = f"{key_owner}:{sent}"
                kept = claim(self.account, scoped, fingerprint("POST", self.request.url.path, values))
                if kept is not None:
                    return self._respond(kept.status or 0, kept.body, original=kept.request_id)
                self.key = scoped
        except StripeError as error:
            return self._respond(error.status, error.body(self.request_id))
        object_id = next(iter(self.request.path_params.values()), "")
        self.fault = self.account.faults.draw("api", self.operation.name, self._about(object_id, values))
        api_request = ApiRequest(object_id, Params(values), base_url_of(self.account, self.request))
        return await self._run(api_request)

    async def _run(self, api_request: ApiRequest) -> Response:
        fault, before = self.fault, self.fault is not None and self.fault.when == "before"
        if fault is not None and before:
            if fault.effect == "timeout":
                self._release_key()
                return await self._hang(fault)
            if fault.effect == "error":
                return self._error(fault)
            await self._meanwhile(fault, api_request)
        status, body, executed = self._execute(api_request)
        if fault is not None and not before:
            if fault.effect == "error":
                return self._error(fault)
            if fault.effect != "timeout":
                await self._meanwhile(fault, api_request)
        self._keep(status, body, executed=executed)
        if fault is not None and not before and fault.effect == "timeout":
            return await self._hang(fault)
        return self._respond(status, body)

    def _execute(self, api_request: ApiRequest) -> tuple[int, Json, bool]:
        self.account.request = (self.request_id, self.request.headers.get("idempotency-key"))
        try:
            paths = api_request.params.texts("expand")
            body = self.operation.run(self.account, api_request)
            expand(body, paths, self.account.store)
        except StripeError as error:
            return error.status, error.body(self.request_id), error.executed
        finally:
            self.account.request = (None, None)
        return 200, body, True

    async def _meanwhile(self, fault: Fault, api_request: ApiRequest) -> None:
        if fault.effect == "pay":
            self._pay_meanwhile(fault, api_request)
            return
        await wait(self.account.faults.pause(fault), unless=lambda: fault.over)

    def _pay_meanwhile(self, fault: Fault, api_request: ApiRequest) -> None:
        store = self.account.store
        intent = store.intents.get(api_request.id)
        session = store.sessions.get(api_request.id if intent is None else intent.session or "")
        try:
            if session is not None:
                actions.pay(self.account, session, fault.how, late="complete")
            elif intent is not None:
                actions.pay_intent(self.account, intent, fault.how, api_request.base_url)
        except StripeError:
            return  # already paid or closed

    async def _hang(self, fault: Fault) -> Response:
        self._remember(None, replayed=False)
        gone = asyncio.create_task(self._disconnected())
        await wait(fault.seconds, unless=lambda: fault.over or gone.done())
        gone.cancel()
        return Response(status_code=504)

    async def _disconnected(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
            pass

    def _error(self, fault: Fault) -> Response:
        error = broken(fault.status)
        error.code = fault.code or error.code
        body = error.body(self.request_id)
        self._keep(fault.status, body, executed=fault.stored and error.executed)
        return self._respond(fault.status, body)

    def _authenticate(self) -> str:
        scheme, _, credentials = self.request.headers.get("authorization", "").partition(" ")
        key = credentials.strip()
        if scheme.lower() == "basic":
            try:
                key = base64.b64decode(key).decode().partition(":")[0]
            except ValueError:
                key = ""
        known = self.account.config.api_key
        if key in dict(self.account.own_keys):
            return key
        if not key.startswith(("sk_test_", "rk_test_")) if known is None else key != known:
            raise not_authenticated(key)
        return key

    def _about(self, object_id: str, values: Json) -> frozenset[str]:
        named = [object_id, *(str(values[name]) for name in ("payment_intent", "charge") if name in values)]
        metadata = values.get("metadata")
        if isinstance(metadata, dict):
            named += [str(value) for value in metadata.values()]
        sessions = [
            self.account.store.sessions[name].payment_intent for name in named if name in self.account.store.sessions
        ]
        intents = [self.account.store.intents[name].session for name in named if name in self.account.store.intents]
        return frozenset(name for name in [*named, *sessions, *intents] if name is not None)

    def _keep(self, status: int, body: Json, *, executed: bool) -> None:
        if self.key is not None and executed:
            keep(self.account, self.key, status, body, self.request_id)
        else:
            self._release_key()

    def _release_key(self) -> None:
        if self.key is not None:
            release(self.account, self.key)

    def _respond(self, status: int, body: Json, *, original: str | None = None) -> Response:
        self._remember(status, replayed=original is not None)
        headers = {
            "Request-Id": original or self.request_id,
            "Stripe-Version": self.request.headers.get("stripe-version", self.account.config.api_version),
        }
        if sent := self.request.headers.get("idempotency-key"):
            headers["Idempotency-Key"] = sent
        if original is not None:
            headers["Idempotent-Replayed"] = "true"
            headers["Original-Request"] = original
        if status >= _SERVER_ERROR and self.key in self.account.store.answers:
            headers["Stripe-Should-Retry"] = "false"  # the same key would only get the same answer
        return JSONResponse(body, status, headers)

    def _remember(self, status: int | None, *, replayed: bool) -> None:
        self.account.calls.append(
            Call(
                request_id=self.request_id,
                operation=self.operation.name,
                path=self.request.url.path,
                idempotency_key=self.request.headers.get("idempotency-key"),
                status=status,
                replayed=replayed,
                fault=None if self.fault is None else self.fault.effect,
                account=self.account.id,
            )
        )
