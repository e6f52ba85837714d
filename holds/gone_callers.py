"""Gives back the holds of callers who got no answer and cannot ask again (docs/decisions/0035)."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from holds.errors import RequestTimeoutError, TemporalBusyError, UnavailableError
from holds.model import HoldRequest
from holds.request_timeout import run_for_caller
from holds.temporal_errors import NoRunningWorkflowError
from holds.workflow_client import WorkflowClient
from workflows.cancellation import CALLER_GONE
from workflows.hold import HoldWorkflow
from workflows.messages import Cancel

Answer = TypeVar("Answer")

_AGAIN_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Before each attempt. The start that was given up may still be on its way to Temporal at the first one."""


class GoneCallers:
    """Runs the use cases that make a hold."""

    def __init__(self, workflows: WorkflowClient) -> None:
        self._workflows = workflows
        self._cancels: set[asyncio.Task[None]] = set()

    async def run(self, milliseconds: int, work: Coroutine[Any, Any, Answer], request: HoldRequest) -> Answer:
        """Return the result of `work` as `run_for_caller`.

        If the caller gets none, and has no name for the hold, the hold is cancelled, whether it was made or may still
        be. The errors do not name it then: what is given back cannot be found by a repeat.
        """
        if request.named:
            return await run_for_caller(milliseconds, work, request.key)
        try:
            return await run_for_caller(milliseconds, work, request.key)
        except (RequestTimeoutError, UnavailableError) as error:
            self._give_back(request)
            error.key = None
            raise
        except TemporalBusyError:  # of the update that asks for the outcome: the hold may have been started before
            self._give_back(request)
            raise
        except asyncio.CancelledError:  # the caller has broken off
            self._give_back(request)
            raise

    def _give_back(self, request: HoldRequest) -> None:
        cancel = asyncio.create_task(self._cancel(request))
        self._cancels.add(cancel)
        cancel.add_done_callback(self._cancels.discard)

    async def _cancel(self, request: HoldRequest) -> None:
        message = Cancel(actor="holdfast", reason=CALLER_GONE)
        for seconds in _AGAIN_SECONDS:
            await asyncio.sleep(seconds)
            with suppress(NoRunningWorkflowError, UnavailableError, TemporalBusyError):
                await self._workflows.signal(request.key, HoldWorkflow.cancel, message)
                return

    async def close(self) -> None:
        """End the attempts that are under way: the process ends."""
        for cancel in list(self._cancels):
            cancel.cancel()
        await asyncio.gather(*self._cancels, return_exceptions=True)
