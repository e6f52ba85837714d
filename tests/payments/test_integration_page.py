"""docs/integration.md: its program runs, its tables say what the code does."""

import asyncio
import base64
import json
import os
import re
import shutil
import sys
from functools import partial

import pytest

from payments.events import HANDLED_EVENT_TYPES
from payments.grace_periods import DAY, DEFAULT_GRACE_SECONDS, GRACE_SECONDS_BY_METHOD
from tests.client.faulty_server import faulty_server
from tests.documents import ROOT
from tests.edge_worker import (
    holds_a_cart_or_says_that_it_is_sold_out,
    program,
    repeats_with_one_key_and_rejects_malformed_answers,
)
from tests.paying import Shop
from tests.stack import AUTHORITY_TOKEN

PAGE = (ROOT / "docs" / "integration.md").read_text()

NODE = shutil.which("node")
ON_NODE = """
const { default: worker } = await import(process.argv[1]);
const failed = (error) => new Response(error, { status: 500 });
const answer = await worker.fetch(new Request("https://shop.example/checkout"), process.env).catch(failed);
console.log(JSON.stringify([answer.status, answer.headers.get("Location") ?? (await answer.text())]));
process.exit(); // without waiting for the connections that are kept alive
"""


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


async def check_out_on_node(url: str) -> tuple[int, str]:
    """Send a shopper to the page's edge worker on node."""
    assert NODE is not None
    module = f"data:text/javascript;base64,{base64.b64encode(program('js').encode()).decode()}"
    said = await run(url, NODE, "--input-type=module", "--eval", ON_NODE, module)
    status, told = json.loads(said)
    return status, told


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


@pytest.mark.skipif(NODE is None, reason="node is not installed; tests/system runs the example on workerd")
async def test_the_edge_worker_holds_a_cart_or_says_that_it_is_sold_out_on_node(shop: Shop) -> None:
    await holds_a_cart_or_says_that_it_is_sold_out(shop, partial(check_out_on_node, shop.stack.url))


@pytest.mark.skipif(NODE is None, reason="node is not installed; tests/system runs the example on workerd")
async def test_the_edge_worker_repeats_with_one_key_and_rejects_malformed_answers_on_node() -> None:
    async with faulty_server() as server:
        await repeats_with_one_key_and_rejects_malformed_answers(server, partial(check_out_on_node, server.url))


def test_the_table_of_graces_is_that_of_the_code() -> None:
    told = {method: int(days) * DAY for method, days in re.findall(r"\[`(\w+)`\]\(https\S+\) \| (\d+) \|", PAGE)}
    assert told == GRACE_SECONDS_BY_METHOD
    assert f"| any other | {DEFAULT_GRACE_SECONDS // DAY} |" in PAGE


def test_every_event_that_is_handled_is_in_the_table() -> None:
    table = PAGE[PAGE.index("| Event |") : PAGE.index("An event is answered")]
    named = set(re.findall(r"`((?:checkout|payment_intent|charge|refund)\.[a-z_.*]+)`", table))
    disputes = {event for event in HANDLED_EVENT_TYPES if event.startswith("charge.dispute.")}
    assert named - {"charge.dispute.*"} == HANDLED_EVENT_TYPES - disputes
