"""Adopts the tables of the earlier implementation, or refuses and lists every difference.

The existing tables are compared with revision 0001. Missing parts are added; every other difference is refused.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, exc

from migrations.catalog import names_created, tables_described, tables_present
from migrations.comparison import Plan, compare, quoted

_HELD_DIFFERENCES = """
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
    """The existing tables cannot be adopted. The message lists the differences; the caller must roll back."""


def adopt(connection: Connection, tables: Sequence[str], indexes: Sequence[str]) -> list[str] | None:
    """Complete existing tables to match the CREATE statements; return the log lines, or None if no table exists.

    Runs in the caller's transaction and locks the tables. Raises AdoptionRefusedError.
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
        raise AdoptionRefusedError(f"existing rows violate a constraint of this release: {_reason(error)}") from error
    _require_held_matches_holds(connection)
    balances = connection.exec_driver_sql(_OPENING_BALANCES).rowcount
    active = connection.exec_driver_sql("SELECT count(*) FROM \"InventoryHold\" WHERE status = 'active'").scalar_one()
    lines = [f"adopted {', '.join(present)}: {len(plan.statements)} changes, {balances} opening balances"]
    if active:
        lines.append(f"active holds adopted with them: {active}; no workflow waits for their deadlines")
    return lines


def _require_held_matches_holds(connection: Connection) -> None:
    rows = connection.exec_driver_sql(_HELD_DIFFERENCES).all()
    if rows:
        items = [
            f"  {row.shopId} {row.sku} {row.variantKey or '(no variant)'}: held {row.held}, in active holds "
            f"{row.in_active_holds}"
            for row in rows
        ]
        head = "`held` of these items differs from the sum of their active holds; nothing was changed:"
        raise AdoptionRefusedError(
            "\n".join([head, *items, "Run holdfast migrate again when no hold is active and `held` is 0."])
        )


def _refusal(plan: Plan) -> str:
    lines = ["the existing tables differ from this release's; nothing was changed:"]
    lines.extend(f"  {difference}" for difference in plan.differences)
    if plan.fixes:
        lines.append("These statements fix what can be fixed; try them on a copy, then run holdfast migrate again:")
        lines.extend(f"  {fix};" for fix in plan.fixes)
    return "\n".join(lines)


def _reason(error: exc.IntegrityError) -> str:
    diagnosis = getattr(error.orig, "diag", None)
    parts = [getattr(diagnosis, "message_primary", None), getattr(diagnosis, "message_detail", None)]
    return "; ".join(part for part in parts if part) or str(error.orig)
