"""`holdfast alerts test` through a real Alertmanager, with the routes of `ops/`, to receivers that are really there."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml  # type: ignore[import-untyped]
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cli.alerts import CHANNELS, sent
from cli.processes import free_port
from tests.e2e.up import until
from tests.operations.examining import faults
from tests.stack import serving
from tests.system.observed import OPS


@dataclass
class Channels:
    """Takes what Alertmanager posts, by the channel in the path; refuses for those that are `down`."""

    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    down: frozenset[str] = frozenset()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        request = Request(scope, receive)
        channel = request.url.path.strip("/")
        if channel not in self.down:
            self.told.setdefault(channel, []).extend((await request.json())["alerts"])
        await Response(status_code=403 if channel in self.down else 200)(scope, receive, send)


@contextmanager
def alertmanager(receivers: str, *without: str) -> Iterator[str]:
    """Yield the URL of an Alertmanager with the routes of `ops/`, less those of some channels' test alerts."""
    config = yaml.safe_load((OPS / "alertmanager" / "alertmanager.yml").read_text())
    del config["global"]
    config["receivers"] = [
        {"name": each["name"], "webhook_configs": [{"url": f"{receivers}/{each['name']}"}]}
        for each in config["receivers"]
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
            until(lambda: ready(f"http://{address}"), 20, (folder / "log").read_text)
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(20)


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
                assert not faults(await sent({"ALERTMANAGER_URL": url}, CHANNELS))
                assert {name: len(told) for name, told in channels.told.items()} == dict.fromkeys(CHANNELS, times)
    for name, told in channels.told.items():
        assert {alert["labels"]["channel"] for alert in told} == {name}
        assert "nothing is wrong" in told[0]["annotations"]["summary"]


async def test_a_channel_that_refuses_is_told_and_hides_no_other() -> None:
    channels = Channels(down=frozenset({"pager"}))
    async with serving(channels) as receivers:
        with alertmanager(receivers) as url:
            told = faults(await sent({"ALERTMANAGER_URL": url}, CHANNELS))
    assert list(told) == ["alertmanager: pager"]
    assert "could not deliver it" in told["alertmanager: pager"]
    assert list(channels.told) == ["chat", "mail"]


async def test_a_channel_without_a_route_is_told_with_where_its_alert_goes_instead() -> None:
    async with serving(Channels()) as receivers:
        with alertmanager(receivers, "chat") as url:
            told = faults(await sent({"ALERTMANAGER_URL": url}, CHANNELS))
    assert list(told) == ["alertmanager: chat"]
    assert "goes to mail" in told["alertmanager: chat"]
