"""What an operator reads in the Temporal UI, in a real browser, without knowing the code."""

import uuid
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
from playwright.async_api import FrameLocator, Page, expect
from temporalio.client import Client

from domain.holds import HoldStatus
from holds.temporal_ui import holds_url
from tests.api.asking import short_lived
from tests.stack import SHOP, Stack, running_stack
from tests.system.conftest import TemporalUi
from tests.system.pages import close


@pytest.fixture
async def hold(stack: Stack) -> dict[str, Any]:
    """Return an active hold of two items with a reference."""
    await stack.put(10, "TEE", "size:M")
    await stack.put(10, "MUG")
    lines = [{"sku": "TEE", "variantKey": "size:M", "quantity": 2}, {"sku": "MUG", "quantity": 1}]
    body = {"shopId": SHOP, "items": lines, "reference": "order-1001"}
    answer = await stack.http.post("/api/inventory/holds", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


@pytest.fixture(autouse=True)
async def pages(ui: TemporalUi) -> AsyncIterator[None]:
    """Close the pages after each test: an open one goes on asking the server."""
    yield
    for page in ui.context.pages:
        await close(page)


def text_of(page: Page, part: str) -> FrameLocator:
    """Return the rendered markdown of a part of the User Metadata."""
    return page.frame_locator(f"#user-metadata-{part}")


def moment(time: str) -> str:
    """Return a time of the API's as the hold's workflow tells it to people."""
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M:%S} UTC"


async def test_an_operator_reads_what_is_held_for_whom_and_what_it_waits_for(
    hold: dict[str, Any], ui: TemporalUi
) -> None:
    page = await ui.hold(SHOP, hold["holdId"], "User Metadata")
    for said in (SHOP, "2 x TEE size:M", "1 x MUG", "order-1001"):
        await expect(text_of(page, "summary").locator("body")).to_contain_text(said)
    for said in (SHOP, hold["holdId"], "order-1001", "TEE", "size:M", "MUG", "1200 s", "3600 s"):
        await expect(text_of(page, "details").locator("body")).to_contain_text(said)
    await expect(text_of(page, "current-details").locator("body")).to_contain_text(moment(hold["expiresAt"]))


async def test_a_callers_text_is_shown_as_it_is(stack: Stack, ui: TemporalUi) -> None:
    await stack.put(10, "_em_", "A--B ~~c~~")
    reference = "https://e.example/a_b www.e.example __x__ &copy; mailto:a@e.example"
    line = {"sku": "_em_", "variantKey": "A--B ~~c~~", "quantity": 1}
    made = await stack.made(reference=reference, items=[line])
    page = await ui.hold(SHOP, made["holdId"], "User Metadata")
    for part in ("summary", "details"):
        shown = text_of(page, part)
        for said in (reference, "_em_ A--B ~~c~~"):
            await expect(shown.locator("body")).to_contain_text(said)
        await expect(shown.locator("a, em, strong, del")).to_have_count(0)


async def test_the_pages_of_a_hold_name_its_timer_and_how_it_ended(
    stack: Stack, hold: dict[str, Any], ui: TemporalUi
) -> None:
    page = await ui.hold(SHOP, hold["holdId"], "Timeline")
    await expect(page.get_by_text("hold TTL", exact=True)).to_be_visible()
    await stack.post(hold["holdId"], "release", {"reason": "changed their mind"})
    await page.reload()
    await page.get_by_role("tab", name="User Metadata").click()
    await expect(text_of(page, "current-details").locator("body")).to_contain_text("released: changed their mind")


async def test_the_search_attributes_follow_an_extended_hold(
    stack: Stack, hold: dict[str, Any], ui: TemporalUi
) -> None:
    extended = (await stack.post(hold["holdId"], "extend", {"ttlSeconds": 600})).json()
    page = await ui.hold(SHOP, hold["holdId"], "Search Attributes")
    shown = page.get_by_role("main")
    await expect(shown).to_contain_text(f'"HoldExpiresAt": "{extended["expiresAt"].removesuffix("Z")}')
    for attribute, value in (("ShopId", SHOP), ("HoldStatus", "active"), ("HoldReference", "order-1001")):
        await expect(shown).to_contain_text(f'"{attribute}": "{value}"')


