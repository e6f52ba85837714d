"""Sends a message to a hold's workflow; a missing workflow is resumed by a new run, which gets the message first."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from core.settings import Settings
from domain.holds import Hold, HoldKey, HoldStatus
from domain.payments import Payment
from holds.errors import HoldNotFoundError, UnavailableError
from holds.temporal_errors import NoRunningWorkflowError
from holds.workflow_client import Target
from inventory.amend import closed_pages_of
from inventory.holds import read_hold
from workflows.messages import Ended, HoldInput, SettledStatus

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class AlreadyEnded:
    """The message was not delivered: the hold has ended."""

    hold: Hold


class HoldMessenger:
    """Sends messages to holds, whether their workflow runs or is missing."""

    def __init__(self, engine: AsyncEngine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    async def send(self, key: HoldKey, call: Callable[[Target], Awaitable[Answer]]) -> Answer | AlreadyEnded:
        """Return the answer of the hold's workflow, or AlreadyEnded.

        An active hold whose workflow is missing (it was terminated, or Temporal was restored) is resumed by a new run,
        which gets the message first. Raises HoldNotFoundError if there is neither workflow nor row, and
        UnavailableError if the new run could not be reached.
        """
        with suppress(NoRunningWorkflowError):
            return await call(key)
        hold = await read_hold(self._engine, key.shop_id, key.hold_id)
        if hold is not None and hold.status is HoldStatus.ACTIVE:
            with suppress(NoRunningWorkflowError):
                return await call(await self.resume_input(hold))
            hold = await read_hold(self._engine, key.shop_id, key.hold_id)
        if hold is None:
            raise HoldNotFoundError(key)
        if hold.status is HoldStatus.ACTIVE:
            raise UnavailableError("The hold's workflow could not be resumed yet.", key)
        return AlreadyEnded(hold)

    async def resume_input(
        self,
        hold: Hold,
        *,
        orphaned: bool = False,
        ended_before: SettledStatus | None = None,
        sale: Ended | None = None,
    ) -> HoldInput:
        """Return the input of a new run for an active hold whose workflow is missing. The run adopts the hold's row.

        `orphaned`: the audit found it; it then expires with that reason. `ended_before`: how its last run ended it,
        where a restored database does not know that, and `sale` the result of that run, if it sold the hold.
        """
        closed = await closed_pages_of(self._engine, hold.shop_id, hold.hold_id)
        return HoldInput(
            shop_id=hold.shop_id,
            hold_id=hold.hold_id,
            lines=hold.lines,
            ttl_seconds=int((hold.expires_at - hold.created_at).total_seconds()),
            max_ttl_seconds=self._settings.max_ttl_seconds,
            request_timeout_ms=self._settings.request_timeout_ms,
            request_hash=hold.request_hash,
            reference=hold.reference,
            warn_before_seconds=hold.warn_before_seconds,
            search_by_sku=self._settings.search_by_sku,
            expires_at=hold.expires_at,
            attached=hold.payment,
            close_grace_seconds=self._settings.payment_close_grace_seconds,
            orphaned=orphaned,
            ended_before=ended_before,
            browser_extensions=hold.browser_extensions,
            browser_extended=hold.browser_extended,
            buyer=hold.buyer,
            sold_before=None if sale is None else sale.sold,
            paid_elsewhere_before=sale is not None and sale.paid_elsewhere,
            detached_before=tuple(Payment(session_id=page) for page in closed),
        )
