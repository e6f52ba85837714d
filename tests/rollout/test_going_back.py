"""Bypass, validate-only, the release of all: with holds in flight, by processes that are set otherwise."""

import asyncio
from pathlib import Path
from typing import Any

from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import stock_of
from tests.e2e.deployment import Deployment
from tests.rollout.operator import Operator, paid
from tests.stack import SHOP
from tests.waiting import until


async def restarted(product: Deployment, **changes: str) -> None:
    """Restart the API as a deploy does, with SIGTERM."""
    await asyncio.to_thread(product.api.stop)
    await product.start_api(**changes)


async def in_flight(product: Deployment, *hold_ids: str, lapsing: str) -> None:
    await product.made_of_own(*hold_ids)
    await product.put(lapsing, 10)
    await product.made_for(7, lapsing, lapsing)


async def health(product: Deployment) -> dict[str, Any]:
    told: dict[str, Any] = (await product.http.get("/api/inventory/health")).json()
    return told


async def test_an_emergency_bypass_and_its_end(product: Deployment, tmp_path: Path) -> None:
    worker = await product.start_worker()
    operator = Operator("fallback", tmp_path, product, SHOP=SHOP, SKU="b-sold", REQUEST="r-1")
    await in_flight(product, "b-sold", "b-back", "b-paid", "b-longer", lapsing="b-lapsing")
    await restarted(product, SKIP_INVENTORY_VALIDATION="1")

    blind = await product.create("b-blind", "b-sold", 2)
    assert (blind.status_code, blind.json()["bypassed"], blind.json()["holdId"]) == (200, True, None)
    assert (await health(product))["status"] == "degraded"
    assert (await product.answered("b-sold", "commit"))["status"] == "committed"
    assert (await product.answered("b-back", "release"))["status"] == "released"
    assert (await product.answered("b-longer", "extend", {"ttlSeconds": 60}))["status"] == "active"
    await paid(product, "b-paid")
    assert await product.end_of("b-paid") == "committed"
    assert await product.end_of("b-lapsing") == "expired"
    [line] = [line for line in product.api.output().splitlines() if '"metric": "inventory_bypassed"' in line]
    assert f'"shop_id": "{SHOP}"' in line

    await restarted(product, SKIP_INVENTORY_VALIDATION="0")
    told = await health(product)
    assert (told["status"], told["bypassed"]) == ("ok", False)
    await operator.does('holdfast stock adjust "$SKU" -2 --shop "$SHOP" --reason "sold under bypass" --key "$REQUEST"')
    assert await stock_of(product.engine, "b-sold") == (7, 0)
    await operator.does("holdfast smoke")
    assert (await product.answered("b-longer", "release"))["status"] == "released"
    await assert_stock_adds_up(product.engine)
    await asyncio.to_thread(worker.stop)


async def test_back_to_validate_only_and_forward_again(product: Deployment, tmp_path: Path) -> None:
    worker = await product.start_worker()
    operator = Operator("fallback", tmp_path, product)
    await in_flight(product, "v-sold", "v-back", "v-paid", "v-longer", lapsing="v-lapsing")
    await restarted(product, INVENTORY_MODE="validate_only")
    await asyncio.to_thread(worker.stop)
    worker = await product.start_worker(INVENTORY_MODE="validate_only")

    seen = await product.create("v-seen", "v-sold", 2)
    assert (seen.status_code, seen.json()["holdId"]) == (200, None)
    assert (await product.create("v-too-many", "v-sold", 99)).status_code == 409
    assert (await health(product))["mode"] == "validate_only"
    assert (await product.answered("v-longer", "extend", {"ttlSeconds": 60}))["status"] == "active"
    assert (await product.answered("v-sold", "commit"))["status"] == "committed"
    for hold_id in ("v-back", "v-longer"):
        assert (await product.answered(hold_id, "release"))["status"] == "released"
    await paid(product, "v-paid")
    for hold_id, status in {"v-paid": "committed", "v-lapsing": "expired"}.items():
        assert await product.end_of(hold_id) == status

    async def none_active() -> bool:
        return await operator.asks("""SELECT count(*) FROM "InventoryHold" WHERE status = 'active';""") == "0"

    await until(none_active, "no hold is active")
    await restarted(product)
    await product.made("v-again", "v-sold")
    assert (await product.answered("v-again", "release"))["status"] == "released"
    await assert_stock_adds_up(product.engine)
    await asyncio.to_thread(worker.stop)


async def test_all_holds_are_released_also_one_whose_workflow_was_lost(product: Deployment, tmp_path: Path) -> None:
    worker = await product.start_worker()
    operator = Operator("fallback", tmp_path, product, SHOP=SHOP)
    await product.made_of_own("r-1", "r-2", "r-lost")
    await product.run_of("r-lost").terminate()

    assert "r-lost" in await operator.does('holdfast holds list --shop "$SHOP" --status active')
    told = await operator.does('holdfast holds release --all --shop "$SHOP" --reason incident-42 --yes')
    assert told == "3 of 3 holds told to release; so far 3 released.\n"
    assert {(await product.row(hold_id) or {})["reason"] for hold_id in ("r-1", "r-2", "r-lost")} == {"incident-42"}
    stock = await operator.does('holdfast stock show --shop "$SHOP"')
    assert "r-lost" in stock
    assert "nothing is wrong" in await operator.does("holdfast audit")
    await assert_stock_adds_up(product.engine)
    await asyncio.to_thread(worker.stop)


async def test_the_report_says_to_which_ttl_to_go(product: Deployment, tmp_path: Path) -> None:
    told = await Operator("holds", tmp_path, product).does("holdfast report --since 7d")
    assert "TTL: now 1200 s, suggested" in told
