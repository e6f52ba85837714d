"""`holdfast doctor`, `smoke` and `report` beside a `holdfast up`, as an operator runs them."""

import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

from tests.e2e.up import Up, until, with_default_interrupt


def holdfast(up: Up, *arguments: str) -> tuple[int, str]:
    ran = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env=up.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran.returncode, ran.stdout + ran.stderr


def as_json(up: Up, *arguments: str) -> tuple[int, dict[str, Any]]:
    code, printed = holdfast(up, *arguments, "--json")
    told: dict[str, Any] = json.loads(printed)
    return code, told


def test_smoke_checks_out_and_doctor_and_report_have_seen_it(up: Up) -> None:
    code, smoked = as_json(up, "smoke")
    assert (code, smoked["ok"]) == (0, True), smoked
    assert "commit seen" in [step["name"] for step in smoked["steps"]]
    code, told = as_json(up, "doctor")
    assert code == 0, [line for line in told["lines"] if line["state"] == "fault"]
    (arrive,) = [line for line in told["lines"] if line["name"] == "webhooks arrive"]
    assert arrive["state"] == "ok"
    code, report = as_json(up, "report", "--since", "1h", "--shop", "holdfast-smoke")
    assert code == 0
    assert (report["holds"]["committed"], report["holds"]["released"], report["holds"]["active"]) == (1, 1, 0)
    assert "since the API started" in report["metrics"]["source"]
    p95 = {each["name"]: each["shown"] for each in report["figures"]}
    assert p95["webhook p95"].endswith(" ms")


def test_doctor_says_that_the_worker_is_stopped(up: Up) -> None:
    """The API answers for the holds that it runs, but only a worker for the mail of an item that is low."""
    for item in ({"onHand": 5, "lowStockThreshold": 3}, {"onHand": 2}):
        up.ask("PUT", "/inventory/items", {"shopId": "demo", "items": [{"sku": "LOW", **item}]}, role="admin")
    until(lambda: bool(list((up.home / "mail").glob("*Low-stock--LOW*.eml"))), 120, up.output)
    worker = up.stack["pids"]["worker"]
    os.kill(worker, signal.SIGSTOP)
    try:
        code, told = as_json(up, "doctor")
    finally:
        os.kill(worker, signal.SIGCONT)
    assert code == 1
    # Its polls end some time after it stopped; until then, only a question tells.
    assert {line["name"] for line in told["lines"] if line["state"] == "fault"} in ({"worker answers"}, {"workers"})
    until(lambda: holdfast(up, "smoke")[0] == 0, 120)


def test_ctrl_c_ends_smoke_with_nothing_held(up: Up) -> None:
    smoke = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "smoke", "--with-expiry"],
        env=up.environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=with_default_interrupt,  # noqa: PLW1509 - nothing but a signal's disposition is set
    )
    path = "/inventory/holds?shopId=holdfast-smoke&status=active"
    until(lambda: any(_lives(hold) < timedelta(minutes=1) for hold in up.ask("GET", path)["holds"]), 120)
    smoke.send_signal(signal.SIGINT)
    printed = smoke.communicate(timeout=120)[0]
    assert smoke.returncode == 130, printed
    assert "Interrupted" in printed
    assert up.ask("GET", path)["holds"] == []


def _lives(hold: dict[str, Any]) -> timedelta:
    return datetime.fromisoformat(hold["expiresAt"]) - datetime.fromisoformat(hold["createdAt"])
