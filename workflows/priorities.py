"""The order in which Temporal hands waiting tasks to workers: by importance, then the shops in turn.

It acts only on tasks that wait; a worker that is free takes every task at once. An activity may be more or less
important than its run; a workflow task has the importance of its run, whatever woke it.
"""

import hashlib
from enum import IntEnum

from temporalio.common import Priority


class Importance(IntEnum):
    """The priority keys: the smaller goes first. Temporal has five; a task without one counts as the middle."""

    SALE = 1
    """A payment or a commit: money has moved, or will."""
    END = 2
    """A release, an extension, a refund: somebody waits, or stock comes back."""
    CHECKOUT = 3
    """Everything else that a caller waits for, and the runs of holds."""
    REPORT = 4
    """What people are told about."""
    EXPIRY = 5
    """The end of a hold that nobody waits for. It may wait until nothing else does."""


def of_shop(shop_id: str, importance: Importance = Importance.CHECKOUT) -> Priority:
    """Return the priority of a run of this shop. Its activities and children have the shop's key too.

    The key is a digest: Temporal takes at most 64 bytes, and a shop's id may be longer.
    """
    return Priority(priority_key=importance, fairness_key=hashlib.sha256(shop_id.encode()).hexdigest()[:32])


def of_step(importance: Importance) -> Priority:
    """Return the priority of an activity or a child; it has the shop's key from its run."""
    return Priority(priority_key=importance)
