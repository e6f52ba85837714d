"""One message to many holds: told a few at a time, with progress, interrupted and taken up again without harm."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from temporalio.service import RPCError, RPCStatusCode

from api.errors import ApiError, CrowdedError, Problem
from cli.target import Target
from core.database import DatabaseBusyError, DatabaseUnavailableError
from core.settings import TASK_QUEUE
from holds.service import Lifecycle
from holds.starting import resumed, start_options
from inventory.audit import HoldKey, in_batches, statuses_of
from inventory.holds import Hold, HoldStatus, read_hold
from workflows.hold import HoldWorkflow
from workflows.messages import Cancel, Extend, hold_workflow_id

_AT_ONCE = 8
"""Few enough that checkouts are answered meanwhile."""
_WATCH_SECONDS = 0.3
_STALLED_SECONDS = 20.0
"""A hold whose payment Stripe does not close yet ends later, by itself: nobody has to wait for it here."""
_INTERRUPTED = 130


@dataclass
class Tally:
    """What has become of the holds."""

    verb: str
    holds: int
    told: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    """Those for which the message came too late, or had nothing to add."""
    failed: dict[str, str] = field(default_factory=dict)
    """Those that could not be told, with why."""
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0 when all were told."""
        return _INTERRUPTED if self.interrupted else 1 if self.failed else 0

    def as_json(self) -> dict[str, Any]:
        """Return it for a script."""
        return asdict(self)

    def sentence(self) -> str:
        """Return it for a person."""
        ends = ", ".join(f"{count} {status}" for status, count in sorted(self.ended.items()))
        still = self.told - sum(self.ended.values())
        parts = [f"{self.told} of {self.holds} holds {self.verb}"]
        if self.ended:
            parts.append(f"so far {ends}")
        if self.verb == "told to release" and still:
            parts.append(f"{still} still ending, by themselves")
        if self.skipped:
            parts.append(f"{self.skipped} had ended or gained nothing")
        parts += [f"{len(self.failed)} could not be told ({next(iter(self.failed.values()))})"] if self.failed else []
        if self.interrupted or self.failed:
            parts.append("run it again for the rest")
        return "; ".join(parts) + "."


async def release_all(target: Target, holds: Sequence[Hold], cancel: Cancel, *, quiet: bool) -> Tally:
    """Tell each hold's workflow to release it, then watch them end. A hold without a workflow gets one."""
    tally = Tally("told to release", len(holds))

    async def tell(hold: Hold) -> None:
        handle = target.temporal.get_workflow_handle_for(HoldWorkflow.run, hold_workflow_id(hold.shop_id, hold.hold_id))
        try:
            await handle.signal(HoldWorkflow.cancel, cancel)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            row = await read_hold(target.engine, hold.shop_id, hold.hold_id)
            if row is None or row.status is not HoldStatus.ACTIVE:
                tally.skipped += 1
                return
            anew = resumed(
                row,
                max_ttl_seconds=target.settings.max_ttl_seconds,
                request_timeout_ms=target.settings.request_timeout_ms,
                close_grace_seconds=target.settings.payment_close_grace_seconds,
            )
            await target.temporal.start_workflow(
                HoldWorkflow.run,
                anew,
                task_queue=TASK_QUEUE,
                start_signal="cancel",
                start_signal_args=[cancel],
                **start_options(anew),
            )
        tally.told += 1

    async with _interruptible(tally):
        await _each(holds, tell, tally, "told", quiet=quiet)
        await _watch(target, [(hold.shop_id, hold.hold_id) for hold in holds], tally, quiet=quiet)
    return tally


async def extend_all(lifecycle: Lifecycle, holds: Sequence[Hold], extend: Extend, *, quiet: bool) -> Tally:
    """Move the deadline of each hold, once for the message's key however often this is run."""
    tally = Tally("extended", len(holds))

    async def tell(hold: Hold) -> None:
        try:
            await lifecycle.extend(hold.shop_id, hold.hold_id, extend)
        except ApiError as error:
            if error.problem not in (Problem.hold_not_active, Problem.hold_extend_limit, Problem.hold_not_found):
                raise
            tally.skipped += 1
        else:
            tally.told += 1

    async with _interruptible(tally):
        await _each(holds, tell, tally, "extended", quiet=quiet)
    return tally


@asynccontextmanager
async def _interruptible(tally: Tally) -> AsyncIterator[None]:
    """Take Ctrl-C as a wish to stop here and say how far it came."""
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        tally.interrupted = True


async def _each(
    holds: Sequence[Hold], tell: Callable[[Hold], Awaitable[None]], tally: Tally, what: str, *, quiet: bool
) -> None:
    waiting = iter(holds)
    with _progress(quiet=quiet) as progress:
        bar = progress.add_task(what, total=len(holds))

        async def work() -> None:
            for hold in waiting:
                try:
                    await tell(hold)
                except (
                    ApiError,
                    CrowdedError,
                    DatabaseBusyError,
                    DatabaseUnavailableError,
                    RPCError,
                    RuntimeError,
                ) as error:  # the others are told all the same
                    tally.failed[f"{hold.shop_id} {hold.hold_id}"] = str(error).splitlines()[0]
                progress.advance(bar)

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(work())


async def _watch(target: Target, names: list[HoldKey], tally: Tally, *, quiet: bool) -> None:
    waiting, since = [name for name in names if " ".join(name) not in tally.failed], time.monotonic()
    with _progress(quiet=quiet) as progress:
        bar = progress.add_task("ended", total=len(waiting))
        while waiting and time.monotonic() - since < _STALLED_SECONDS:
            ended = {
                key: status.value
                for batch in in_batches(waiting)
                for key, status in (await statuses_of(target.engine, batch)).items()
                if status is not HoldStatus.ACTIVE
            }
            if ended:
                since = time.monotonic()
                for status in ended.values():
                    tally.ended[status] = tally.ended.get(status, 0) + 1
                waiting = [name for name in waiting if name not in ended]
                progress.advance(bar, len(ended))
            if waiting:
                await asyncio.sleep(_WATCH_SECONDS)


def _progress(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=quiet or not console.is_terminal)
