"""docs/integration.md: its program runs, its tables say what the code does."""

import asyncio
import os
import re
import sys
from pathlib import Path

from payments.graces import DAY, DEFAULT_GRACE_SECONDS, GRACES
from payments.webhook import HANDLED
from tests.paying import Shop
from tests.stack import AUTHORITY_TOKEN

PAGE = (Path(__file__).parents[2] / "docs" / "integration.md").read_text()


async def run_its_program(shop: Shop) -> str:
    program = "".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        env={**os.environ, "INVENTORY_AUTHORITY_URL": shop.stack.url, "INVENTORY_AUTHORITY_TOKEN": AUTHORITY_TOKEN},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return said.decode()


async def test_the_program_holds_a_cart_and_says_where_to_pay_or_that_it_is_sold_out(shop: Shop) -> None:
    item = {"sku": "TEE", "variantKey": "size:M", "onHand": 1}
    await shop.stack.http.put("/api/inventory/items", json={"shopId": "demo", "items": [item]})

    said = await run_its_program(shop)

    [url] = re.findall(r"^Send the shopper to (\S+)$", said, re.MULTILINE)
    assert url.startswith(shop.stripe.url)
    assert re.search(r"^The hold \S+ is active until \S+Z$", said, re.MULTILINE)
    assert "Sold out: [{'sku': 'TEE', 'variantKey': 'size:M', 'requested': 1, 'available': 0}]" in (
        await run_its_program(shop)
    )


def test_the_table_of_graces_is_that_of_the_code() -> None:
    told = {method: int(days) * DAY for method, days in re.findall(r"\[`(\w+)`\]\(https\S+\) \| (\d+) \|", PAGE)}
    assert told == GRACES
    assert f"| any other | {DEFAULT_GRACE_SECONDS // DAY} |" in PAGE


def test_every_event_that_is_handled_is_in_the_table() -> None:
    table = PAGE[PAGE.index("| Event |") : PAGE.index("An event is answered")]
    named = set(re.findall(r"`((?:checkout|payment_intent|charge|refund)\.[a-z_.*]+)`", table))
    disputes = {event for event in HANDLED if event.startswith("charge.dispute.")}
    assert named - {"charge.dispute.*"} == HANDLED - disputes
