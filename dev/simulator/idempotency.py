"""Idempotency keys (https://docs.stripe.com/api/idempotent_requests): the first answer is kept and given again."""

import hashlib
import json

from dev.simulator.account import World
from dev.simulator.errors import invalid, key_in_use, other_parameters
from dev.simulator.records import Answer, Json

_LONGEST_KEY = 255
_KEPT_SECONDS = 24 * 60 * 60


def fingerprint(method: str, path: str, values: Json) -> str:
    """Return what must be the same whenever a key is used again."""
    return hashlib.sha256(json.dumps([method, path, values], sort_keys=True).encode()).hexdigest()


def claim(world: World, key: str, print_: str) -> Answer | None:
    """Take the key for a request that begins now, or return the answer that the key has.

    Raises StripeError where the key belongs to another request, or to one that still runs.
    """
    if len(key) > _LONGEST_KEY:
        raise invalid(f"Idempotency keys have up to {_LONGEST_KEY} characters.")
    now = world.clock.now()
    kept = world.store.answers.get(key)
    if kept is not None and kept.status is not None and now - kept.created > _KEPT_SECONDS:
        kept = None
    if kept is None:
        world.store.answers[key] = Answer(print_, now)
        return None
    if kept.fingerprint != print_:
        raise other_parameters(key)
    if kept.status is None:
        raise key_in_use(key)
    return kept


def keep(world: World, key: str, status: int, body: Json, request_id: str) -> None:
    """Give this answer whenever the key comes again."""
    answer = world.store.answers[key]
    answer.status, answer.body, answer.request_id = status, body, request_id
    world.changes += 1


def release(world: World, key: str) -> None:
    """Give the key back: no endpoint began to run."""
    world.store.answers.pop(key, None)
