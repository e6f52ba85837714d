"""What looks for another active hold reads when Postgres has counted the holds in a quiet hour, before a rush."""

from collections.abc import AsyncIterator

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import create_engine
from core.settings import Settings
from dev.postgres import EmbeddedPostgres
from domain.holds import Line
from inventory import amend, checks, hold_payments, items
from inventory.holds import lines_as_arrays
from inventory.limits import NO_LIMITS, limit_parameters
from tests.postgres.test_audit_reads import rows_read
from tests.servers import database_on

_ENDED = """
INSERT INTO "InventoryHold" (id, "shopId", status, "expiresAt", "releasedAt")
SELECT 'ended-' || n, 'shop', 'released', now(), now() FROM generate_series(1, 20000) n
"""
_ACTIVE = """
INSERT INTO "InventoryHold" (id, "shopId", status, "expiresAt", reference, "paymentSessionId")
SELECT 'active-' || n, 'shop', 'active', now() + interval '1 hour', 'order-' || n, 'cs_' || n
FROM generate_series(1, 500) n
"""
_REQUEST = {
    "shops": ["shop"],
    "holds": ["new"],
    "references": None,
    "replaces": None,
    "befores": None,
    "numbers": [1],
    "skus": ["MUG"],
    "variants": [""],
    "quantities": [1],
}


@pytest.fixture
async def rushing(postgres: EmbeddedPostgres, migrated_template: str) -> AsyncIterator[AsyncEngine]:
    """A database with 500 active holds, which were not there when Postgres counted."""
    with database_on(postgres, migrated_template) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in (_ENDED, "VACUUM ANALYZE", _ACTIVE):
                connection.execute(statement)
        engine = create_engine(Settings.read({"DATABASE_URL": url}))
        yield engine
        await engine.dispose()


@pytest.mark.parametrize("references", [None, ["new-order"], ["order-7"]])
async def test_a_request_reads_only_the_holds_with_its_reference(
    rushing: AsyncEngine, references: list[str] | None
) -> None:
    read = await rows_read(rushing, checks._CHECK, _REQUEST | {"references": references})

    assert read["InventoryHold"] == (references == ["order-7"])


async def test_an_attach_reads_only_the_holds_with_its_payment(rushing: AsyncEngine) -> None:
    payment = {"shop": "shop", "hold": "active-1", "session": "cs_7", "intent": "pi_7"}
    read = await rows_read(rushing, hold_payments._HAS_OTHER, payment)

    assert read["InventoryHold"] == 1


async def test_a_validation_reads_only_the_callers_own_hold(rushing: AsyncEngine) -> None:
    cart = {"shop": "shop", "hold": None, "reference": "order-7", **lines_as_arrays([Line("MUG", "", 1)])}
    read = await rows_read(rushing, items._SHORT, cart)

    assert read["InventoryHold"] == 1


async def test_a_change_reads_only_its_hold_and_those_with_its_reference(rushing: AsyncEngine) -> None:
    change = {
        "shop": "shop",
        "hold": "active-1",
        "request": "change-1",
        "hash": "",
        "actor": "test",
        "new_items": False,
        "reference": "order-7",
        "new_buyer_id": None,
        "buyer_before": None,
        "expires": None,
        "closed": None,
        **lines_as_arrays([]),
        **limit_parameters(NO_LIMITS, buyer=None, new_buyer=False),
    }
    read = await rows_read(rushing, amend._AMEND, change)

    assert read["InventoryHold"] < 10


def test_postgres_counts_holds_anew_after_a_thousand_changes_however_many_there_are(database: str) -> None:
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT reloptions FROM pg_class WHERE relname = 'InventoryHold'").fetchone()
    assert row is not None
    assert set(row[0]) >= {"autovacuum_analyze_scale_factor=0", "autovacuum_analyze_threshold=1000"}
