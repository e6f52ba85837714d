"""`holdfast alerts test`: one test alert for each configured channel, and a fault for each that rejects it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping

from cli.alerts import CHANNELS, send_test_alerts
from cli.doctor.results import State
from dev.ports import free_port
from tests.operations.diagnosis import faults
from tests.receivers import NEXT_SECRET, SECRET, mailbox, receiving


def mail_to(url: str) -> dict[str, str]:
    return {"SMTP_URL": url, "STOCK_ALERT_RECIPIENT": "buyer@example.com, second@example.com"}


def run(variables: Mapping[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command with these variables only."""
    kept = {"PATH": os.environ["PATH"], "HOLDFAST_HOME": "/nonexistent"}
    command = [sys.executable, "-m", "cli.main", "alerts", "test", *options]
    return subprocess.run(command, env={**kept, **variables}, capture_output=True, text=True, timeout=120, check=False)


async def test_mail_and_signed_posts_arrive_once_each() -> None:
    async with mailbox() as box, receiving() as stock, receiving() as events:
        lines = await send_test_alerts(
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
    assert [event["type"] for event in (*stock.taken, *events.taken)] == ["test", "test"]


async def test_each_channel_that_rejects_the_alert_is_a_fault() -> None:
    closed = f"127.0.0.1:{free_port()}"
    async with mailbox() as box, receiving() as receiver:
        box.answer = "554 no such sender"
        receiver.answer = lambda _: 410
        lines = await send_test_alerts(
            {
                **mail_to(box.url),
                "STOCK_ALERT_WEBHOOK_URL": receiver.url,
                "STOCK_ALERT_WEBHOOK_SECRET": SECRET,
                "HOLD_EVENTS_WEBHOOK_URL": f"http://{closed}/hooks",
                "HOLD_EVENTS_WEBHOOK_SECRET": SECRET,
                "ALERTMANAGER_URL": f"http://{closed}",
            },
            CHANNELS,
        )
    found = faults(lines)
    assert list(found) == [
        "stock alerts: mail",
        "stock alerts: webhook",
        "hold events: webhook",
        "alertmanager: reachable",
    ]
    assert "554" in found["stock alerts: mail"]
    assert "410" in found["stock alerts: webhook"]


async def test_no_password_is_shown() -> None:
    lines = await send_test_alerts(mail_to(f"smtp://shop:hunter2@127.0.0.1:{free_port()}"), CHANNELS)
    assert list(faults(lines)) == ["stock alerts: mail"]
    assert "hunter2" not in repr(lines)


async def test_an_invalid_setting_is_a_fault() -> None:
    found = faults(await send_test_alerts({"STOCK_ALERT_RECIPIENT": "nobody"}, CHANNELS))
    assert list(found) == ["settings: STOCK_ALERT_RECIPIENT"]


def test_with_nothing_configured_it_names_the_settings_and_exits_2() -> None:
    ran = run({})
    assert ran.returncode == 2, ran.stderr
    for name in ("STOCK_ALERT_RECIPIENT", "STOCK_ALERT_WEBHOOK_URL", "HOLD_EVENTS_WEBHOOK_URL", "ALERTMANAGER_URL"):
        assert name in ran.stdout


def test_json_output_has_the_states_and_the_exit_code_is_1() -> None:
    ran = run({"ALERTMANAGER_URL": f"http://127.0.0.1:{free_port()}"}, "--json")
    assert ran.returncode == 1, ran.stderr
    answer = json.loads(ran.stdout)
    assert answer["ok"] is False
    assert {line["state"] for line in answer["lines"]} == {"fault", "not_applicable"}
