"""Sends a mail over SMTP, or only signs in to the server."""

from email.message import EmailMessage
from typing import Any
from urllib.parse import unquote, urlsplit

import aiosmtplib

from core.alert_settings import mail_port

_TIMEOUT_SECONDS = 15.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


async def send(message: EmailMessage, smtp_url: str) -> None:
    """Send the mail. Raises aiosmtplib.SMTPException or OSError unless it was accepted for every recipient.

    `smtps://` uses TLS from the start. `smtp://` uses STARTTLS if the server offers it, and requires it if a password
    would be sent over a network.
    """
    refused, _ = await aiosmtplib.send(message, **_connection(smtp_url))
    if refused:
        raise aiosmtplib.SMTPRecipientsRefused(
            [aiosmtplib.SMTPRecipientRefused(r.code, r.message, who) for who, r in refused.items()]
        )


async def sign_in(smtp_url: str) -> None:
    """Connect and sign in as `send` does, and send nothing. Raises aiosmtplib.SMTPException or OSError."""
    async with aiosmtplib.SMTP(**_connection(smtp_url)) as server:
        await server.noop()


def _connection(smtp_url: str) -> dict[str, Any]:
    """Return the arguments that connect to the server."""
    url = urlsplit(smtp_url)
    secure = url.scheme == "smtps"
    tls_required = bool(url.password) and url.hostname not in _LOOPBACK
    return {
        "hostname": url.hostname,
        "port": mail_port(url),
        "username": unquote(url.username) if url.username else None,
        "password": unquote(url.password) if url.password else None,
        "use_tls": secure,
        "start_tls": False if secure else (True if tls_required else None),
        "timeout": _TIMEOUT_SECONDS,
    }
