"""The page of docs/browser.md in Chromium: it counts down, follows, extends and gives back, at the shop's origin."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from playwright.async_api import Page, expect
from temporalio.client import Client

from dev.postgres import EmbeddedPostgres
from tests.documents import ROOT
from tests.servers import database_on
from tests.stack import SHOP, Stack, running_stack, serving


def page_of(url: str, hold_id: str, token: str) -> str:
    """Return the document's page, filled in as a shop's server does."""
    (html,) = re.findall(r"```html\n(.*?)```", (ROOT / "docs" / "browser.md").read_text(), re.DOTALL)
    filled = f'{{ api: "{url}", shopId: "{SHOP}", holdId: "{hold_id}", holdToken: "{token}" }}'
    page, count = re.subn(r"\{ api: .*? \}", filled, html, count=1)
    assert count == 1
    return page


class Shop:
    """A shop's server with one page, at two origins: 127.0.0.1 is allowed, localhost is not."""

    def __init__(self, stack: Stack, port: int) -> None:
        self.stack = stack
        self.page = ""
        self.allowed, self.other = f"http://127.0.0.1:{port}/", f"http://localhost:{port}/"


@asynccontextmanager
async def shop_on(url: str, temporal: Client) -> AsyncIterator[Shop]:
    app = FastAPI()
    shop: Shop

    @app.get("/", response_class=HTMLResponse)
    async def _page() -> str:
        return shop.page

    async with serving(app) as shop_url:
        port = int(shop_url.rpartition(":")[2])
        async with running_stack(
            url,
            temporal,
            HOLDFAST_BROWSER_TOKEN_SECRET="s" * 40,
            HOLDFAST_BROWSER_ORIGINS=f"http://127.0.0.1:{port}",
        ) as stack:
            shop = Shop(stack, port)
            yield shop


@pytest.fixture(scope="module")
async def shop(postgres: EmbeddedPostgres, migrated_template: str, temporal: Client) -> AsyncIterator[Shop]:
    with database_on(postgres, migrated_template) as url:
        async with shop_on(url, temporal) as running:
            yield running


async def test_the_page_counts_down_extends_and_gives_back(shop: Shop, page: Page) -> None:
    await shop.stack.put(5)
    hold = await shop.stack.made(ttlSeconds=600, browserExtensions=1)
    shop.page = page_of(shop.stack.url, hold["holdId"], hold["holdToken"])
    await page.goto(shop.allowed)
    left = page.locator("#left")
    await expect(left).to_have_text(re.compile(r"^(10:00|[89]:\d\d)$"))
    first = await left.text_content() or ""
    await expect(left).not_to_have_text(first)  # it counts
    await page.get_by_role("button", name="More time").click()
    await expect(left).to_have_text(re.compile(r"^(30:00|2\d:\d\d)$"))  # 10 minutes and the 20 of a new hold
    await page.get_by_role("button", name="More time").click()
    await expect(left).to_have_attribute("title", re.compile("as often as"))
    await page.get_by_role("button", name="Give them back").click()
    await expect(page.get_by_text("Your reservation has ended.")).to_be_visible()
    assert (await shop.stack.read(hold["holdId"]))["reason"] == "given_back"


async def test_the_page_follows_what_the_shops_server_does(shop: Shop, page: Page) -> None:
    await shop.stack.put(5)
    hold = await shop.stack.made()
    shop.page = page_of(shop.stack.url, hold["holdId"], hold["holdToken"])
    await page.goto(shop.allowed)
    await expect(page.locator("#left")).to_have_text(re.compile(r"^(20:00|1\d:\d\d)$"))
    await shop.stack.post(hold["holdId"], "commit")
    await expect(page.get_by_text("Paid. Thank you!")).to_be_visible()


async def test_a_page_of_another_origin_can_neither_follow_nor_change_the_hold(shop: Shop, page: Page) -> None:
    await shop.stack.put(5)
    hold = await shop.stack.made(browserExtensions=1)
    shop.page = page_of(shop.stack.url, hold["holdId"], hold["holdToken"])
    async with page.expect_console_message(lambda message: "blocked by CORS policy" in message.text) as following:
        await page.goto(shop.other)
    assert "/events" in (await following.value).text
    async with page.expect_console_message(lambda message: "blocked by CORS policy" in message.text) as releasing:
        await page.get_by_role("button", name="Give them back").click()
    assert "/release" in (await releasing.value).text
    assert (await shop.stack.read(hold["holdId"]))["status"] == "active"


async def test_the_token_of_another_hold_opens_nothing(shop: Shop, page: Page) -> None:
    await shop.stack.put(5)
    mine, theirs = await shop.stack.made(), await shop.stack.made()
    shop.page = page_of(shop.stack.url, theirs["holdId"], mine["holdToken"])
    async with page.expect_response(
        lambda answer: answer.url.endswith("/events") or "/events?" in answer.url
    ) as opened:
        await page.goto(shop.allowed)
    assert (await opened.value).status == 401
    async with page.expect_response(lambda answer: answer.url.endswith("/release")) as released:
        await page.get_by_role("button", name="Give them back").click()
    assert (await released.value).status == 401
    assert (await shop.stack.read(theirs["holdId"]))["status"] == "active"
