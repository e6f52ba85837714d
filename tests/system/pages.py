"""Closing pages of Chromium."""

import asyncio
from contextlib import suppress

from playwright.async_api import Error, Page

_AGAIN_SECONDS = 2.0


async def close(page: Page) -> None:
    """Close the page, and again until it is closed.

    Chromium forgets to close one that is just changing to another document, and answers that it has
    (https://issues.chromium.org/issues/536385539); Playwright, since 1.62, then waits for ever.
    """
    closing = asyncio.ensure_future(page.close())
    while not (await asyncio.wait([closing], timeout=_AGAIN_SECONDS))[0]:
        with suppress(Error):  # it has closed meanwhile; otherwise it is asked again
            session = await page.context.new_cdp_session(page)
            await session.send("Page.close")
    await closing
