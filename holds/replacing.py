"""Replaces a hold by another with the same reference: the new one takes over the units of the old one."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

from domain.holds import Hold, HoldKey, HoldStatus
from holds.errors import (
    HoldExistsError,
    HoldNotActiveError,
    HoldNotFoundError,
    PaymentInProgressError,
    PaymentOpenError,
    PaymentProviderUnavailableError,
    PaymentsNotConfiguredError,
)
from holds.model import HoldRequest
from holds.resume import AlreadyEnded, HoldMessenger
from holds.workflow_client import WorkflowClient
from workflows.payment_messages import ChangeRefusal

Answer = TypeVar("Answer")

_AGAIN_SECONDS = (0.02, 0.1)
"""After how long it is tried again. Random, so that many at once do not replace each other's holds in step."""


class Holds(Protocol):
    """What is needed of HoldService."""

    messenger: HoldMessenger

    async def row(self, key: HoldKey) -> Hold:
        """Return the hold. Raises HoldNotFoundError."""


async def replacing(request: HoldRequest, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
    """Return the result of the attempt, which exchanges the hold that has the reference for another.

    With `replace`, it is repeated while another request makes its hold in between. Raises HoldExistsError without.
    """
    while True:
        try:
            return await attempt()
        except HoldExistsError:
            if not request.replace:
                raise
        await asyncio.sleep(random.uniform(*_AGAIN_SECONDS))  # noqa: S311 - not for secrets


async def make_way(holds: Holds, workflows: WorkflowClient, replaced: HoldKey, actor: str | None) -> str | None:
    """Close the payment of the hold to replace, and return its id, or None where it has ended meanwhile.

    Raises HoldNotActiveError (it was paid), PaymentInProgressError, PaymentProviderUnavailableError and
    PaymentsNotConfiguredError.
    """
    try:
        answer = await holds.messenger.send(replaced, partial(workflows.make_way, actor=actor))
        if isinstance(answer, AlreadyEnded) or answer.ended is not None:
            hold = answer.hold if isinstance(answer, AlreadyEnded) else await holds.row(replaced)
            if hold.status is HoldStatus.COMMITTED:
                message = "The hold with this reference was paid meanwhile."
                raise HoldNotActiveError(replaced, hold.status, message)
            return None
        if answer.refused is not None:
            raise change_refusal(answer.refused, await holds.row(replaced))
    except HoldNotFoundError:
        return None  # it was archived or deleted meanwhile: nothing is in the way
    return replaced.hold_id


def change_refusal(refused: ChangeRefusal, hold: Hold) -> Exception:
    """Return the error for a change that the hold's payment prevents."""
    errors: dict[ChangeRefusal, Exception] = {
        "payment_open": PaymentOpenError(hold),
        "in_progress": PaymentInProgressError(hold),
        "not_configured": PaymentsNotConfiguredError("STRIPE_API_KEY is not set for the worker."),
        "away": PaymentProviderUnavailableError(),
    }
    return errors[refused]
