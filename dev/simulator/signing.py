"""Stripe's webhook signature (https://docs.stripe.com/webhooks/signature): HMAC-SHA256 of time and body."""

import hashlib
import hmac
import time


def signature(body: str, secrets: tuple[str, ...]) -> str:
    """Return the `Stripe-Signature` header, one `v1` for each secret.

    It goes by the machine's clock: a moved simulator clock must not make every signature look stale.
    """
    at = int(time.time())
    signed = f"{at}.{body}".encode()
    versions = [f"v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}" for secret in secrets]
    return ",".join([f"t={at}", *versions])
