"""Outgoing POSTs signed as Standard Webhooks (https://www.standardwebhooks.com) say."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import SecretStr
from standardwebhooks import Webhook

from workflows.deliveries import Event


@dataclass(frozen=True, slots=True)
class SignedPost:
    """A body and the headers that prove where it comes from."""

    body: bytes
    headers: dict[str, str]


def signed(event: Event, secrets: Sequence[SecretStr], now: datetime) -> SignedPost:
    """Return the event as it goes over the wire, with one signature for each secret: the receiver needs one of them.

    The body and the id are the same at every attempt, the time and the signatures are the attempt's.
    """
    occurred = event.occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    body = json.dumps(
        {"type": event.type, "timestamp": occurred, "data": event.data},
        separators=(",", ":"),
        ensure_ascii=False,
    )
    signatures = (Webhook(secret.get_secret_value()).sign(event.id, now, body) for secret in secrets)
    return SignedPost(
        body.encode(),
        {
            "Content-Type": "application/json; charset=utf-8",
            "webhook-id": event.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        },
    )
