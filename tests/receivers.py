"""Those who are told: a web server that takes signed events, and a mail server. Both real, both can be away."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

from aiosmtpd.smtp import SMTP, Envelope, Session
from standardwebhooks import Webhook
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.stack import serving
from tests.waiting import until

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
NEXT_SECRET = "whsec_" + base64.b64encode(b"n" * 32).decode()


@dataclass
class Receiver:
    """Keeps the events that it has answered 200, and how each attempt was answered."""

    url: str = ""
    secret: str = SECRET
    taken: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    answer: Callable[[dict[str, Any]], int] = lambda _: 200
    """The status for an event, which a test may replace."""
    _since: datetime | None = None

    def forget(self) -> None:
        """Be as new for the next test; what happened before is acknowledged, if it still comes, and not kept."""
        self.secret, self.answer, self._since = SECRET, lambda _: 200, datetime.now(UTC)
        for kept in (self.taken, self.ids, self.attempts):
            kept.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        request = Request(scope, receive)
        body = await request.body()
        event = Webhook(self.secret).verify(body, dict(request.headers))
        if self._since is not None and datetime.fromisoformat(event["timestamp"]) < self._since:
            await Response()(scope, receive, send)
            return
        status = self.answer(event)
        self.attempts.append(status)
        if status == 200:
            self.taken.append(event)
            self.ids.append(request.headers["webhook-id"])
        await Response(status_code=status)(scope, receive, send)

    @property
    def types(self) -> list[str]:
        """The types of what was taken, in order."""
        return [event["type"] for event in self.taken]

    def of(self, hold_id: str) -> list[str]:
        """Return the types of what was taken of a hold, in order."""
        return [event["type"] for event in self.taken if event["data"].get("holdId") == hold_id]

    async def until(self, count: int) -> None:
        """Return when that many events were taken."""
        await until(lambda: len(self.taken) >= count, f"{count} events are taken")

    async def until_attempted(self, count: int) -> None:
        """Return when that many attempts were made."""
        await until(lambda: len(self.attempts) >= count, f"{count} attempts are made")


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Serve a receiver."""
    receiver = Receiver()
    async with serving(receiver) as url:
        receiver.url = f"{url}/hooks"
        yield receiver


@dataclass
class Mailbox:
    """A mail server that keeps what it takes."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    answer: str = "250 OK"
    attempts: int = 0

    @property
    def url(self) -> str:
        """Its SMTP_URL."""
        return f"smtp://127.0.0.1:{self.port}"

    def forget(self) -> None:
        """Be as new for the next test."""
        self.mails.clear()
        self.answer, self.attempts = "250 OK", 0

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        self.attempts += 1
        if self.answer.startswith("250"):
            mail = message_from_bytes(cast("bytes", envelope.content), policy=policy.default)
            self.mails.append(mail)
        return self.answer

    async def until(self, count: int) -> None:
        """Return when that many mails were taken."""
        await until(lambda: len(self.mails) >= count, f"{count} mails are taken")


@asynccontextmanager
async def mailbox() -> AsyncIterator[Mailbox]:
    """Serve a mailbox."""
    box = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(box, loop=loop), "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()


def body_of(event: dict[str, Any]) -> str:
    """Return an event as it goes over the wire."""
    return json.dumps(event, separators=(",", ":"))
