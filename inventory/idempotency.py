"""Idempotency of adjustments and returns: each is made once for its key, and its result is stored with the key."""

import hashlib
import json
import uuid

from core.database import Row
from inventory.errors import KeyReusedError

# Table InventoryCorrection: one row for each adjustment and return that was made.
STORED_RESULT = """
SELECT "requestHash", answer FROM "InventoryCorrection" WHERE "shopId" = %(shop)s AND "idempotencyKey" = %(key)s
"""


def key_or_new(key: str | None) -> str:
    """Return the key under which the result is stored: the caller's, or a new one.

    With a new key, a request without a key is made once too when it is repeated after its connection broke.
    """
    return key if key is not None else f"once:{uuid.uuid4().hex}"


def request_hash(*request: object) -> str:
    """Return the digest that distinguishes a repeat from another request with the same key."""
    return hashlib.sha256(json.dumps(request).encode()).hexdigest()


def result_of_repeat(stored: Row, expected_hash: str) -> object:
    """Return the JSON of the stored result. Raises KeyReusedError where another request used the key."""
    if stored["requestHash"] != expected_hash:
        raise KeyReusedError
    return stored["answer"]
