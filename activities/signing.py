"""Signs outgoing POSTs by Standard Webhooks (https://www.standardwebhooks.com)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import SecretStr
from standardwebhooks import Webhook

from workflows.deliveries import Event


@dataclass(frozen=True, slots=True)
class SignedPost:
    """A body, and the headers with its signatures."""

    body: bytes
    headers: dict[str, str]


def sign(event: Event, secrets: Sequence[SecretStr], now: datetime) -> SignedPost:
    """Return the event as it is sent, with a signature by each secret; the receiver needs to verify one of them.

    Body and id are the same at every attempt; time and signatures are not.
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
