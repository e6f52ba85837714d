"""From the pay link to the end of the hold, in a real browser, on the processes of `holdfast up`."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.e2e.up import Up, started_up, until


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """Yield a started one, of which the tests open pages."""
    with started_up() as one:
        yield one


@pytest.fixture
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    page = await context.new_page()
    yield page
    await page.close()


async def pay(page: Page, way: str = "Card") -> None:
    await page.get_by_role("radio", name=f"{way} ").first.check()
    await page.get_by_role("button", name="Pay ").click()


async def ends(up: Up, hold: dict[str, Any], status: str) -> None:
    """Return when the hold has that status."""
    await asyncio.to_thread(until, lambda: up.status(hold["holdId"]) == status, 60, up.output)


def paid(up: Up, hold: dict[str, Any]) -> int:
    """Return how much was captured for the hold."""
    return sum(each["captured"] for each in up.simulated("/payments") if each["session"] == hold["checkoutSessionId"])


async def test_the_printed_link_leads_to_a_committed_hold_and_the_other_shows_it(up: Up, page: Page) -> None:
    await page.goto(up.printed("Pay"))
    for said in ("50.00 EUR", "T-shirt, size M", "Mug", "no money moves"):
        await expect(page.locator("body")).to_contain_text(said)
    await pay(page)
    await expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    await expect(page.get_by_role("main")).to_contain_text("Your payment of 50.00 EUR has arrived.")
    watch = up.printed("Watch it")
    hold = {"holdId": watch.rpartition(":")[2]}
    await expect(page.get_by_role("main")).to_contain_text(hold["holdId"])
    await ends(up, hold, "committed")
    await page.goto(watch)
    await expect(page.get_by_text("Completed", exact=True).first).to_be_visible()


async def test_a_shopper_who_is_declined_pays_with_another_card_for_the_same_hold(up: Up, page: Page) -> None:
    hold = up.checkout()
    await page.goto(hold["url"])
    await pay(page, "Card, declined")
    await expect(page.get_by_role("alert")).to_have_text("Your card was declined.")
    assert up.status(hold["holdId"]) == "active"
    await pay(page, "Card, insufficient funds")
    await expect(page.get_by_role("alert")).to_have_text("Your card has insufficient funds.")
    assert (up.status(hold["holdId"]), paid(up, hold)) == ("active", 0)
    await pay(page)
    await expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    await ends(up, hold, "committed")
    assert paid(up, hold) == 1250


async def test_a_shopper_who_walks_away_cannot_pay_once_the_stock_is_given_back(
    up: Up, page: Page, context: BrowserContext
) -> None:
    hold = up.checkout(ttl_seconds=30)
    left_open = await context.new_page()
    await left_open.goto(hold["url"])
    await page.goto(hold["url"])
    await page.get_by_role("link", name="Back without paying").click()
    await expect(page.get_by_role("main")).to_contain_text("nothing was charged")
    await ends(up, hold, "expired")
    await page.go_back()
    await expect(page.get_by_role("heading", name="This checkout has expired")).to_be_visible()
    await pay(left_open)
    await expect(left_open.get_by_role("heading", name="This checkout has expired")).to_be_visible()
    await left_open.close()
    assert (up.status(hold["holdId"]), paid(up, hold)) == ("expired", 0)


async def test_a_shopper_whose_bank_asks_first_confirms_there_and_is_back(up: Up, page: Page) -> None:
    hold = up.checkout()
    await page.goto(hold["url"])
    await pay(page, "Card with 3-D Secure")
    await page.get_by_role("button", name="Refuse").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await pay(page, "Card with 3-D Secure")
    await page.get_by_role("button", name="Confirm the payment").click()
    await expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    await ends(up, hold, "committed")


async def test_a_debit_keeps_the_hold_until_its_money_comes(up: Up, page: Page) -> None:
    hold = up.checkout()
    await page.goto(hold["url"])
    await pay(page, "SEPA direct debit")
    await expect(page.get_by_role("main")).to_contain_text("the money comes later")
    assert (up.status(hold["holdId"]), paid(up, hold)) == ("active", 0)
    await page.get_by_role("link", name="Overview").click()
    await page.get_by_role("button", name="The money came").click()
    await ends(up, hold, "committed")
    assert paid(up, hold) == 1250
