"""A role of Postgres without rights on a table that nothing depends on: all the rest works."""

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from structlog.testing import capture_logs
from temporalio.client import Client

from holds.event_delivery import background_task_queue
from tests.paying import event, running_shop
from workflows.audit import AuditWorkflow
from workflows.findings import AuditRequest

ROLE = "without_moments"


@pytest.fixture
def restricted(database: str) -> Iterator[str]:
    """The URL of a database, for a role that an upgrade gave no rights on the table of moments."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {ROLE} LOGIN")
        connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {ROLE}")
        connection.execute(f'REVOKE ALL ON "InventoryMoment" FROM {ROLE}')
        yield database.replace("postgres@", f"{ROLE}@")
        connection.execute(f"DROP OWNED BY {ROLE}")
        connection.execute(f"DROP ROLE {ROLE}")


async def test_without_rights_on_the_moments_events_payments_metrics_and_the_audit_work(
    restricted: str, temporal: Client
) -> None:
    with capture_logs() as lines:
        async with running_shop(restricted, temporal) as shop:
            assert (await shop.send(event("customer.created", {"id": "cus_1"}))).json()["result"] == "ignored"

            page = (await shop.checkout())["holdId"]
            assert (await shop.stack.post(page, "release")).json()["status"] == "released"

            hold_id = (await shop.stack.made())["holdId"]
            await shop.stack.run_of(hold_id).terminate()
            report = await temporal.execute_workflow(
                AuditWorkflow.run,
                AuditRequest(None),
                id=f"audit-{uuid.uuid4().hex}",
                task_queue=background_task_queue(shop.stack.task_queue),
            )
            assert report.found == {"lost_run": 1}
            assert shop.stack.counted("inventory_audit_findings", kind="lost_run", mended="true") == 1

            metrics = await shop.stack.http.get("/metrics")
            assert metrics.status_code == 200
            assert "inventory_holds_active{" in metrics.text
            assert "inventory_audit_timestamp_seconds" not in metrics.text
    told = [line["event"] for line in lines if "permission denied" in line.get("problem", "")]
    assert sorted(told) == [
        "/metrics has no gauges of audits and Stripe events",
        "cannot note when an audit ran or an event came",
    ]
