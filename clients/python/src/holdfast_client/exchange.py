"""A call as a conversation without I/O: what to send, what the answer means, when to ask again or give up."""

import json
import logging
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from holdfast_client.errors import (
    InvalidRequestError,
    InventoryAuthorityError,
    InventoryTimeoutError,
    InventoryUnavailableError,
    MalformedAnswerError,
)
from holdfast_client.fields import Fields, parsed
from holdfast_client.refusals import Refusal, refusal
from holdfast_client.settings import Settings

Answer = TypeVar("Answer")

MOST_BYTES = 1024 * 1024
"""Of an answer. The largest hold that a request of 256 KiB can make is told in less."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_log = logging.getLogger("holdfast_client")


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """A request that may be sent as often as need be: reading, or keyed so that it is done once."""

    method: str
    path: str
    read: Callable[[Fields], Answer]
    """Raises MalformedAnswerError for what is no answer to this call."""
    expects: frozenset[int] = frozenset({200})
    body: dict[str, Any] | None = None
    idempotency_key: str | None = None
    hold_id: str | None = None
    repeat: bool = True


@dataclass(frozen=True, slots=True)
class Known(Generic[Answer]):
    """An answer that needs no call."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Send:
    """To be sent now, and given up after so many seconds, connecting and reading included."""

    method: str
    url: str
    headers: list[tuple[bytes, bytes]]
    content: bytes | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """To be waited before going on."""

    seconds: float


@dataclass(slots=True)
class Reply:
    """What came back, as its bytes come in."""

    status: int
    retry_after: str | None
    """The header Retry-After."""
    encoding: str | None
    """The header Content-Encoding."""
    body: bytearray = field(default_factory=bytearray)

    def add(self, chunk: bytes) -> bool:
        """Take in a chunk, and tell whether to go on: not once it is more than any answer of Holdfast's."""
        self.body += chunk
        return len(self.body) <= MOST_BYTES

    def fields(self) -> Fields:
        """Return what it says. Raises MalformedAnswerError unless it is a JSON object of sensible size."""
        if len(self.body) > MOST_BYTES:
            raise MalformedAnswerError(f"Holdfast's answer ({self.status}) is over {MOST_BYTES} bytes.")
        if self.encoding not in (None, "", "identity"):  # unasked for; a small one can unpack to a huge one
            raise MalformedAnswerError(f"Holdfast's answer ({self.status}) is encoded: {self.encoding!r:.40}.")
        return parsed(self.status, self.body)


@dataclass(frozen=True, slots=True)
class Broken:
    """No whole answer came: the connection was not made or broke, or the time was up."""

    why: str
    timed_out: bool = False


Heard = Reply | Broken | None
Talk = Generator[Send | Pause, Heard, Answer]


def converse(
    call: Call[Answer],
    settings: Settings,
    *,
    clock: Callable[[], float] = time.monotonic,
    dice: Callable[[], float] = random.random,
) -> Talk[Answer]:
    """Yield what to do next, until there is an answer (returned) or an InventoryAuthorityError (raised).

    A Send is to be answered with what was heard, a Pause with None. All of it ends within `settings.timeout` seconds.
    """
    give_up = clock() + settings.timeout
    headers, content = _head(call, settings), _content(call.body)
    pause = _FIRST_PAUSE
    try:
        while True:
            sent = clock()
            heard = yield Send(call.method, settings.origin + call.path, headers, content, give_up - sent)
            if isinstance(heard, Reply) and heard.status in call.expects:
                return call.read(heard.fields())
            refused = _refusal(heard, settings)
            if not (refused.again and call.repeat):
                raise refused.error
            # Never before the time that Holdfast named, and callers that failed together do not come back together.
            wait = refused.after + pause * (0.5 + dice() / 2)
            # One that has less time than the last one took would turn a clear no into not knowing.
            if (now := clock()) + wait + (now - sent) >= give_up:
                raise refused.error
            _log.info("%s %s: %s Again in %.2f s.", call.method, call.path, refused.error, wait)
            yield Pause(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)
    except InventoryAuthorityError as error:
        error.hold_id = call.hold_id or error.hold_id
        error.idempotency_key = call.idempotency_key
        raise


def _refusal(heard: Heard, settings: Settings) -> Refusal:
    match heard:
        case Reply():
            return refusal(heard.status, heard.retry_after, heard.fields)
        case Broken(timed_out=True):
            return Refusal(InventoryTimeoutError(f"No answer from {settings.origin} within {settings.timeout:g} s."))
        case Broken(why):
            lost = InventoryUnavailableError(f"No answer from {settings.origin}: {why}.")
            return Refusal(lost, again=True)
    raise AssertionError(heard)


def _head(call: Call[Answer], settings: Settings) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"Authorization", b"Bearer " + settings.token.encode()),
        (b"Accept", b"application/json"),
        (b"Accept-Encoding", b"identity"),
    ]
    if call.body is not None:
        headers.append((b"Content-Type", b"application/json"))
    if call.idempotency_key is not None:
        headers.append((b"Idempotency-Key", call.idempotency_key.encode()))
    return headers


def _content(body: dict[str, Any] | None) -> bytes | None:
    try:
        return None if body is None else json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"The request is not JSON: {error}.") from error
