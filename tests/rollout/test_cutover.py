"""The earlier implementation's tables with live holds: adopted, each ends as it would have, once."""

from pathlib import Path

import psycopg

from dev.harness.invariants import broken_rules
from dev.harness.stock import stock_of
from dev.temporal import EmbeddedTemporal
from tests.e2e.deployment import Deployment
from tests.operations.diagnosis import SECRET
from tests.postgres.earlier_tables import EARLIER
from tests.rollout.operator import Operator, paid

# As the earlier implementation reserves and sells.
RESERVE = """
UPDATE "InventoryItem" SET quantity = quantity - 1, held = held + 1, "updatedAt" = now() WHERE sku = 'mug';
INSERT INTO "InventoryHold" (id, "shopId", status, "expiresAt", "updatedAt")
VALUES ('{hold}', 'shop-1', 'active', now() + interval '{life}', now());
INSERT INTO "InventoryHoldItem" ("holdId", "shopId", sku, "variantKey", quantity)
VALUES ('{hold}', 'shop-1', 'mug', '', 1);
"""
SELL = """
UPDATE "InventoryItem" SET held = held - 1, "updatedAt" = now() WHERE sku = 'mug';
UPDATE "InventoryHold" SET status = 'committed', "committedAt" = now(), "updatedAt" = now() WHERE id = '{hold}';
"""
LIVES = {"bought": "20 minutes", "left": "20 minutes", "stale": "-1 hour", "paid": "20 minutes", "brief": "8 seconds"}


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement.encode())


async def test_live_holds_of_the_earlier_implementation(
    empty_database: str, own_temporal: EmbeddedTemporal, tmp_path: Path
) -> None:
    run(empty_database, EARLIER, *(RESERVE.format(hold=hold, life=life) for hold, life in LIVES.items()))
    new = Deployment(tmp_path, empty_database, own_temporal.address, STRIPE_WEBHOOK_SECRET=SECRET, CRON_SECRET="c" * 32)
    try:
        await new.connect()
        operator = Operator("cutover", tmp_path, new)
        before = await stock_of(new.engine, "mug")
        assert before == (2, 8)
        assert "active holds adopted with them: 6" in await operator.does("holdfast migrate")
        # Back, where it sells one, and here again: what was added is in nobody's way.
        run(empty_database, RESERVE.format(hold="again", life="1 minute"), SELL.format(hold="again"))
        await operator.does("""psql "$DATABASE_URL" -c 'DROP TABLE alembic_version'""")
        assert "1 opening balances" in await operator.does("holdfast migrate")
        deadline = (await new.row("bought") or {})["expiresAt"]

        await new.start_worker()
        found = await operator.does("holdfast audit", code=1)
        assert len([line for line in found.splitlines() if line.startswith("lost_run")]) == 6
        assert await new.end_of("stale") == "expired"
        assert await new.end_of("open") == "expired"  # three units, its time was over when it was adopted
        assert "nothing is wrong" in await operator.does("holdfast audit")
        assert (await new.row("bought") or {})["expiresAt"] == deadline

        await new.start_api()
        assert (await new.answered("bought", "commit"))["status"] == "committed"
        assert (await new.answered("left", "release"))["status"] == "released"
        await paid(new, "paid")
        assert await new.end_of("paid") == "committed"
        await operator.does("holdfast smoke")
        assert "✗ CRON_SECRET" in await operator.does("holdfast doctor", code=1)
        assert await new.end_of("brief") == "expired"
        assert await stock_of(new.engine, "mug") == (7, 0)
        [not_ours] = await broken_rules(new.engine)
        assert not_ours == "commit without movement, or the reverse: {'hold': 'again'}"  # its sale is in the balance
    finally:
        await new.close()
