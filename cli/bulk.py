"""One message to many holds, a few at a time, with progress. May be interrupted and run again."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.service import RPCError

from cli.exit_codes import ExitCode
from core.database import DatabaseBusyError, DatabaseUnavailableError
from core.error_messages import first_line
from domain.holds import Hold, HoldKey, HoldStatus
from holds.errors import ExtendLimitError, HoldNotActiveError, HoldNotFoundError, HoldsError
from holds.service import HoldService
from inventory.audit import in_batches, statuses_of
from workflows.messages import Cancel, Extend

_FAILURES = (HoldsError, DatabaseBusyError, DatabaseUnavailableError, RPCError, RuntimeError)
_AT_ONCE = 8
"""Few enough that checkouts are still answered."""
_WATCH_SECONDS = 0.3
_STALLED_SECONDS = 20.0
"""A hold whose payment Stripe cannot close yet ends later, by itself; the command does not wait for it."""


@dataclass
class Tally:
    """How many holds got the message, and how they ended."""

    verb: str
    holds: int
    told: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    """Holds that had ended, or gained nothing."""
    failed: dict[str, str] = field(default_factory=dict)
    """Holds that did not get the message, with the reason."""
    interrupted: bool = False
    ends_later: bool = False
    """Whether a hold that got the message ends by itself, perhaps later."""

    @property
    def exit_code(self) -> int:
        """0 if every hold got the message."""
        return ExitCode.INTERRUPTED if self.interrupted else ExitCode.NEGATIVE if self.failed else ExitCode.DONE

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
        if self.ends_later and still:
            parts.append(f"{still} still ending, by themselves")
        if self.skipped:
            parts.append(f"{self.skipped} had ended or gained nothing")
        parts += [f"{len(self.failed)} could not be told ({next(iter(self.failed.values()))})"] if self.failed else []
        if self.interrupted or self.failed:
            parts.append("run it again for the rest")
        return "; ".join(parts) + "."


async def release_all(
    service: HoldService, engine: AsyncEngine, holds: Sequence[Hold], cancel: Cancel, *, quiet: bool
) -> Tally:
    """Signal each hold's workflow to release it, then wait until they end. A missing workflow is resumed."""
    tally = Tally("told to release", len(holds), ends_later=True)
    signalled = list[HoldKey]()

    async def release(hold: Hold) -> None:
        with suppress(HoldNotFoundError):
            if await service.cancel(hold.key, cancel):
                signalled.append(hold.key)
                tally.told += 1
                return
        tally.skipped += 1

    async with _interruptible(tally):
        await _each(holds, release, tally, "told", quiet=quiet)
        await _watch(engine, signalled, tally, quiet=quiet)
    return tally


async def extend_all(service: HoldService, holds: Sequence[Hold], extend: Extend, *, quiet: bool) -> Tally:
    """Move the deadline of each hold, once for the message's key however often this is run."""
    tally = Tally("extended", len(holds))

    async def move_deadline(hold: Hold) -> None:
        try:
            await service.extend(hold.key, extend)
        except (HoldNotActiveError, ExtendLimitError, HoldNotFoundError):
            tally.skipped += 1
        else:
            tally.told += 1

    async with _interruptible(tally):
        await _each(holds, move_deadline, tally, "extended", quiet=quiet)
    return tally


@asynccontextmanager
async def _interruptible(tally: Tally) -> AsyncIterator[None]:
    """On Ctrl-C, stop and report the progress."""
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
                except _FAILURES as error:  # the others go on
                    tally.failed[" ".join(hold.key)] = first_line(error)
                progress.advance(bar)

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(work())


async def _watch(engine: AsyncEngine, waiting: list[HoldKey], tally: Tally, *, quiet: bool) -> None:
    """Count how the holds end, until all have or none has for _STALLED_SECONDS."""
    since = time.monotonic()
    with _progress(quiet=quiet) as progress:
        bar = progress.add_task("ended", total=len(waiting))
        while waiting and time.monotonic() - since < _STALLED_SECONDS:
            ended = {
                key: status.value
                for batch in in_batches(waiting)
                for key, status in (await statuses_of(engine, batch)).items()
                if status is not HoldStatus.ACTIVE
            }
            if ended:
                since = time.monotonic()
                for status in ended.values():
                    tally.ended[status] = tally.ended.get(status, 0) + 1
                waiting = [key for key in waiting if key not in ended]
                progress.advance(bar, len(ended))
            if waiting:
                await asyncio.sleep(_WATCH_SECONDS)


def _progress(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=quiet or not console.is_terminal)
