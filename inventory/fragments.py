"""SQL fragments that several statements share."""


def lines_as_json(*, shop: str, hold: str) -> str:
    """Return a column `lines`: a hold's lines as a JSON array of [sku, variantKey, quantity], by item.

    `shop` and `hold` are the SQL expressions of the hold's key.
    """
    return f"""
  (SELECT coalesce(json_agg(json_build_array(l.sku, l."variantKey", l.quantity) ORDER BY l.sku, l."variantKey"), '[]')
   FROM "InventoryHoldItem" l WHERE l."holdId" = {hold} AND l."shopId" = {shop}) AS lines
"""  # noqa: S608 - constants


HOLD_LINES = lines_as_json(shop='h."shopId"', hold="h.id")
"""The column `lines` of a row `h` of InventoryHold."""

# The same item on two lines is one row with the sum.
DEMAND = """
  SELECT sku, "variantKey", sum(quantity) AS requested
  FROM unnest(%(skus)s::text[], %(variants)s::text[], %(quantities)s::int[]) AS line(sku, "variantKey", quantity)
  GROUP BY sku, "variantKey"
"""
"""Rows (sku, variantKey, requested) of the parameters that `lines_as_arrays` returns."""


def last_on_hand(item: str) -> str:
    """Return a lateral join `m`: its `onHand` is what the last movement of row `item` left, NULL without a movement."""
    return f"""
LEFT JOIN LATERAL (
  SELECT "onHand" FROM "InventoryMovement" m
  WHERE m."shopId" = {item}."shopId" AND m.sku = {item}.sku AND m."variantKey" = {item}."variantKey"
  ORDER BY m.id DESC LIMIT 1
) m ON true
"""  # noqa: S608 - constants
