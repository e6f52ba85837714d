"""A worker that reserves and does not tell, until the test lets it."""

import asyncio

from temporalio import activity

from activities.stock import StockActivities
from domain.holds import ReserveOutcome, ReserveRequest
from tests.stack import Stack


class Deaf(StockActivities):
    """Reserves, and does not tell before it may."""

    may_tell: asyncio.Event
    has_reserved: asyncio.Event

    @activity.defn(name="reserve")
    async def reserve(self, request: ReserveRequest) -> ReserveOutcome:
        reservation = await super().reserve(request)
        self.has_reserved.set()
        await self.may_tell.wait()
        return reservation


def deafen(stack: Stack) -> Deaf:
    stock = Deaf(stack.engine, stack.stock._telemetry)
    stock.may_tell, stock.has_reserved = asyncio.Event(), asyncio.Event()
    stack.stock = stock
    return stock
