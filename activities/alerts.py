"""The low-stock activities: send the mail, check the item."""

from dataclasses import replace
from email.message import EmailMessage
from email.utils import format_datetime

import aiosmtplib
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.database_errors import database_errors_retried
from activities.mail import send
from core.database import fetch
from core.metrics import Telemetry
from core.settings import Settings
from workflows.deliveries import AlertsPort, LowStock

_ITEM = """
SELECT quantity, held, "lowStockThreshold" AS threshold FROM "InventoryItem"
WHERE "shopId" = %(shop)s AND sku = %(sku)s AND "variantKey" = %(variant)s AND quantity <= "lowStockThreshold"
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
        settings = self._settings
        smtp_url = settings.smtp_url.get_secret_value()
        if not (settings.alert_recipients and smtp_url):  # removed from the settings since the alert
            return
        fields = {"shop_id": low.shop_id, "sku": low.sku, "variant_key": low.variant_key}
        try:
            await send(low_stock_mail(low, settings), smtp_url)
        except (aiosmtplib.SMTPException, OSError) as error:
            problem = f"{type(error).__name__}: {error}"
            self._telemetry.warn("inventory_alert_error", **fields, problem=problem)
            raise ApplicationError(f"the mail server did not accept it: {problem}", type="undelivered") from error
        self._telemetry.count("inventory_alert_sent", **fields, quantity=low.fall.quantity)

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


def low_stock_mail(low: LowStock, settings: Settings) -> EmailMessage:
    """Return the mail. Its Message-ID is derived from the fall, so that a duplicate is recognisable as one."""
    fall = low.fall
    name = f"{low.sku} {low.variant_key}".strip()
    message = EmailMessage()
    message["Subject"] = f"Low stock: {name} in {low.shop_id}, {fall.quantity} left"
    message["From"] = settings.alert_sender
    message["To"] = ", ".join(settings.alert_recipients)
    message["Date"] = format_datetime(fall.at)
    message["Message-ID"] = f"<low-stock.{fall.event_id}@holdfast>"
    message["Auto-Submitted"] = "auto-generated"
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
