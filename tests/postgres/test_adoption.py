"""`holdfast migrate` where the earlier implementation's tables are: taken over, or refused in full."""

import re

import psycopg
import pytest
import sqlalchemy

from cli.migrate import MigrationError, migrate
from core.database import create_engine
from core.settings import Settings
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import SHOP, end, is_new, request
from domain.holds import HoldStatus
from inventory.reserve import reserve
from migrations.catalog import Table, tables_present
from tests.postgres.earlier_tables import EARLIER, PRISMA
from tests.postgres.revisions import APPLIED, AT_HEAD

NAMES = ["InventoryItem", "InventoryHold", "InventoryHoldItem", "InventoryMovement"]


def _run(url: str, *statements: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement)


def _everything(url: str) -> list[tuple[object, ...]]:
    """Describe all that is in the schema, so that «nothing was changed» can be seen."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT table_name::text, column_name::text, data_type::text, is_nullable::text, column_default::text"
            " FROM information_schema.columns WHERE table_schema = 'public'"
            " UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '' FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace"
            " UNION ALL SELECT tablename, indexname, indexdef, '', '' FROM pg_indexes WHERE schemaname = 'public'"
            " ORDER BY 1, 2, 3"
        ).fetchall()


async def test_tables_of_the_same_meaning_are_adopted_and_work(empty_database: str, database: str) -> None:
    _run(empty_database, EARLIER)
    [first, second, *later] = migrate(empty_database)
    assert later == APPLIED[1:]
    assert re.fullmatch(
        r"adopted InventoryHold, InventoryHoldItem, InventoryItem: \d+ changes, 2 opening balances", first
    )
    assert second == "active holds adopted with them: 1; no workflow waits for their deadlines"
    assert migrate(empty_database) == AT_HEAD
    adopted, made = _described(empty_database), _described(database)
    assert set(adopted["InventoryItem"].columns) - set(made["InventoryItem"].columns) == {"warehouse"}
    for name in NAMES:
        assert adopted[name].constraints == made[name].constraints
        assert adopted[name].indexes == made[name].indexes
    engine = create_engine(Settings.read({"DATABASE_URL": empty_database}))
    await assert_stock_adds_up(engine)
    assert is_new(await reserve(engine, request("new", ("mug", 7), ("cap", 1), reference="order-1")))
    assert (await end(engine, "open", HoldStatus.COMMITTED)) is not None
    assert (await end(engine, "new", HoldStatus.RELEASED)) is not None
    await assert_stock_adds_up(engine)
    await engine.dispose()


def test_a_lost_version_table_is_made_again(database: str) -> None:
    _run(database, "DROP TABLE alembic_version")
    before = _everything(database)
    [line, *later] = migrate(database)
    assert later == APPLIED[1:]
    assert line.endswith(": 0 changes, 0 opening balances")
    assert [row for row in _everything(database) if row[0] != "alembic_version"] == before


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (
            'ALTER TABLE "InventoryHold" ALTER "expiresAt" TYPE timestamp(3)',
            '"InventoryHold"."expiresAt": found timestamp(3) without time zone, expected timestamp with time zone',
        ),
        (
            'ALTER TABLE "InventoryItem" RENAME quantity TO "onHand"',
            '"InventoryItem"."quantity": found no such column, expected integer NOT NULL DEFAULT 0',
        ),
        (
            'ALTER TABLE "InventoryHold" DROP "expiresAt"',
            '"InventoryHold"."expiresAt": found no such column, expected timestamp with time zone NOT NULL',
        ),
        (
            'ALTER TABLE "InventoryItem" ALTER quantity TYPE numeric(10, 2)',
            '"InventoryItem"."quantity": found numeric(10,2), expected integer',
        ),
        (
            'ALTER TABLE "InventoryHold" ALTER status DROP NOT NULL',
            '"InventoryHold"."status": found NULL, expected NOT NULL',
        ),
        (
            'ALTER TABLE "InventoryItem" ALTER "productId" SET NOT NULL',
            '"InventoryItem"."productId": found NOT NULL, expected NULL',
        ),
        (
            'ALTER TABLE "InventoryItem" ALTER "variantKey" SET DEFAULT \'none\'',
            "\"InventoryItem\".\"variantKey\": found default 'none'::text, expected default ''::text",
        ),
        (
            'ALTER TABLE "InventoryItem" ADD "tenantId" text NOT NULL',
            '"InventoryItem"."tenantId": found text NOT NULL, expected no column that must be given',
        ),
        (
            'ALTER TABLE "InventoryItem" DROP CONSTRAINT "InventoryItem_pkey", ADD PRIMARY KEY (sku)',
            '"InventoryItem": found PRIMARY KEY (sku), expected PRIMARY KEY ("shopId", sku, "variantKey")',
        ),
        (
            'ALTER TABLE "InventoryItem" ADD CONSTRAINT "few" CHECK (quantity < 100)',
            '"InventoryItem" constraint "few": found CHECK ((quantity < 100)), expected no such constraint',
        ),
        (
            'CREATE UNIQUE INDEX "one" ON "InventoryHoldItem" ("holdId")',
            'index "one": found UNIQUE btree ("holdId"), expected no such index',
        ),
        (
            'CREATE INDEX "InventoryHold_createdAt_idx" ON "InventoryHold" ("updatedAt")',
            'index "InventoryHold_createdAt_idx": found btree ("updatedAt"), expected btree ("createdAt")',
        ),
    ],
)
def test_a_difference_is_named_and_nothing_is_changed(empty_database: str, change: str, difference: str) -> None:
    _run(empty_database, EARLIER, 'DELETE FROM "InventoryItem"', 'DELETE FROM "InventoryHold"', change)
    before = _everything(empty_database)
    with pytest.raises(MigrationError) as refused:
        migrate(empty_database)
    assert f"\n  {difference}\n" in f"{refused.value}\n"
    assert "nothing was changed" in str(refused.value)
    assert _everything(empty_database) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            "UPDATE \"InventoryItem\" SET held = 2 WHERE sku = 'mug'",
            "shop-1 mug (no variant): held 2, in active holds 3",
        ),
        (
            "UPDATE \"InventoryItem\" SET held = 1 WHERE sku = 'cap'",
            "shop-1 cap (no variant): held 1, in active holds 0",
        ),
        ("DELETE FROM \"InventoryItem\" WHERE sku = 'mug'", "shop-1 mug (no variant): held 0, in active holds 3"),
        ("UPDATE \"InventoryHold\" SET status = 'pending' WHERE id = 'over'", "InventoryHold_status_check"),
        ("UPDATE \"InventoryItem\" SET quantity = -1 WHERE sku = 'cap'", "InventoryItem_quantity_check"),
    ],
)
def test_rows_that_violate_a_constraint_are_named_and_nothing_is_changed(
    empty_database: str, change: str, named: str
) -> None:
    _run(empty_database, EARLIER, change)
    before = _everything(empty_database)
    with pytest.raises(MigrationError) as refused:
        migrate(empty_database)
    assert named in str(refused.value)
    assert _everything(empty_database) == before


def test_tables_made_by_prisma_are_refused_with_statements_that_fix_them(empty_database: str) -> None:
    _run(empty_database, PRISMA)
    with pytest.raises(MigrationError) as refused:
        migrate(empty_database)
    message = str(refused.value)
    assert '"InventoryHold": found PRIMARY KEY (id), expected PRIMARY KEY ("shopId", id)' in message
    assert message.count("expected timestamp with time zone") == 6
    _run(empty_database, *re.findall(r"^  (.+;)$", message, re.MULTILINE))
    [adopted, *later] = migrate(empty_database)
    assert adopted == "adopted InventoryHold, InventoryHoldItem: 17 changes, 0 opening balances"
    assert later == APPLIED[1:]
    with psycopg.connect(empty_database, options="-c timezone=UTC") as connection:
        [row] = connection.execute('SELECT "createdAt"::text FROM "InventoryHold" WHERE "shopId" = %s', [SHOP])
    assert row == ("2026-01-01 12:00:00+00",)


def test_a_table_in_use_is_told_and_the_next_run_adopts(empty_database: str) -> None:
    _run(empty_database, EARLIER)
    with psycopg.connect(empty_database) as other:
        other.execute('SELECT FROM "InventoryHold"')
        with pytest.raises(MigrationError, match=r"in use for more than 1\.5 s; nothing was changed"):
            migrate(empty_database)
    assert migrate(empty_database)[0].startswith("adopted")


def _described(url: str) -> dict[str, Table]:
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.connect() as connection:
            return tables_present(connection, NAMES)
    finally:
        engine.dispose()
