"""Repeats a request with `replace` while other requests take its reference first."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from holds.errors import HoldExistsError
from holds.model import HoldRequest

Answer = TypeVar("Answer")

_AGAIN_SECONDS = (0.02, 0.1)
"""After how long it is tried again. Random, so that many at once do not release and make their holds in step."""


async def replacing(request: HoldRequest, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
    """Return the result of the attempt, which releases the hold that has the reference and makes another.

    With `replace`, it is repeated while another request makes its hold in between. Raises HoldExistsError without.
    """
    while True:
        try:
            return await attempt()
        except HoldExistsError:
            if not request.replace:
                raise
        await asyncio.sleep(random.uniform(*_AGAIN_SECONDS))  # noqa: S311 - not for secrets
