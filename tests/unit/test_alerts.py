"""Signed posts verify, mails are complete, and no password is sent unencrypted."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from activities.alerts import low_stock_digest_mail
from activities.mail import send
from activities.signing import sign
from core.setting_errors import SettingsError
from core.settings import Settings
from tests.receivers import NEXT_SECRET, SECRET, Mailbox, mailbox
from workflows.deliveries import Event, LowItemFigures, LowStockDigest

URL = {"DATABASE_URL": "postgresql://ann:pa55word@db/shop"}
EVENT = Event("evt-1", "hold.created", datetime.now(UTC), {"holdId": "h", "reference": "Bücher 📚"})
MUG = LowItemFigures("MUG", "", "mug, color red", 5, 2, 5)
LOW = LowStockDigest("demo", "evt-1", datetime.now(UTC), items=[MUG])
DOCUMENT = Path(__file__).parents[2] / "docs" / "events.md"


def read(**changes: str) -> Settings:
    return Settings.read(URL | changes)


def documented_receiver() -> Any:
    """Return the receiver that docs/events.md tells shops to write."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    scope: dict[str, Any] = {}
    exec(code, scope)  # noqa: S102 - it is ours
    return scope["receive"]


def test_the_documented_code_takes_what_is_sent_and_refuses_what_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    post = sign(EVENT, [SecretStr(SECRET)], datetime.now(UTC))
    receive = documented_receiver()

    assert [receive(post.body, post.headers, SECRET) for _ in range(2)] == [200, 200]
    assert capsys.readouterr().out.count("hold.created") == 1
    assert receive(post.body + b" ", post.headers, SECRET) == 401
    assert receive(post.body, post.headers, NEXT_SECRET) == 401


def test_either_secret_verifies_while_one_replaces_the_other() -> None:
    post = sign(EVENT, [SecretStr(NEXT_SECRET), SecretStr(SECRET)], datetime.now(UTC))
    for secret in (SECRET, NEXT_SECRET):
        assert Webhook(secret).verify(post.body, post.headers)["data"] == EVENT.data


def test_every_attempt_has_the_same_id_and_body_and_a_time_of_its_own() -> None:
    now = datetime.now(UTC)
    first, second = (sign(EVENT, [SecretStr(SECRET)], at) for at in (now - timedelta(hours=1), now))
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert Webhook(SECRET).verify(second.body, second.headers)
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(SECRET).verify(first.body, first.headers)


@pytest.mark.parametrize("sku", ["MUG", "Tasse groß", "x" * 200, "=?utf-8?b?eA==?=", "a <script>", 'quo"te'])
def test_a_mail_names_any_item_there_can_be(sku: str) -> None:
    low = replace(LOW, items=[replace(MUG, sku=sku)])
    mail = low_stock_digest_mail(low, read(STOCK_ALERT_RECIPIENT="a@example.com"))
    assert mail.as_bytes()
    assert f"mug, color red ({sku}): 5 left" in mail.get_content()
    assert mail["Message-ID"] == "<low-stock-digest.evt-1@holdfast>"


def test_a_mail_says_how_many_items_it_does_not_list_and_where_they_are() -> None:
    low = replace(LOW, unlisted=40, link="https://shop.example/low")
    mail = low_stock_digest_mail(low, read(STOCK_ALERT_RECIPIENT="a@example.com"))
    assert mail["Subject"] == "Low stock: 41 items in demo"
    assert "- and 40 more\n" in mail.get_content()
    assert "https://shop.example/low" in mail.get_content()


@pytest.fixture
async def box() -> AsyncIterator[Mailbox]:
    async with mailbox() as box:
        yield box


async def test_a_mail_reaches_every_recipient(box: Mailbox) -> None:
    settings = read(STOCK_ALERT_RECIPIENT="a@example.com,b@example.com", STOCK_ALERT_SENDER="shop@example.com")
    await send(low_stock_digest_mail(LOW, settings), box.url)
    assert (box.mails[0]["To"], box.mails[0]["From"]) == ("a@example.com, b@example.com", "shop@example.com")


async def test_a_password_does_not_go_over_a_network_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    async def note(_message: object, **options: object) -> tuple[dict[str, object], str]:
        asked.update(options)
        return {}, ""

    monkeypatch.setattr(aiosmtplib, "send", note)
    mail = low_stock_digest_mail(LOW, read(STOCK_ALERT_RECIPIENT="a@example.com"))
    await send(mail, "smtp://ann:p%40ss@mail.example.com")
    assert (asked["start_tls"], asked["port"], asked["password"]) == (True, 587, "p@ss")
    await send(mail, "smtps://ann:p@mail.example.com")
    assert (asked["use_tls"], asked["start_tls"], asked["port"]) == (True, False, 465)


async def test_a_mail_server_that_says_nothing_is_no_end(hanging_up: int) -> None:
    mail = low_stock_digest_mail(LOW, read(STOCK_ALERT_RECIPIENT="a@example.com"))
    with pytest.raises((aiosmtplib.SMTPException, OSError)):
        await send(mail, f"smtp://127.0.0.1:{hanging_up}")


@pytest.fixture
async def hanging_up() -> AsyncIterator[int]:
    """A server that hangs up on everybody."""

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STOCK_ALERT_RECIPIENT", "nobody"),
        ("STOCK_ALERT_RECIPIENT", "a@example.com\nBcc: b@example.com"),
        ("SMTP_URL", "mail.example.com:25"),
        ("SMTP_URL", "smtp://"),
        ("SMTP_URL", "smtp://ann:pa55word@mail:99999"),
        ("HOLD_EVENTS_WEBHOOK_URL", "ftp://x"),
        ("HOLD_EVENTS_WEBHOOK_SECRET", "pa55word"),
        ("HOLD_EVENTS_WEBHOOK_SECRET", "pa55word!"),
        ("HOLD_EVENTS_WEBHOOK_SECRET", f"{SECRET},{SECRET},{SECRET}"),
        ("TEMPORAL_UI_URL", "javascript:alert(1)"),
        ("STOCK_ALERT_LINK", "shop.example/{shopId}"),
        ("STOCK_ALERT_WINDOW_SECONDS", "-1"),
    ],
)
def test_an_invalid_setting_is_refused_by_name_and_without_its_secret(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(**{name: value})
    assert [problem.variable for problem in refused.value.problems] == [name]
    assert "pa55word" not in str(refused.value)


@pytest.mark.parametrize("prefix", ["HOLD_EVENTS", "STOCK_ALERT"])
def test_a_webhook_needs_a_secret(prefix: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(**{f"{prefix}_WEBHOOK_URL": "https://shop.example/hooks"})
    (problem,) = refused.value.problems
    assert (problem.variable, problem.related) == (f"{prefix}_WEBHOOK_SECRET", (f"{prefix}_WEBHOOK_URL",))


@pytest.mark.parametrize("make", [lambda: base64.b64encode(b"x" * 32).decode(), lambda: "ab" * 32])
def test_what_openssl_makes_is_a_secret(make: Any) -> None:
    settings = read(HOLD_EVENTS_WEBHOOK_URL="https://shop.example/hooks", HOLD_EVENTS_WEBHOOK_SECRET=make())
    post = sign(EVENT, settings.events_secrets, datetime.now(UTC))
    assert Webhook(make()).verify(post.body, post.headers)


def test_all_of_it_is_off_unless_set() -> None:
    settings = read(SMTP_URL="", HOLD_EVENTS_WEBHOOK_URL="")
    assert (settings.alert_recipients, settings.alert_url, settings.events_url) == ((), "", "")
