"""docs/integration.md: its program runs, its tables say what the code does."""

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from payments.events import HANDLED_EVENT_TYPES
from payments.grace_periods import DAY, DEFAULT_GRACE_SECONDS, GRACE_SECONDS_BY_METHOD
from tests.client.faulty_server import HOLD_ID, faulty_server, reset_connection, respond
from tests.paying import Shop
from tests.stack import AUTHORITY_TOKEN

PAGE = (Path(__file__).parents[2] / "docs" / "integration.md").read_text()


NODE = shutil.which("node")


def program(language: str) -> str:
    [text] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(text)


async def run(url: str, *command: str) -> str:
    """Run a program of the page against the Holdfast at `url`, and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "INVENTORY_AUTHORITY_URL": url, "INVENTORY_AUTHORITY_TOKEN": AUTHORITY_TOKEN},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return said.decode()


async def run_its_program(url: str) -> str:
    return await run(url, sys.executable, "-c", program("python"))


async def run_its_worker(url: str) -> str:
    assert NODE is not None
    return await run(url, NODE, "--input-type=module", "--eval", program("js"))


async def one_left(shop: Shop) -> None:
    item = {"sku": "TEE", "variantKey": "size:M", "onHand": 1}
    await shop.stack.http.put("/api/inventory/items", json={"shopId": "demo", "items": [item]})


async def test_the_program_holds_a_cart_and_says_where_to_pay_or_that_it_is_sold_out(shop: Shop) -> None:
    await one_left(shop)

    said = await run_its_program(shop.stack.url)

    [url] = re.findall(r"^Send the shopper to (\S+)$", said, re.MULTILINE)
    assert url.startswith(shop.stripe.url)
    assert re.search(r"^The hold \S+ is active until \S+Z$", said, re.MULTILINE)
    assert "Sold out: TEE size:M: 0 left" in await run_its_program(shop.stack.url)


@pytest.mark.skipif(NODE is None, reason="the page's example for edge workers runs on node, which is not installed")
async def test_the_edge_workers_example_holds_a_cart_or_says_that_it_is_sold_out(shop: Shop) -> None:
    await one_left(shop)

    assert f"Send the shopper to {shop.stripe.url}" in await run_its_worker(shop.stack.url)

    short = '{"sku":"TEE","variantKey":"size:M","requested":1,"available":0}'
    assert f"Sold out: [{short}]" in await run_its_worker(shop.stack.url)


@pytest.mark.skipif(NODE is None, reason="the page's example for edge workers runs on node, which is not installed")
async def test_the_edge_workers_example_repeats_with_one_key_and_rejects_malformed_answers() -> None:
    page = {"holdId": HOLD_ID, "status": "active", "url": "https://pay.example"}
    async with faulty_server() as server:
        server.react(
            reset_connection, respond(502, b"<html>"), respond(503, {}), respond(200, b'{"holdId'), respond(201, page)
        )
        assert "Send the shopper to https://pay.example" in await run_its_worker(server.url)
        assert len({request.headers["idempotency-key"] for request in server.requests}) == 1
        assert len(server.requests) == 5
        for malformed in (
            respond(200, {**page, "status": "expired"}),
            respond(200, {"url": "https://pay.example"}),
            respond(200, b"null"),
            respond(302, b"", Location=server.url),
            respond(401, b"<html>"),
        ):
            server.react(malformed)
            assert "no hold" in await run_its_worker(server.url)


def test_the_table_of_graces_is_that_of_the_code() -> None:
    told = {method: int(days) * DAY for method, days in re.findall(r"\[`(\w+)`\]\(https\S+\) \| (\d+) \|", PAGE)}
    assert told == GRACE_SECONDS_BY_METHOD
    assert f"| any other | {DEFAULT_GRACE_SECONDS // DAY} |" in PAGE


def test_every_event_that_is_handled_is_in_the_table() -> None:
    table = PAGE[PAGE.index("| Event |") : PAGE.index("An event is answered")]
    named = set(re.findall(r"`((?:checkout|payment_intent|charge|refund)\.[a-z_.*]+)`", table))
    disputes = {event for event in HANDLED_EVENT_TYPES if event.startswith("charge.dispute.")}
    assert named - {"charge.dispute.*"} == HANDLED_EVENT_TYPES - disputes
