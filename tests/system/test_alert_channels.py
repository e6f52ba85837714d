"""`holdfast alerts test` through a real Alertmanager, with the routes of `ops/`, to receivers that are really there."""

import asyncio
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cli import alerts
from cli.alerts import CHANNELS, send_test_alerts
from dev.ports import free_port
from tests.e2e.up import until
from tests.operations.diagnosis import faults
from tests.stack import serving
from tests.system.observed import OPS
from tests.system.test_alerts import said

OF_MAIL = ("HoldfastTest", "channel=mail", "severity=test")


@dataclass
class Channels:
    """Takes what Alertmanager posts, by the channel in the path; for those that are `down` answers their status."""

    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    down: Mapping[str, int] = field(default_factory=dict)
    refused: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        request = Request(scope, receive)
        channel = request.url.path.strip("/")
        if channel in self.down:
            self.refused += 1
        else:
            self.told.setdefault(channel, []).extend((await request.json())["alerts"])
        await Response(status_code=self.down.get(channel, 200))(scope, receive, send)


@contextmanager
def alertmanager(receivers: str, *without: str, **instead: Any) -> Iterator[str]:
    """Yield the URL of an Alertmanager with the routes of `ops/`, less those of some channels' test alerts.

    All channels are webhooks, and so counted together, but those that have something else `instead`.
    """
    config = yaml.safe_load((OPS / "alertmanager" / "alertmanager.yml").read_text())
    del config["global"]
    config["receivers"] = [
        {"name": name, **instead.get(name, {"webhook_configs": [{"url": f"{receivers}/{name}"}]})} for name in CHANNELS
    ]
    routes = config["route"]["routes"]
    config["route"]["routes"] = [each for each in routes if not (each["receiver"] in without and "group_wait" in each)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
        address = f"127.0.0.1:{free_port()}"
        command = [
            "prometheus-alertmanager",
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address={address}",
            "--cluster.listen-address=",
        ]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            until(lambda: ready(f"http://{address}"), 120, (folder / "log").read_text)
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(20)


def slack(receivers: str) -> dict[str, Any]:
    """Return a receiver that is counted apart from the webhooks."""
    return {"slack_configs": [{"api_url": f"{receivers}/chat", "channel": "#alerts"}]}


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", trust_env=False).is_success
    except httpx.TransportError:
        return False


async def test_each_channel_gets_its_own_test_alert_and_gets_it_again() -> None:
    channels = Channels()
    async with serving(channels) as receivers:
        with alertmanager(receivers) as url:
            for times in (1, 2):
                assert not faults(await send_test_alerts({"ALERTMANAGER_URL": url}, CHANNELS))
                assert {name: len(told) for name, told in channels.told.items()} == dict.fromkeys(CHANNELS, times)
    for name, told in channels.told.items():
        assert {alert["labels"]["channel"] for alert in told} == {name}


async def test_channels_that_fail_are_told_and_hide_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the chat is sent again and again meanwhile: Alertmanager repeats what was answered 5xx."""
    monkeypatch.setattr(alerts, "_DELIVERED_SECONDS", 3.0)
    channels = Channels(down={"chat": 503, "pager": 403})
    async with serving(channels) as receivers:
        with alertmanager(receivers, chat=slack(receivers)) as url:
            told = faults(await send_test_alerts({"ALERTMANAGER_URL": url}, CHANNELS))
    assert list(told) == ["alertmanager: chat", "alertmanager: pager"]
    assert list(channels.told) == ["mail", "watchdog"]


@pytest.mark.parametrize("integration", ["webhook", "slack"])
async def test_what_another_channel_delivers_meanwhile_is_no_delivery(
    integration: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "_DELIVERED_SECONDS", 3.0)
    channels = Channels(down={"chat": 503})
    async with serving(channels) as receivers:
        with alertmanager(receivers, **({"chat": slack(receivers)} if integration == "slack" else {})) as url:
            testing = asyncio.create_task(send_test_alerts({"ALERTMANAGER_URL": url}, ["chat"]))
            while not channels.refused:
                await asyncio.sleep(0.02)
            await asyncio.to_thread(said, "amtool", f"--alertmanager.url={url}", "alert", "add", *OF_MAIL)
            while not channels.told:
                await asyncio.sleep(0.02)
            told = faults(await testing)["alertmanager: chat"]
    assert told.startswith("Alertmanager could not" if integration == "slack" else "it cannot be told")


async def test_a_channel_without_a_route_is_told_with_where_its_alert_goes_instead() -> None:
    async with serving(Channels()) as receivers:
        with alertmanager(receivers, "chat") as url:
            told = faults(await send_test_alerts({"ALERTMANAGER_URL": url}, CHANNELS))
    assert list(told) == ["alertmanager: chat"]
    assert "mail" in told["alertmanager: chat"]


async def test_a_channel_that_tells_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "_DELIVERED_SECONDS", 1.0)
    async with serving(Channels()) as receivers:
        with alertmanager(receivers, chat={}) as url:
            told = faults(await send_test_alerts({"ALERTMANAGER_URL": url}, CHANNELS))
    assert list(told) == ["alertmanager: chat"]


async def test_a_silenced_channel_is_told_whatever_others_deliver() -> None:
    silence = ("silence", "add", "channel=chat", "--comment=a test", "--author=mara")
    async with serving(Channels()) as receivers:
        with alertmanager(receivers) as url:
            await asyncio.to_thread(said, "amtool", f"--alertmanager.url={url}", *silence)
            told = faults(await send_test_alerts({"ALERTMANAGER_URL": url}, ["chat"]))
    assert "silenced" in told["alertmanager: chat"]


def test_a_cause_hides_what_follows_from_it_and_nothing_else() -> None:
    causes = {"HoldfastSearchAttributesMissing", "HoldfastTemporalUnreachable"}
    follow = {"HoldfastErrors", "HoldfastWorkerAbsent"}
    others = {"HoldfastWorkflowTaskFailures", "HoldfastHoldsUncounted", "HoldfastAuditDrift", "HoldfastApiNotReady"}
    with alertmanager("http://127.0.0.1:9") as url:
        fired = [{"labels": {"alertname": name, "severity": "critical"}} for name in causes | follow | others]
        httpx.post(f"{url}/api/v2/alerts", json=fired, trust_env=False).raise_for_status()

        def hidden() -> set[str]:
            alerts = httpx.get(f"{url}/api/v2/alerts", trust_env=False).raise_for_status().json()
            return {alert["labels"]["alertname"] for alert in alerts if alert["status"]["inhibitedBy"]}

        until(lambda: hidden() == follow, 60, lambda: str(hidden()))
