"""Starts hold workflows whose first task runs in this process: Temporal sends that task back with the start."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from temporalio.client import Client
from temporalio.service import RPCError

from domain.holds import Held, ReserveOutcome
from holds.start_options import start_options
from holds.temporal_errors import classified
from workflows.hold import HoldWorkflow
from workflows.messages import HoldInput

_PART_OF_THE_TIME = 0.5
"""After this part of the caller's time the run itself is asked: another process may have its first task by then."""


class RunsHere:
    """The runs that this process starts for its callers, and the answers of their reserves.

    The answer is passed on when the reserve is committed, before the task that it belongs to is recorded. If the
    process dies in between, another worker repeats the task, and its reserve finds the hold.
    """

    def __init__(self) -> None:
        self._client: Client | None = None
        self._answers: dict[str, asyncio.Future[ReserveOutcome | None]] = {}

    @contextmanager
    def on(self, client: Client) -> Iterator[None]:
        """Start runs with this client while the block runs: a worker of this process must have the same one."""
        self._client = client
        try:
            yield
        finally:
            self._client = None

    async def reserve(self, hold: HoldInput, task_queue: str) -> ReserveOutcome | None:
        """Start the hold's workflow or join its open run. Returns None where the run itself must be asked.

        That is where no worker of this process has its first task, and where its reserve failed or takes long.
        """
        if self._client is None or hold.request_id is None:
            return None
        answer = self._answers[hold.request_id] = asyncio.get_running_loop().create_future()
        try:
            handle = await self._client.start_workflow(
                HoldWorkflow.run, hold, task_queue=task_queue, request_eager_start=True, **start_options(hold)
            )
            if not getattr(handle, "__temporal_eagerly_started", False):  # the SDK has no public way to tell
                return None
            with suppress(TimeoutError):
                async with asyncio.timeout(hold.request_timeout_ms / 1000 * _PART_OF_THE_TIME):
                    outcome = await answer
                    return replace(outcome, made_by=hold.request_id) if isinstance(outcome, Held) else outcome
        except (RPCError, RuntimeError) as error:
            raise classified(error) from error
        finally:
            del self._answers[hold.request_id]
        return None

    def answer(self, request_id: str | None, outcome: ReserveOutcome | None) -> None:
        """Pass on the outcome of a run's reserve, None if the attempt failed, to the request that started the run."""
        waiting = self._answers.get(request_id) if request_id is not None else None
        if waiting is not None and not waiting.done():
            waiting.set_result(outcome)
