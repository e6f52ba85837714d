"""The first line of a process tells what it is and what it talks to, and no secret."""

import json

import pytest
from structlog.testing import capture_logs

from core.outage_log import OutageLog
from core.release import commit, release
from core.settings import Settings
from core.start_line import start_fields

SECRETS = {
    "DATABASE_URL": "postgresql://ann:S3CRET-d@db-1:5433,db-2/shop?sslpassword=S3CRET-k",
    "SMTP_URL": "smtps://ann:S3CRET-m@mail.example.com",
    "HOLD_EVENTS_WEBHOOK_URL": "https://ann:S3CRET-e@shop.example:8443/hooks/S3CRET-p?key=S3CRET-q",
    "HOLD_EVENTS_WEBHOOK_SECRET": "whsec_" + "c2VjcmV0LXMzY3JldC1zM2NyZXQtczNjcmV0LXM=",
    "STRIPE_API_KEY": "sk_test_S3CRET",
    "INVENTORY_ADMIN_TOKEN": "S3CRET-" + "t" * 40,
    "TEMPORAL_API_KEY": "S3CRET-temporal",
    "INVENTORY_MODE": "reserve_ttl",
}


def test_the_first_line_names_release_mode_targets_and_limits_without_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal.example.com:7233")
    said = start_fields(Settings.read(SECRETS))
    assert (said["version"], said["commit"]) == (release(), commit())
    assert (said["mode"], said["bypassed"]) == ("reserve_ttl", False)
    assert said["targets"] == {
        "postgres": "db-1:5433,db-2/shop",
        "temporal": "temporal.example.com:7233",
        "namespace": "default",
        "stripe": "api.stripe.com",
        "mail": "mail.example.com",
        "events": "shop.example:8443",
        "alerts": None,
        "spans": None,
    }
    assert said["limits"]["request_ms"] == 5000
    text = json.dumps(said)
    assert "S3CRET" not in text
    assert "ann" not in text
    assert SECRETS["HOLD_EVENTS_WEBHOOK_SECRET"] not in text


def test_an_outage_is_logged_when_it_begins_and_when_it_ends() -> None:
    outage = OutageLog("worker", fails="cannot connect", works="connected")
    with capture_logs() as lines:
        outage.worked()
        for error in (ConnectionError("refused\nby host"), ConnectionError("again"), TimeoutError(), ConnectionError()):
            outage.failed(error)
        outage.worked()
        outage.failed(KeyError("row"), defect=True)
        outage.failed(KeyError("row"), defect=True)
    found = [(line["event"], line["log_level"], line.get("problem")) for line in lines]
    assert found == [
        ("cannot connect", "warning", "refused"),
        ("cannot connect", "warning", "TimeoutError"),
        ("connected", "info", None),
        ("cannot connect", "error", "'row'"),
    ]
    assert [line for line in lines if "exc_info" in line] == [lines[-1]]
