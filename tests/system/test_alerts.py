"""The alerts: their rule tests, their configuration, and a real Prometheus that sees a fault."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml  # type: ignore[import-untyped]

from tests.e2e.up import Up, until
from tests.system.observed import OPS, RULES, Observed, observing


def said(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize("test", sorted((OPS / "prometheus" / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_each_rule_fires_and_clears(test: Path) -> None:
    assert "SUCCESS" in said("promtool", "test", "rules", str(test))


def test_prometheus_takes_its_configuration() -> None:
    said("promtool", "check", "config", str(OPS / "prometheus" / "prometheus.yml"))
    assert "SUCCESS" in said("promtool", "check", "rules", str(RULES))


ALERTMANAGER = str(OPS / "alertmanager" / "alertmanager.yml")


def test_alertmanager_takes_its_configuration() -> None:
    assert "SUCCESS" in said("amtool", "check-config", ALERTMANAGER)


@pytest.mark.parametrize(
    ("labels", "channels"),
    [
        (("alertname=HoldfastErrors", "severity=critical"), "pager,chat"),
        (("alertname=HoldfastSlow", "severity=warning"), "chat,mail"),
        (("alertname=HoldfastBypass", "severity=warning"), "chat,mail"),
        (("alertname=HoldfastTest", "channel=chat"), "chat"),
        (("alertname=HoldfastTest", "channel=pager"), "pager"),
        (("alertname=HoldfastTest", "channel=mail"), "mail"),
        (("alertname=HoldfastTest", "channel=watchdog"), "watchdog"),
        (("alertname=HoldfastWatchdog", "severity=none"), "watchdog"),
    ],
)
def test_an_alert_goes_to_its_channels(labels: tuple[str, ...], channels: str) -> None:
    assert said("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels).strip() == channels


def test_the_watchdog_is_sent_each_time_its_group_is_looked_at() -> None:
    """What was sent less than repeat_interval ago is skipped: with equal intervals it is every second time."""
    routes = yaml.safe_load(Path(ALERTMANAGER).read_text())["route"]["routes"]
    (route,) = (each for each in routes if each["matchers"] == ["alertname = HoldfastWatchdog"])
    assert (route["group_interval"], route["repeat_interval"]) == ("1m", "50s")


def test_a_bypass_in_force_fires(folder: Path) -> None:
    up = Up(folder / "home", SKIP_INVENTORY_VALIDATION="1").start()
    try:
        with observing(up, folder) as observed:
            until(lambda: observed.alerts().get("HoldfastBypass") == "firing", 120, lambda: str(observed.alerts()))
    finally:
        up.end()


def test_a_worker_that_stands_still_is_seen_and_its_return_too(folder: Path) -> None:
    up = Up(folder / "home").start()
    try:
        with observing(up, folder) as observed:
            until(lambda: not observed.alerts(), 120, lambda: str(observed.alerts()))
            worker = psutil.Process(up.stack["pids"]["worker"])
            worker.suspend()
            until(lambda: _worker_absent(observed), 120, lambda: str(observed.alerts()))
            worker.resume()
            until(lambda: not observed.alerts(), 120, lambda: str(observed.alerts()))
    finally:
        up.end()


def _worker_absent(observed: Observed) -> bool:
    return observed.alerts().get("HoldfastWorkerAbsent") in ("pending", "firing")
