"""INVENTORY_MODE and SKIP_INVENTORY_VALIDATION decide new requests only."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from core.settings import Settings
from dev.harness.invariants import assert_stock_adds_up
from tests.api.asking import HEALTH, HOLDS, VALIDATE, fields_of, fresh, neighbour, refused, short_lived
from tests.stack import SHOP, Stack, environment
from tests.waiting import until

CART = {"shopId": SHOP, "items": [{"sku": "TEE", "quantity": 2}]}
TOO_MUCH = {"shopId": SHOP, "items": [{"sku": "TEE", "quantity": 99}]}
NOWHERE = "postgresql://nobody@127.0.0.1:9/nothing"


@pytest.fixture
async def looking(stack: Stack) -> AsyncIterator[tuple[httpx.AsyncClient, CollectorRegistry]]:
    """An API in validate_only beside the stack's, and its metrics."""
    await stack.put(5)
    registry = CollectorRegistry()
    async with neighbour(stack, registry, INVENTORY_MODE="validate_only") as http:
        yield http, registry


@pytest.fixture
async def adrift(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[httpx.AsyncClient, CollectorRegistry]]:
    """An API under bypass with neither Postgres nor Temporal, and its metrics."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:9")
    registry = CollectorRegistry()
    async with neighbour(stack, registry, DATABASE_URL=NOWHERE, SKIP_INVENTORY_VALIDATION="1") as http:
        yield http, registry


def test_validate_only_is_the_default() -> None:
    assert Settings.read({"DATABASE_URL": "postgresql://db/shop"}).mode == "validate_only"


async def test_validate_only_makes_no_hold_and_counts_none(
    stack: Stack, looking: tuple[httpx.AsyncClient, CollectorRegistry]
) -> None:
    http, registry = looking
    answer = await http.post(HOLDS, json=CART, headers={"Idempotency-Key": fresh()})
    assert answer.status_code == 200
    assert answer.json() == {"holdId": None, "mode": "validate_only", "bypassed": False}
    assert await stack.stock_of() == (5, 0)
    assert (await http.get(HOLDS, params={"shopId": SHOP})).json()["holds"] == []
    assert registry.get_sample_value("inventory_hold_created_total") == 0
    assert stack.counted("inventory_hold_created") == 0


async def test_validate_only_refuses_what_the_stock_cannot_meet(
    looking: tuple[httpx.AsyncClient, CollectorRegistry],
) -> None:
    http, registry = looking
    for url in (HOLDS, VALIDATE):
        body = refused(await http.post(url, json=TOO_MUCH), 409, "insufficient_stock")
        assert body["items"] == [
            {"sku": "TEE", "variantKey": "", "requested": 99, "available": 5, "reason": "insufficient"}
        ]
    assert fields_of(await http.post(HOLDS, json={**CART, "ttlSeconds": 1})) == ["ttlSeconds"]
    assert (await http.post(HOLDS, json=CART)).status_code == 200
    validations = {
        result: registry.get_sample_value("checkout_inventory_validation_total", {"result": result})
        for result in ("insufficient", "ok")
    }
    assert validations == {"insufficient": 2, "ok": 1}


async def test_validate_only_answers_a_hold_that_the_key_made_before(
    stack: Stack, looking: tuple[httpx.AsyncClient, CollectorRegistry]
) -> None:
    key = fresh()
    hold = (await stack.create(("TEE", 2), key=key)).json()
    again = await looking[0].post(HOLDS, json=CART, headers={"Idempotency-Key": key})
    assert (again.status_code, again.json()) == (200, hold)


async def test_validate_only_needs_no_temporal(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    await stack.put(5)
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:9")
    async with neighbour(stack, INVENTORY_MODE="validate_only") as http:
        assert (await http.post(VALIDATE, json=CART)).status_code == 200
        assert (await http.post(HOLDS, json=CART)).status_code == 200
        health = await http.get(HEALTH)
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    assert health.json()["checks"]["temporal"]["status"] == "failed"


@pytest.mark.parametrize("mode", ["reserve_ttl", "validate_only"])
@pytest.mark.parametrize("bypass", ["0", "1"])
async def test_holds_already_made_go_on_in_every_mode(stack: Stack, mode: str, bypass: str) -> None:
    await stack.put(5)
    sold, given_back, ending = (await stack.made())["holdId"], (await stack.made())["holdId"], fresh("ending")
    await short_lived(stack, ending, 1)
    async with neighbour(stack, INVENTORY_MODE=mode, SKIP_INVENTORY_VALIDATION=bypass) as http:
        extended = await http.post(f"{HOLDS}/{SHOP}/{sold}/extend", json={"ttlSeconds": 60})
        assert extended.status_code == 200
        assert (await http.post(f"{HOLDS}/{SHOP}/{sold}/commit")).json()["status"] == "committed"
        assert (await http.post(f"{HOLDS}/{SHOP}/{given_back}/release")).json()["status"] == "released"

        async def has_expired() -> bool:
            return bool((await http.get(f"{HOLDS}/{SHOP}/{ending}")).json()["status"] == "expired")

        await until(has_expired, "the hold has expired")
    assert await stack.stock_of() == (4, 0)
    await assert_stock_adds_up(stack.engine)


async def test_bypass_answers_without_postgres_and_without_temporal(
    adrift: tuple[httpx.AsyncClient, CollectorRegistry],
) -> None:
    http, _ = adrift
    held = await http.post(HOLDS, json=TOO_MUCH)
    assert (held.status_code, held.json()) == (200, {"holdId": None, "mode": "reserve_ttl", "bypassed": True})
    valid = await http.post(VALIDATE, json=TOO_MUCH)
    assert valid.status_code == 200
    assert (valid.json()["bypassed"], valid.json()["holdId"]) == (True, None)


async def test_bypass_still_refuses_what_is_no_request(adrift: tuple[httpx.AsyncClient, CollectorRegistry]) -> None:
    http, registry = adrift
    assert fields_of(await http.post(HOLDS, json={"shopId": SHOP})) == ["items"]
    refused(await http.post(HOLDS, json=CART, headers={"Authorization": "Bearer x"}), 401, "unauthorized")
    assert registry.get_sample_value("inventory_bypassed_total") == 0


async def test_each_bypassed_request_is_logged_as_a_warning_and_counted(
    adrift: tuple[httpx.AsyncClient, CollectorRegistry],
) -> None:
    http, registry = adrift
    with capture_logs() as logs:
        await http.post(HOLDS, json=CART)
        await http.post(VALIDATE, json=CART)
    warnings = [log for log in logs if log.get("metric") == "inventory_bypassed"]
    assert [(log["log_level"], log["route"]) for log in warnings] == [("warning", "create"), ("warning", "validate")]
    assert registry.get_sample_value("inventory_bypassed_total") == 2
    assert registry.get_sample_value("inventory_hold_created_total") == 0


async def test_under_bypass_health_is_degraded(adrift: tuple[httpx.AsyncClient, CollectorRegistry]) -> None:
    for url in (HEALTH, "/readyz"):
        health = await adrift[0].get(url)
        assert health.status_code == 200
        assert health.json()["status"] == "degraded"
        assert health.json()["bypassed"] is True


async def test_health_has_no_secret_in_it(stack: Stack) -> None:
    async with neighbour(stack, DATABASE_URL="postgresql://ann:pa55word@127.0.0.1:9/shop") as http:
        health = await http.get(HEALTH)
    text = json.dumps(health.json())
    secrets = ["pa55word", "ann", "127.0.0.1", *environment("x").values()]
    assert health.status_code == 503
    assert [secret for secret in secrets if len(secret) > 11 and secret in text] == []
    assert "pa55word" not in text
