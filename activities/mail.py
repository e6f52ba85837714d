"""One mail over SMTP, as SMTP_URL says."""

from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

import aiosmtplib

_TIMEOUT_SECONDS = 15.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


async def send(message: EmailMessage, smtp_url: str) -> None:
    """Hand the mail to the server. Raises aiosmtplib.SMTPException or OSError unless it was taken for every recipient.

    `smtps://` is TLS from the first byte. With `smtp://` TLS is used where the server offers it, and is a condition
    where a password would go over a network.
    """
    url = urlsplit(smtp_url)
    secure = url.scheme == "smtps"
    must = bool(url.password) and url.hostname not in _LOOPBACK
    refused, _ = await aiosmtplib.send(
        message,
        hostname=url.hostname,
        port=url.port or (465 if secure else 587 if url.password else 25),
        username=unquote(url.username) if url.username else None,
        password=unquote(url.password) if url.password else None,
        use_tls=secure,
        start_tls=False if secure else (True if must else None),
        timeout=_TIMEOUT_SECONDS,
    )
    if refused:
        raise aiosmtplib.SMTPRecipientsRefused(
            [aiosmtplib.SMTPRecipientRefused(r.code, r.message, who) for who, r in refused.items()]
        )
