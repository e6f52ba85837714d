"""A browser, and the product beside a Temporal server that has its Web UI."""

import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright, expect
from temporalio.client import Client

from core.data_converter import data_converter
from dev.temporal import EmbeddedTemporal
from tests.stack import Stack, running_stack
from tests.system.pages import close
from workflows.messages import hold_workflow_id

_FLAGS = (
    "--no-sandbox",  # as root, Chromium starts in no other way
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PATIENCE_MS = 90_000
"""How long a page may take to show what it must, on a busy machine."""


@dataclass(frozen=True)
class TemporalUi:
    """The Temporal Web UI in a browser, as an operator has it."""

    url: str
    context: BrowserContext

    async def holds(self, query: str) -> Page:
        """Open the list of the workflows that the query selects."""
        page = await self.context.new_page()
        await page.goto(f"{self.url}/namespaces/default/workflows?query={query}")
        return page

    async def hold(self, shop_id: str, hold_id: str, tab: str) -> Page:
        """Open a hold's workflow at the tab of that name."""
        page = await self.context.new_page()
        await page.goto(f"{self.url}/namespaces/default/workflows/{hold_workflow_id(shop_id, hold_id)}")
        await page.get_by_role("tab", name=tab).click()
        return page


@pytest.fixture(scope="session")
async def context() -> AsyncIterator[BrowserContext]:
    """A browser without a past."""
    expect.set_options(timeout=_PATIENCE_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_FLAGS)
        async with await browser.new_context(viewport={"width": 1280, "height": 800}) as context:
            context.set_default_timeout(_PATIENCE_MS)
            yield context
        await browser.close()


@pytest.fixture
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    """A page of that browser."""
    page = await context.new_page()
    yield page
    await close(page)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedTemporal]:
    """Yield a Temporal server with its Web UI."""
    temporal = EmbeddedTemporal(None)
    temporal.start()
    yield temporal
    temporal.stop()


@pytest.fixture(scope="session")
async def temporal(server: EmbeddedTemporal) -> AsyncIterator[Client]:
    """Yield a client of the server that has the UI."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEMPORAL_ADDRESS", server.address)
        yield await Client.connect(server.address, data_converter=data_converter)


@pytest.fixture
async def ui(server: EmbeddedTemporal, context: BrowserContext) -> TemporalUi:
    """Return the Temporal Web UI."""
    assert server.ui_url is not None
    return TemporalUi(server.ui_url, context)


@pytest.fixture
async def stack(database: str, temporal: Client) -> AsyncIterator[Stack]:
    """The product on that Temporal server."""
    async with running_stack(database, temporal) as running:
        yield running
