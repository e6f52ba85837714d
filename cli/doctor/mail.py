"""Checks that the mail server takes the connection and the password. Nothing is sent."""

import asyncio

import aiosmtplib

from activities.mail import sign_in
from cli.doctor.results import CheckResult, fault, not_applicable, ok
from cli.doctor.settings import masked
from core.error_messages import first_line
from core.settings import Settings

_AREA, _NAME = "alerts", "mail server"
_SECONDS = 8.0


async def check_mail_server(settings: Settings) -> list[CheckResult]:
    """Sign in to the server of SMTP_URL."""
    url = settings.smtp_url.get_secret_value()
    if not (url and settings.alert_recipients):
        return [not_applicable(_AREA, _NAME, "STOCK_ALERT_RECIPIENT and SMTP_URL are not both set")]
    try:
        async with asyncio.timeout(_SECONDS):
            await sign_in(url)
    except TimeoutError:
        found, fix = f"no answer in {_SECONDS:g} s", "check host and port of SMTP_URL, and the firewall"
    except aiosmtplib.SMTPAuthenticationError as error:
        found, fix = first_line(error), "correct user and password in SMTP_URL, with special characters as %XX"
    except (aiosmtplib.SMTPException, OSError) as error:
        found, fix = first_line(error), "start the mail server, or correct host and port of SMTP_URL"
    else:
        return [ok(_AREA, _NAME, f"{masked(url)} answers; `holdfast alerts test` sends a mail")]
    return [fault(_AREA, _NAME, f"{masked(url)}: {found}", fix)]
