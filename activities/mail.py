"""Sends a mail over SMTP."""

from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

import aiosmtplib

_TIMEOUT_SECONDS = 15.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


async def send(message: EmailMessage, smtp_url: str) -> None:
    """Send the mail. Raises aiosmtplib.SMTPException or OSError unless it was accepted for every recipient.

    `smtps://` uses TLS from the start. `smtp://` uses STARTTLS if the server offers it, and requires it if a password
    would be sent over a network.
    """
    url = urlsplit(smtp_url)
    secure = url.scheme == "smtps"
    tls_required = bool(url.password) and url.hostname not in _LOOPBACK
    refused, _ = await aiosmtplib.send(
        message,
        hostname=url.hostname,
        port=url.port or (465 if secure else 587 if url.password else 25),
        username=unquote(url.username) if url.username else None,
        password=unquote(url.password) if url.password else None,
        use_tls=secure,
        start_tls=False if secure else (True if tls_required else None),
        timeout=_TIMEOUT_SECONDS,
    )
    if refused:
        raise aiosmtplib.SMTPRecipientsRefused(
            [aiosmtplib.SMTPRecipientRefused(r.code, r.message, who) for who, r in refused.items()]
        )