async def test_the_list_finds_holds_by_how_they_ended(stack: Stack, hold: dict[str, Any], ui: TemporalUi) -> None:
    other = await stack.made(("MUG", 1))
    await stack.post(hold["holdId"], "commit")
    await _listed(stack, f'HoldStatus="committed" AND HoldReference="order-1001" AND WorkflowId="{run_id(hold)}"')
    page = await ui.context.new_page()
    await page.goto(holds_url(ui.url, "default", SHOP, HoldStatus.COMMITTED))
    await expect(page.get_by_role("link", name=run_id(hold))).to_be_visible()
    await expect(page.get_by_role("link", name=run_id(other))).to_have_count(0)


async def test_the_list_tells_sold_released_and_expired_apart_once_the_column_is_added(
    stack: Stack, hold: dict[str, Any], ui: TemporalUi
) -> None:
    await stack.post(hold["holdId"], "commit")
    released = await stack.made(("MUG", 1))
    await stack.post(released["holdId"], "release")
    expired = {"holdId": f"gone-{uuid.uuid4().hex}"}
    await stack.put(1)
    await short_lived(stack, expired["holdId"], 1)
    await stack.run_of(expired["holdId"]).result()
    ends = {run_id(hold): "committed", run_id(released): "released", run_id(expired): "expired"}
    for run, end in ends.items():
        await _listed(stack, f'HoldStatus="{end}" AND WorkflowId="{run}"')
    page = await ui.holds(f'ShopId="{SHOP}"')
    await page.get_by_role("button", name="Configure Columns").click()
    await page.get_by_role("button", name="Add HoldStatus column").click()
    await page.get_by_role("button", name="Close Workflows Table configuration").click()
    for run, end in ends.items():
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=run))
        await expect(row.get_by_text(end, exact=True)).to_be_visible()


async def test_the_list_finds_the_holds_of_an_item(database: str, temporal: Client, ui: TemporalUi) -> None:
    async with running_stack(database, temporal, HOLDFAST_SEARCH_BY_SKU="1") as stack:
        await stack.put(10, "TEE O'NEIL")
        await stack.put(10, "MUG")
        both = await stack.made(("TEE O'NEIL", 2), ("MUG", 1))
        other = await stack.made(("MUG", 1))
        await _listed(stack, f'Sku="MUG" AND WorkflowId="{run_id(other)}"')
        page = await ui.holds('Sku="TEE O\'NEIL"')
        await expect(page.get_by_role("link", name=run_id(both))).to_be_visible()
        await expect(page.get_by_role("link", name=run_id(other))).to_have_count(0)


async def test_a_cancel_in_the_ui_gives_the_stock_back(stack: Stack, hold: dict[str, Any], ui: TemporalUi) -> None:
    assert await stack.stock_of("MUG") == (9, 1)
    page = await ui.hold(SHOP, hold["holdId"], "Timeline")
    await page.get_by_role("button", name="Request Cancellation").click()
    await page.get_by_role("button", name="Confirm").click()
    ended = await stack.run_of(hold["holdId"]).result()
    assert ended.status == "released"
    assert (await stack.read(hold["holdId"]))["reason"] == "cancelled_in_temporal"
    assert await stack.stock_of("MUG") == (10, 0)


async def test_the_messages_that_can_be_sent_say_what_they_do(hold: dict[str, Any], ui: TemporalUi) -> None:
    page = await ui.hold(SHOP, hold["holdId"], "Timeline")
    await page.get_by_role("button", name="More Actions").click()
    await page.get_by_role("menuitem", name="Send a Signal").click()
    await page.get_by_role("button", name="Select a signal").click()
    await expect(page.get_by_role("option", name="cancel")).to_contain_text("Release the stock")


def run_id(hold: dict[str, Any]) -> str:
    return f"hold:{SHOP}:{hold['holdId']}"


async def _listed(stack: Stack, query: str) -> None:
    """Return when the list has the workflow: it follows the workflows by moments."""
    while not (await stack.temporal.count_workflows(query)).count:
        pass
