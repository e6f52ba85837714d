"""A test that hangs and swallows its time-out, for `test_clean_end.py`, which runs it in a pytest of its own."""

import asyncio
from contextlib import suppress


async def test_that_swallows_its_time_out() -> None:
    async def swallow() -> None:
        while True:
            with suppress(BaseException):
                await asyncio.sleep(0.01)

    await asyncio.create_task(swallow())
