"""Taking over the tables of the earlier implementation, or saying in full why not.

What is expected is revision 0001 itself, described by Postgres; what only adds to the tables is done, all else refused.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, exc

from migrations.catalog import names_created, tables_described, tables_present
from migrations.comparison import Plan, compare, quoted

_UNEQUAL = """
SELECT "shopId", sku, "variantKey", coalesce(i.held, 0) AS held, coalesce(d.n, 0) AS in_active_holds
FROM "InventoryItem" i FULL JOIN (
  SELECT l."shopId", l.sku, l."variantKey", sum(l.quantity) AS n
  FROM "InventoryHoldItem" l JOIN "InventoryHold" h ON h."shopId" = l."shopId" AND h.id = l."holdId"
  WHERE h.status = 'active' GROUP BY l."shopId", l.sku, l."variantKey"
) d USING ("shopId", sku, "variantKey")
WHERE coalesce(i.held, 0) <> coalesce(d.n, 0) ORDER BY "shopId", sku, "variantKey" LIMIT 50
"""

_OPENING_BALANCES = """
INSERT INTO "InventoryMovement" ("shopId", sku, "variantKey", kind, delta, "onHand", actor, reason)
SELECT i."shopId", i.sku, i."variantKey", 'count', i.quantity + i.held - coalesce(last."onHand", 0),
       i.quantity + i.held, 'migrate', 'opening balance'
FROM "InventoryItem" i LEFT JOIN LATERAL (
  SELECT m."onHand" FROM "InventoryMovement" m
  WHERE m."shopId" = i."shopId" AND m.sku = i.sku AND m."variantKey" = i."variantKey" ORDER BY m.id DESC LIMIT 1
) last ON true
WHERE i.quantity + i.held <> coalesce(last."onHand", 0)
"""


class AdoptionRefusedError(Exception):
    """The tables that are there differ from what this release needs. Nothing was changed; the message says what."""


def adopt(connection: Connection, tables: Sequence[str], indexes: Sequence[str]) -> list[str] | None:
    """Bring tables that are there to what the CREATE statements describe; None where none of them is there.

    Runs in the caller's transaction and returns what was done, in lines. Raises AdoptionRefusedError, after which the
    caller must roll back.
    """
    names = list(names_created(tables))
    if not (present := tables_present(connection, names)):
        return None
    connection.exec_driver_sql(f"LOCK TABLE {', '.join(map(quoted, present))} IN ACCESS EXCLUSIVE MODE")
    expected = tables_described(connection, [*tables, *indexes])
    plan = compare(expected, tables_present(connection, names), tables, indexes)
    if plan.differences:
        raise AdoptionRefusedError(_refusal(plan))
    try:
        for statement in plan.statements:
            connection.exec_driver_sql(statement)
    except exc.IntegrityError as error:
        raise AdoptionRefusedError(f"rows that are there break a rule of this release: {_told(error)}") from error
    _require_equal_held(connection)
    balances = connection.exec_driver_sql(_OPENING_BALANCES).rowcount
    active = connection.exec_driver_sql("SELECT count(*) FROM \"InventoryHold\" WHERE status = 'active'").scalar_one()
    lines = [f"adopted {', '.join(present)}: {len(plan.statements)} changes, {balances} opening balances"]
    if active:
        lines.append(f"active holds adopted with them: {active}; no workflow waits for their deadlines")
    return lines


def _require_equal_held(connection: Connection) -> None:
    rows = connection.exec_driver_sql(_UNEQUAL).all()
    if rows:
        items = [
            f"  {row.shopId} {row.sku} {row.variantKey or '(no variant)'}: held {row.held}, in active holds "
            f"{row.in_active_holds}"
            for row in rows
        ]
        head = "what items have in `held` is not what active holds have; nothing was changed:"
        raise AdoptionRefusedError("\n".join([head, *items, "Run it again once no hold is active and `held` is 0."]))


def _refusal(plan: Plan) -> str:
    lines = ["the tables that are there differ from this release's; nothing was changed:"]
    lines.extend(f"  {difference}" for difference in plan.differences)
    if plan.mends:
        lines.append("These statements mend what can be mended; try them on a copy, then run holdfast migrate again:")
        lines.extend(f"  {mend};" for mend in plan.mends)
    return "\n".join(lines)


def _told(error: exc.IntegrityError) -> str:
    diagnosis = getattr(error.orig, "diag", None)
    parts = [getattr(diagnosis, "message_primary", None), getattr(diagnosis, "message_detail", None)]
    return "; ".join(part for part in parts if part) or str(error.orig)
