"""Idempotency keys (https://docs.stripe.com/api/idempotent_requests): the first answer is stored and repeated."""

import hashlib
import json

from dev.simulator.account import Account
from dev.simulator.errors import invalid, key_in_use, other_parameters
from dev.simulator.records import Answer, Json

_LONGEST_KEY = 255
_KEPT_SECONDS = 24 * 60 * 60


def fingerprint(method: str, path: str, values: Json) -> str:
    """Return what must be the same whenever a key is used again."""
    return hashlib.sha256(json.dumps([method, path, values], sort_keys=True).encode()).hexdigest()


def claim(account: Account, key: str, print_: str) -> Answer | None:
    """Take the key for a request that begins now, or return the answer that the key has.

    Raises StripeError where the key belongs to another request, or to one that still runs.
    """
    if len(key) > _LONGEST_KEY:
        raise invalid(f"Idempotency keys have up to {_LONGEST_KEY} characters.")
    now = account.clock.now()
    kept = account.store.answers.get(key)
    if kept is not None and kept.status is not None and now - kept.created > _KEPT_SECONDS:
        kept = None
    if kept is None:
        account.store.answers[key] = Answer(print_, now)
        return None
    if kept.fingerprint != print_:
        raise other_parameters(key)
    if kept.status is None:
        raise key_in_use(key)
    return kept


def keep(account: Account, key: str, status: int, body: Json, request_id: str) -> None:
    """Store the answer for repeats of the key."""
    answer = account.store.answers[key]
    answer.status, answer.body, answer.request_id = status, body, request_id
    account.changes += 1


def release(account: Account, key: str) -> None:
    """Release the key: no endpoint has run."""
    account.store.answers.pop(key, None)
