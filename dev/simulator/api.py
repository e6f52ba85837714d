"""Stripe's v1 API over HTTP: who calls, under which idempotency key, and what the faults make of it."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dev.simulator import actions as shopper
from dev.simulator.account import Call, World
from dev.simulator.errors import StripeError, broken, not_authenticated
from dev.simulator.expand import expand
from dev.simulator.faults import Fault
from dev.simulator.forms import Params, decode
from dev.simulator.idempotency import claim, fingerprint, keep, release
from dev.simulator.ids import new_request_id
from dev.simulator.operations import OPERATIONS, Asked, Operation
from dev.simulator.records import Json
from dev.simulator.waiting import wait

_SERVER_ERROR = 500


def api_routes(world: World) -> list[Route]:
    """Return the routes of the simulated API."""
    unknown = Route("/v1/{path:path}", _unrecognized, methods=["GET", "POST", "DELETE"])
    return [
        *(Route(each.path, _endpoint(world, each), methods=[each.method], name=each.name) for each in OPERATIONS),
        unknown,
    ]


def _endpoint(world: World, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        shopper.tick(world)
        encoded = (await request.body()).decode() if operation.method == "POST" else request.url.query
        return await _Exchange(world, operation, request, new_request_id()).answer(encoded)

    return endpoint


async def _unrecognized(request: Request) -> Response:
    error = StripeError(404, f"Unrecognized request URL ({request.method}: {request.url.path}).")
    return JSONResponse(error.body(new_request_id()), 404)


def base_url_of(world: World, request: Request) -> str:
    """Return the address under which a browser finds the pages."""
    return (world.config.public_url or str(request.base_url)).rstrip("/")


@dataclass
class _Exchange:
    """One API call, from its bytes to its answer."""

    world: World
    operation: Operation
    request: Request
    request_id: str
    key: str | None = None
    fault: Fault | None = None

    async def answer(self, encoded: str) -> Response:
        try:
            account = self._authenticate()
            values = decode(encoded)
            sent = self.request.headers.get("idempotency-key")
            if self.operation.method == "POST" and sent:
                scoped = f"{account}:{sent}"
                kept = claim(self.world, scoped, fingerprint("POST", self.request.url.path, values))
                if kept is not None:
                    return self._respond(kept.status or 0, kept.body, original=kept.request_id)
                self.key = scoped
        except StripeError as error:
            return self._respond(error.status, error.body(self.request_id))
        object_id = next(iter(self.request.path_params.values()), "")
        self.fault = self.world.faults.draw("api", self.operation.name, self._about(object_id, values))
        asked = Asked(object_id, Params(values), base_url_of(self.world, self.request))
        return await self._run(asked)

    async def _run(self, asked: Asked) -> Response:
        fault, before = self.fault, self.fault is not None and self.fault.when == "before"
        if fault is not None and before:
            if fault.effect == "timeout":
                self._give_back()
                return await self._hang(fault)
            if fault.effect == "error":
                return self._error(fault)
            await self._meanwhile(fault, asked)
        status, body, executed = self._execute(asked)
        if fault is not None and not before:
            if fault.effect == "error":
                return self._error(fault)
            if fault.effect != "timeout":
                await self._meanwhile(fault, asked)
        self._keep(status, body, executed=executed)
        if fault is not None and not before and fault.effect == "timeout":
            return await self._hang(fault)
        return self._respond(status, body)

    def _execute(self, asked: Asked) -> tuple[int, Json, bool]:
        self.world.request = (self.request_id, self.request.headers.get("idempotency-key"))
        try:
            paths = asked.params.texts("expand")
            body = self.operation.run(self.world, asked)
            expand(body, paths, self.world.store)
        except StripeError as error:
            return error.status, error.body(self.request_id), error.executed
        finally:
            self.world.request = (None, None)
        return 200, body, True

    async def _meanwhile(self, fault: Fault, asked: Asked) -> None:
        if fault.effect == "pay":
            self._let_the_shopper_pay(fault, asked)
            return
        await wait(self.world.faults.pause(fault), unless=lambda: fault.over)

    def _let_the_shopper_pay(self, fault: Fault, asked: Asked) -> None:
        store = self.world.store
        intent = store.intents.get(asked.id)
        session = store.sessions.get(asked.id if intent is None else intent.session or "")
        try:
            if session is not None:
                shopper.pay(self.world, session, fault.how, late="complete")
            elif intent is not None:
                shopper.pay_intent(self.world, intent, fault.how, asked.base_url)
        except StripeError:
            return  # it was paid or closed already: the moment has passed

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
        known = self.world.config.api_key
        if not key.startswith(("sk_test_", "rk_test_")) if known is None else key != known:
            raise not_authenticated(key)
        return key

    def _about(self, object_id: str, values: Json) -> frozenset[str]:
        named = [object_id, *(str(values[name]) for name in ("payment_intent", "charge") if name in values)]
        metadata = values.get("metadata")
        if isinstance(metadata, dict):
            named += [str(value) for value in metadata.values()]
        sessions = [
            self.world.store.sessions[name].payment_intent for name in named if name in self.world.store.sessions
        ]
        intents = [self.world.store.intents[name].session for name in named if name in self.world.store.intents]
        return frozenset(name for name in [*named, *sessions, *intents] if name is not None)

    def _keep(self, status: int, body: Json, *, executed: bool) -> None:
        if self.key is not None and executed:
            keep(self.world, self.key, status, body, self.request_id)
        else:
            self._give_back()

    def _give_back(self) -> None:
        if self.key is not None:
            release(self.world, self.key)

    def _respond(self, status: int, body: Json, *, original: str | None = None) -> Response:
        self._remember(status, replayed=original is not None)
        headers = {
            "Request-Id": original or self.request_id,
            "Stripe-Version": self.request.headers.get("stripe-version", self.world.config.api_version),
        }
        if sent := self.request.headers.get("idempotency-key"):
            headers["Idempotency-Key"] = sent
        if original is not None:
            headers["Idempotent-Replayed"] = "true"
            headers["Original-Request"] = original
        if status >= _SERVER_ERROR and self.key in self.world.store.answers:
            headers["Stripe-Should-Retry"] = "false"  # the same key would only get the same answer
        return JSONResponse(body, status, headers)

    def _remember(self, status: int | None, *, replayed: bool) -> None:
        self.world.calls.append(
            Call(
                request_id=self.request_id,
                operation=self.operation.name,
                path=self.request.url.path,
                idempotency_key=self.request.headers.get("idempotency-key"),
                status=status,
                replayed=replayed,
                fault=None if self.fault is None else self.fault.effect,
            )
        )
