"""From the pay link to the end of the hold, in a real browser, on the processes of `holdfast up`."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.async_api import BrowserContext, FrameLocator, Page, expect

from tests.e2e.up import Up, started_up, until
from tests.system.pages import close


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """Yield a started one, of which the tests open pages."""
    with started_up() as one:
        yield one


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
    await close(left_open)
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


SHIPS = {
    "shipping_address_collection": {"allowed_countries": ["DE", "AT"]},
    "shipping_options": [
        {"shipping_rate_data": {"display_name": name, "fixed_amount": {"amount": amount, "currency": "eur"}}}
        for name, amount in (("Post", 490), ("Express", 1490))
    ],
    "automatic_tax": {"enabled": True},
    "allow_promotion_codes": True,
    "invoice_creation": {"enabled": True},
}


async def fill_in(form: Page | FrameLocator, code: str) -> None:
    """Enter address, shipping and promotion code, and let the page add up."""
    for label, value in (("E-mail", "ann@mail.example"), ("Name", "Ann Buyer"), ("Address", "1 Main Street")):
        await form.get_by_label(label).fill(value)
    await form.get_by_label("City").fill("Bonn")
    await form.get_by_label("Postal code").fill("53111")
    await form.get_by_label("Country").select_option("AT")
    await form.get_by_role("radio", name="Express").check()
    await form.get_by_label("Promotion code").fill(code)
    await form.get_by_role("button", name="Update the total").click()
    # 25.00 and 3.00, less a tenth, 14.90 for shipping, and a fifth of it all as tax
    await expect(form.get_by_role("button", name="Pay 48.12 EUR")).to_be_visible()
    await form.get_by_role("button", name="Pay 48.12 EUR").click()


@pytest.fixture(scope="module")
def code(up: Up) -> str:
    """Return a promotion code that takes off a tenth."""

    def made(kind: str, **fields: str) -> dict[str, Any]:
        url = f"{up.stack['simulatorUrl']}/v1/{kind}"
        answer = httpx.post(url, data=fields, auth=("sk_test_any", ""), timeout=120, trust_env=False)
        assert answer.is_success, answer.text
        return dict(answer.json())

    coupon = made("coupons", percent_off="10")
    return str(made("promotion_codes", **{"promotion[type]": "coupon", "promotion[coupon]": coupon["id"]})["code"])


@pytest.mark.parametrize("mode", ["hosted_page", "embedded_page"])
async def test_a_shirt_is_shipped_with_tax_code_and_invoice(up: Up, page: Page, code: str, mode: str) -> None:
    thanks = f"{up.stack['simulatorUrl']}/shop/thanks/{{CHECKOUT_SESSION_ID}}"
    addresses = {"successUrl": thanks} if mode == "hosted_page" else {}
    options = SHIPS if mode == "hosted_page" else {**SHIPS, "ui_mode": mode, "return_url": thanks}
    shirt = {"sku": "TEE", "variantKey": "size:S", "quantity": 1, "name": "T-shirt", "unitAmount": 2500}
    wrap = {"name": "Gift wrap", "unitAmount": 300, "currency": "eur"}
    body = {"shopId": "demo", "items": [{**shirt, "currency": "eur"}], "extraLines": [wrap], "stripe": options}
    hold = up.ask("POST", "/checkout/sessions", {**body, **addresses})
    await page.goto(hold["url"] or f"{up.stack['simulatorUrl']}/shop/embedded/{hold['checkoutSessionId']}")

    await fill_in(page if mode == "hosted_page" else page.frame_locator("iframe"), code)

    await expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    await expect(page).to_have_url(re.compile("/shop/thanks/"))
    await expect(page.get_by_role("main")).to_contain_text("Your payment of 48.12 EUR has arrived.")
    await ends(up, hold, "committed")
    told = up.ask("GET", f"/inventory/holds/demo/{hold['holdId']}")
    assert (told["amountTotal"], told["currency"]) == (4812, "eur")


async def test_the_printed_pages_of_the_shops_own_are_paid_on(up: Up, page: Page) -> None:
    await page.goto(up.printed("Elements"))
    frame = page.frame_locator("iframe")
    await frame.get_by_role("radio", name="Card, declined").check()
    await page.get_by_role("button", name="Pay").click()
    await expect(page.get_by_role("alert")).to_have_text("Your card was declined.")
    await frame.get_by_role("radio", name="Card ").first.check()
    await page.get_by_role("button", name="Pay").click()
    await expect(page).to_have_url(re.compile("/shop/thanks/"))
    await expect(page.get_by_role("main")).to_contain_text("Your payment of 28.00 EUR has arrived.")
    await page.goto(up.printed("Embedded"))
    await expect(page.frame_locator("iframe").get_by_label("Postal code")).to_be_visible()
