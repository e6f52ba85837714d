"""The low-stock activities: send the mail, read the items."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime

import aiosmtplib
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.database_errors import database_errors_retried
from activities.mail import send
from core.database import Row, fetch
from core.metrics import Telemetry
from core.settings import Settings
from workflows.deliveries import AlertsPort, LowItemFigures, LowStock, LowStockDigest
from workflows.pending_alerts import ItemFall

_LONGEST_NAME = 120

_ITEM = """
SELECT quantity, held, "lowStockThreshold" AS threshold FROM "InventoryItem"
WHERE "shopId" = %(shop)s AND sku = %(sku)s AND "variantKey" = %(variant)s AND quantity <= "lowStockThreshold"
"""

_ITEMS = """
SELECT sku, "variantKey", name, "productId", "variantAttributes", quantity, held, "lowStockThreshold" AS threshold
FROM "InventoryItem"
WHERE "shopId" = %(shop)s AND quantity <= "lowStockThreshold" AND "retiredAt" IS NULL
  AND (sku, "variantKey") IN (SELECT * FROM unnest(%(skus)s::text[], %(variants)s::text[]))
ORDER BY quantity, sku, "variantKey"
"""


class AlertActivities(AlertsPort):
    """Implements AlertsPort over SMTP and the item's row."""

    def __init__(self, engine: AsyncEngine, settings: Settings, telemetry: Telemetry) -> None:
        self._engine = engine
        self._settings = settings
        self._telemetry = telemetry

    @activity.defn(name="mail-low-stock")
    async def mail_low_stock(self, low: LowStock) -> None:
        """Send the mail. Raises ApplicationError unless the mail server accepted it."""
        fields = {"shop_id": low.shop_id, "sku": low.sku, "variant_key": low.variant_key}
        await self._mail(low_stock_mail(low, self._settings), fields | {"quantity": low.fall.quantity})

    @activity.defn(name="mail-low-stock-digest")
    async def mail_low_stock_digest(self, digest: LowStockDigest) -> None:
        """Send the mail. Raises ApplicationError unless the mail server accepted it."""
        fields = {"shop_id": digest.shop_id, "items": len(digest.items), "unlisted": digest.unlisted}
        await self._mail(low_stock_digest_mail(digest, self._settings), fields)

    async def _mail(self, message: EmailMessage, fields: Mapping[str, object]) -> None:
        smtp_url = self._settings.smtp_url.get_secret_value()
        if not (self._settings.alert_recipients and smtp_url):  # removed from the settings since the alert
            return
        try:
            await send(message, smtp_url)
        except (aiosmtplib.SMTPException, OSError) as error:
            problem = f"{type(error).__name__}: {error}"
            self._telemetry.warn("inventory_alert_error", **fields, problem=problem)
            raise ApplicationError(f"the mail server did not accept it: {problem}", type="undelivered") from error
        self._telemetry.count("inventory_alert_sent", **fields)

    @activity.defn(name="still-low")
    async def still_low(self, low: LowStock) -> LowStock | None:
        """Return the item's current figures if it is still low, else None."""
        key = {"shop": low.shop_id, "sku": low.sku, "variant": low.variant_key}
        with database_errors_retried():
            rows = await fetch(self._engine, _ITEM, key)
        if not rows:
            return None
        row = rows[0]
        fall = replace(low.fall, quantity=row["quantity"], held=row["held"], threshold=row["threshold"])
        return replace(low, fall=fall)

    @activity.defn(name="read-low-items")
    async def read_low_items(self, digest: LowStockDigest, falls: list[ItemFall]) -> LowStockDigest:
        """Return the digest with those of the items that are still low, and their current figures."""
        names = {"skus": [fall.sku for fall in falls], "variants": [fall.variant_key for fall in falls]}
        with database_errors_retried():
            rows = await fetch(self._engine, _ITEMS, {"shop": digest.shop_id, **names})
        return replace(digest, items=[_figures(row) for row in rows])


def _figures(row: Row) -> LowItemFigures:
    attributes = (f"{name} {value}" for name, value in (row["variantAttributes"] or {}).items())
    name = ", ".join(part for part in (row["name"] or row["productId"], *attributes) if part)
    return LowItemFigures(
        sku=row["sku"],
        variant_key=row["variantKey"],
        name=name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…",
        quantity=row["quantity"],
        held=row["held"],
        threshold=row["threshold"],
    )


def low_stock_digest_mail(digest: LowStockDigest, settings: Settings) -> EmailMessage:
    """Return the mail. Its Message-ID is derived from its first fall, so that a duplicate is recognisable as one."""
    count = len(digest.items) + digest.unlisted
    what = f"{_item_name(digest.items[0])} in {digest.shop_id}, {digest.items[0].quantity} left"
    subject = f"Low stock: {what if count == 1 else f'{count} items in {digest.shop_id}'}"
    message = _message(subject, f"low-stock-digest.{digest.event_id}", digest.at, settings)
    lines = [f"Stock of {digest.shop_id} fell to its threshold or below:", ""]
    lines.extend(_line(item) for item in digest.items)
    if digest.unlisted:
        lines.append(f"- and {digest.unlisted} more")
    where = digest.link or f"holdfast stock show --shop {digest.shop_id} --low"
    lines += ["", f"All low items: {where}", f"At: {digest.at:%Y-%m-%d %H:%M:%S} UTC", ""]
    lines += ["An item is not mentioned again for 24 hours, and after that only if it recovers and falls again.", ""]
    message.set_content("\n".join(lines))
    return message


def _line(item: LowItemFigures) -> str:
    name = f"{item.name} ({_item_name(item)})" if item.name else _item_name(item)
    held = f", {item.held} more in open holds" if item.held else ""
    return f"- {name}: {item.quantity} left (threshold {item.threshold}){held}"


def _item_name(item: LowItemFigures | LowStock) -> str:
    return f"{item.sku} {item.variant_key}".strip()


def low_stock_mail(low: LowStock, settings: Settings) -> EmailMessage:
    """Return the mail of a LowStockAlertWorkflow, derived from the fall like that of a digest."""
    fall = low.fall
    name = _item_name(low)
    subject = f"Low stock: {name} in {low.shop_id}, {fall.quantity} left"
    message = _message(subject, f"low-stock.{fall.event_id}", fall.at, settings)
    message.set_content(
        f"The available stock of {name} in {low.shop_id} fell to {fall.quantity} (threshold {fall.threshold}).\n"
        f"\n"
        f"Available:      {fall.quantity}\n"
        f"In open holds:  {fall.held}\n"
        f"On hand:        {fall.quantity + fall.held}\n"
        f"At:             {fall.at:%Y-%m-%d %H:%M:%S} UTC\n"
        f"\n"
        f"No other mail about this item is sent for 24 hours, and after that only if it recovers and falls again.\n"
    )
    return message


def _message(subject: str, name: str, at: datetime, settings: Settings) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = settings.alert_sender
    message["To"] = ", ".join(settings.alert_recipients)
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{name}@holdfast>"
    message["Auto-Submitted"] = "auto-generated"
    return message
