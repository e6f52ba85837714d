"""What the check before a create reads when Postgres has counted the holds in a quiet hour, before a rush."""

from collections.abc import AsyncIterator

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import create_engine
from core.settings import Settings
from dev.postgres import EmbeddedPostgres
from inventory import checks
from tests.postgres.test_audit_reads import rows_read
from tests.servers import database_on

_ENDED = """
INSERT INTO "InventoryHold" (id, "shopId", status, "expiresAt", "releasedAt")
SELECT 'ended-' || n, 'shop', 'released', now(), now() FROM generate_series(1, 20000) n
"""
_ACTIVE = """
INSERT INTO "InventoryHold" (id, "shopId", status, "expiresAt")
SELECT 'active-' || n, 'shop', 'active', now() + interval '1 hour' FROM generate_series(1, 500) n
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


async def test_a_request_without_a_reference_reads_no_other_hold(rushing: AsyncEngine) -> None:
    read = await rows_read(rushing, checks._CHECK, _REQUEST)

    assert read["InventoryHold"] == 0


def test_postgres_counts_holds_anew_after_a_thousand_changes_however_many_there_are(database: str) -> None:
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT reloptions FROM pg_class WHERE relname = 'InventoryHold'").fetchone()
    assert row is not None
    assert set(row[0]) >= {"autovacuum_analyze_scale_factor=0", "autovacuum_analyze_threshold=1000"}
