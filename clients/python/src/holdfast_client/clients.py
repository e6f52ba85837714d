"""The two clients: the same calls and the same conversation, once with threads that wait and once with asyncio."""

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from holdfast_client.calls import Calls
from holdfast_client.exchange import Broken, Call, Heard, Known, Pause, Reply, Send, converse
from holdfast_client.settings import Settings
from holdfast_client.wire import BoundedTransport

Answer = TypeVar("Answer")
Given = ParamSpec("Given")

_BREAKS = (httpx.HTTPError, httpx.StreamError, OSError)


def _waiting(
    ask: Callable[Concatenate[Calls, Given], Call[Answer] | Known[Answer]],
) -> Callable[Concatenate["InventoryAuthorityClient", Given], Answer]:
    """Return the call as a method that returns its answer."""

    @functools.wraps(ask)
    def method(client: "InventoryAuthorityClient", /, *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        return client._do(ask(client._calls, *args, **kwargs))  # noqa: SLF001 - its own method

    return method


def _awaited(
    ask: Callable[Concatenate[Calls, Given], Call[Answer] | Known[Answer]],
) -> Callable[Concatenate["AsyncInventoryAuthorityClient", Given], Coroutine[Any, Any, Answer]]:
    """Return the call as a coroutine method."""

    @functools.wraps(ask)
    async def method(client: "AsyncInventoryAuthorityClient", /, *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        return await client._do(ask(client._calls, *args, **kwargs))  # noqa: SLF001 - its own method

    return method


class InventoryAuthorityClient:
    """Asks Holdfast, and returns nothing that Holdfast did not say: every other end is an InventoryAuthorityError.

    What is not given is read from INVENTORY_AUTHORITY_URL, INVENTORY_AUTHORITY_TOKEN and INVENTORY_AUTHORITY_TIMEOUT.
    `timeout` bounds a call with all its repeats, in seconds, 5 unless set. May be shared by threads; close it, or use
    it in a `with`. `transport` replaces the way to the network (a proxy, another certificate authority): its time-outs
    are then for each read, and an answer that drips in can take longer. Raises ConfigurationError.
    """

    def __init__(
        self,
        base_url: str | None = None,
        token: str | None = None,
        timeout: float | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._calls = Calls(Settings.read(base_url, token, timeout))
        self._http = httpx.Client(transport=transport or BoundedTransport(), trust_env=False)

    health_check = _waiting(Calls.health_check)
    validate = _waiting(Calls.validate)
    create_hold = _waiting(Calls.create_hold)
    get_hold = _waiting(Calls.get_hold)
    commit = _waiting(Calls.commit)
    release = _waiting(Calls.release)
    extend = _waiting(Calls.extend)
    create_checkout_session = _waiting(Calls.create_checkout_session)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _do(self, call: Call[Answer] | Known[Answer]) -> Answer:
        if isinstance(call, Known):
            return call.answer
        talk, heard = converse(call, self._calls.settings), None
        try:
            while True:
                match talk.send(heard):
                    case Send() as send:
                        heard = self._hear(send)
                    case Pause(seconds):
                        time.sleep(seconds)
                        heard = None
        except StopIteration as end:
            answer: Answer = end.value
            return answer

    def _hear(self, send: Send) -> Heard:
        try:
            with self._http.stream(**_request(send)) as response:
                reply = _reply(response)
                for chunk in response.iter_raw():
                    if not reply.add(chunk):
                        break
                return reply
        except _BREAKS as error:
            return _broken(error)


class AsyncInventoryAuthorityClient:
    """InventoryAuthorityClient for asyncio: the same calls, each to be awaited. Belongs to one event loop."""

    def __init__(
        self,
        base_url: str | None = None,
        token: str | None = None,
        timeout: float | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._calls = Calls(Settings.read(base_url, token, timeout))
        self._http = httpx.AsyncClient(transport=transport, verify=httpx.create_ssl_context(), trust_env=False)

    health_check = _awaited(Calls.health_check)
    validate = _awaited(Calls.validate)
    create_hold = _awaited(Calls.create_hold)
    get_hold = _awaited(Calls.get_hold)
    commit = _awaited(Calls.commit)
    release = _awaited(Calls.release)
    extend = _awaited(Calls.extend)
    create_checkout_session = _awaited(Calls.create_checkout_session)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def _do(self, call: Call[Answer] | Known[Answer]) -> Answer:
        if isinstance(call, Known):
            return call.answer
        talk, heard = converse(call, self._calls.settings), None
        try:
            while True:
                match talk.send(heard):
                    case Send() as send:
                        heard = await self._hear(send)
                    case Pause(seconds):
                        await asyncio.sleep(seconds)
                        heard = None
        except StopIteration as end:
            answer: Answer = end.value
            return answer

    async def _hear(self, send: Send) -> Heard:
        try:
            async with asyncio.timeout(send.seconds), self._http.stream(**_request(send)) as response:
                reply = _reply(response)
                async for chunk in response.aiter_raw():
                    if not reply.add(chunk):
                        break
                return reply
        except (*_BREAKS, TimeoutError) as error:
            return _broken(error)


def _request(send: Send) -> dict[str, Any]:
    return {
        "method": send.method,
        "url": send.url,
        "headers": send.headers,
        "content": send.content,
        "timeout": max(send.seconds, 0.0),
    }


def _reply(response: httpx.Response) -> Reply:
    headers = response.headers
    return Reply(response.status_code, headers.get("Retry-After"), headers.get("Content-Encoding"))


def _broken(error: Exception) -> Broken:
    timed_out = isinstance(error, (httpx.TimeoutException, TimeoutError))
    return Broken(str(error) or type(error).__name__, timed_out)
