"""`holdfast alerts test`: what is configured gets one test alert, and what does not arrive is told with its fix."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping

from cli.alerts import CHANNELS, sent
from cli.doctor.lines import State
from dev.ports import free_port
from tests.operations.examining import faults
from tests.receivers import NEXT_SECRET, SECRET, mailbox, receiving


def mail_to(url: str) -> dict[str, str]:
    return {"SMTP_URL": url, "STOCK_ALERT_RECIPIENT": "buyer@example.com, second@example.com"}


def ran(variables: Mapping[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command with these variables only."""
    kept = {"PATH": os.environ["PATH"], "HOLDFAST_HOME": "/nonexistent"}
    command = [sys.executable, "-m", "cli.main", "alerts", "test", *options]
    return subprocess.run(command, env={**kept, **variables}, capture_output=True, text=True, timeout=60, check=False)


async def test_mail_and_signed_posts_arrive_once_each() -> None:
    async with mailbox() as box, receiving() as stock, receiving() as events:
        lines = await sent(
            {
                **mail_to(box.url),
                "STOCK_ALERT_WEBHOOK_URL": stock.url,
                "STOCK_ALERT_WEBHOOK_SECRET": SECRET,
                "HOLD_EVENTS_WEBHOOK_URL": events.url,
                "HOLD_EVENTS_WEBHOOK_SECRET": f"{NEXT_SECRET},{SECRET}",
            },
            CHANNELS,
        )
    assert not faults(lines)
    assert [line.state for line in lines[:3]] == [State.OK] * 3
    (mail,) = box.mails
    assert mail["To"] == "buyer@example.com, second@example.com"
    assert mail["Subject"] == "Holdfast test: mails about low stock arrive here"
    assert [event["type"] for event in (*stock.taken, *events.taken)] == ["test", "test"]


async def test_each_that_does_not_take_it_is_told_with_its_fix() -> None:
    away = f"127.0.0.1:{free_port()}"
    async with mailbox() as box, receiving() as receiver:
        box.answer = "554 no such sender"
        receiver.answer = lambda _: 410
        lines = await sent(
            {
                **mail_to(box.url),
                "STOCK_ALERT_WEBHOOK_URL": receiver.url,
                "STOCK_ALERT_WEBHOOK_SECRET": SECRET,
                "HOLD_EVENTS_WEBHOOK_URL": f"http://{away}/hooks",
                "HOLD_EVENTS_WEBHOOK_SECRET": SECRET,
                "ALERTMANAGER_URL": f"http://{away}",
            },
            CHANNELS,
        )
    told = faults(lines)
    assert list(told) == [
        "stock alerts: mail",
        "stock alerts: webhook",
        "hold events: webhook",
        "alertmanager: reachable",
    ]
    assert "554" in told["stock alerts: mail"]
    assert "answered 410" in told["stock alerts: webhook"]


async def test_no_password_is_shown() -> None:
    lines = await sent(mail_to(f"smtp://shop:hunter2@127.0.0.1:{free_port()}"), CHANNELS)
    assert list(faults(lines)) == ["stock alerts: mail"]
    assert "hunter2" not in repr(lines)


async def test_a_setting_that_is_refused_is_a_fault() -> None:
    told = faults(await sent({"STOCK_ALERT_RECIPIENT": "nobody"}, CHANNELS))
    assert list(told) == ["settings: STOCK_ALERT_RECIPIENT"]


def test_with_nothing_configured_it_says_what_to_set_and_exits_2() -> None:
    told = ran({})
    assert told.returncode == 2, told.stderr
    for name in ("STOCK_ALERT_RECIPIENT", "STOCK_ALERT_WEBHOOK_URL", "HOLD_EVENTS_WEBHOOK_URL", "ALERTMANAGER_URL"):
        assert name in told.stdout


def test_machines_read_json_and_the_exit_code() -> None:
    told = ran({"ALERTMANAGER_URL": f"http://127.0.0.1:{free_port()}"}, "--json")
    assert told.returncode == 1, told.stderr
    answer = json.loads(told.stdout)
    assert answer["ok"] is False
    assert {line["state"] for line in answer["lines"]} == {"fault", "not_applicable"}
