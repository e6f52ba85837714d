"""Schemathesis reads the OpenAPI document and sends what it allows and what it does not, over real HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, GenerationMode
from schemathesis import checks as all_checks
from schemathesis.specs.openapi import checks as openapi_checks
from temporalio.client import Client

from api.http_protocol import MAX_HEADER_BYTES
from dev.harness.invariants import assert_stock_adds_up
from inventory.stock_file import COLUMNS
from tests.examples import examples
from tests.paying import Shop, running_shop
from tests.simulated import SECRET
from tests.stack import ADMIN_TOKEN, AUTHORITY_TOKEN, SHOP

SEED = 20261122
EXAMPLES = examples(3)
"""Cases of each operation and kind."""

CHECKS = [
    all_checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.negative_data_rejection,
]


Operation = APIOperation[Any, Any, Any, Any]


stock_rows = st.builds("{},{},,,{},".format, st.just(SHOP), st.sampled_from(["TEE", "MUG", "="]), st.integers(-1, 300))
stock_files = st.lists(stock_rows, max_size=3).map(lambda rows: "\n".join([",".join(COLUMNS), *rows]))


def settle_in(data: st.DataObject, case: Any, holds: list[str]) -> None:
    """Let half of the valid cases speak of the shop's own stock and holds, or all of them would find nothing."""
    if not data.draw(st.booleans()):
        return
    if "shopId" in case.path_parameters:
        case.path_parameters |= {"shopId": SHOP, "holdId": data.draw(st.sampled_from(holds))}
    if "shopId" in (case.query or {}):
        case.query["shopId"] = SHOP
    if isinstance(case.body, dict) and "shopId" in case.body:
        case.body["shopId"] = SHOP
    if isinstance(case.body, dict):
        for line in case.body.get("items") or case.body.get("adjustments") or ():
            line["sku"] = data.draw(st.sampled_from(["TEE", "MUG"]))
            line["variantKey"] = ""
            small = {"quantity": st.integers(1, 3), "delta": st.integers(-3, 3)}
            line |= {name: data.draw(small[name]) for name in small if name in line}
    if case.media_type == "text/csv":
        case.body = data.draw(stock_files)


def fuzz(operation: Operation, mode: GenerationMode, url: str, holds: list[str]) -> None:
    """Send the operation's cases; the first that breaks a rule fails, with how to repeat it."""

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy(generation_mode=mode))
        assume(len(urlencode(case.query or {}, doseq=True)) < MAX_HEADER_BYTES // 2)  # else 431, on any route
        if mode is GenerationMode.POSITIVE:
            settle_in(data, case, holds)
        token = data.draw(st.sampled_from([ADMIN_TOKEN, AUTHORITY_TOKEN]))
        checks = CHECKS if token == ADMIN_TOKEN else CHECKS[:-1]  # a 403 says nothing of the data
        case.call_and_validate(base_url=url, headers={"Authorization": f"Bearer {token}"}, checks=checks)

    run()


@pytest.fixture
async def shop(database: str, temporal: Client) -> AsyncIterator[Shop]:
    """The product with Stripe's stand-in."""
    async with running_shop(database, temporal, STRIPE_APPROVAL_SECRET=SECRET) as running:
        yield running


async def test_whatever_the_document_allows_or_not_is_answered_as_it_says(shop: Shop) -> None:
    stack = shop.stack
    document = (await stack.http.get("/openapi.json")).json()
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        # Any text may be the id of a request (test_request_log.py): the few cases are for what can be wrong.
        operation["parameters"] = [each for each in operation["parameters"] if "$ref" not in each]
        if not operation["parameters"]:
            del operation["parameters"]
    schema = schemathesis.openapi.from_dict(document)
    operations: list[Any] = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]
    assert len(operations) > 10
    for operation in operations:
        for sku in ("TEE", "MUG"):
            await stack.put(10_000, sku)  # whatever corrections of the operation before have left
        holds = [(await stack.made())["holdId"] for _ in range(4)]
        if operation.path.endswith("/restock"):
            assert {(await stack.post(hold, "commit")).status_code for hold in holds[:3]} == {200}
        for mode in GenerationMode:
            if mode is GenerationMode.POSITIVE or operation.body or operation.query or operation.path_parameters:
                await asyncio.to_thread(fuzz, operation, mode, stack.url, holds)
    made = (await stack.http.get("/api/inventory/holds", params={"shopId": SHOP, "limit": "500"})).json()["holds"]
    assert len(made) > 4 * len(operations)
    assert {hold["status"] for hold in made} >= {"active", "committed", "released"}
    assert stack.counted("inventory_hold_error") == 0
    await assert_stock_adds_up(stack.engine)
