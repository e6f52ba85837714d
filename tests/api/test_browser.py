"""The shopper's browser: what it may do with its own hold by `holdToken`, and what it may not."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from temporalio.client import Client, WorkflowExecutionStatus

from api.app import create_app
from api.hold_token import hold_token
from core.setting_errors import SettingsError
from core.settings import Settings
from dev.harness.invariants import assert_stock_adds_up
from domain.holds import HoldKey
from tests.api.asking import HOLDS, fields_of, fresh, refused
from tests.servers import database_on
from tests.stack import AUTHORITY_TOKEN, PROTOCOL, SHOP, Stack, environment, running_stack, serving
from tests.waiting import until

OLD, NEW = "o" * 40, "n" * 40
ORIGIN, OTHER_SHOPS = "https://shop.example", "https://other.example"
SECRETS, ORIGINS = f"{NEW},{OLD}", f"{ORIGIN}, shop-2={OTHER_SHOPS}"


@pytest.fixture(scope="module")
async def running(postgres: Any, migrated_template: str, temporal: Client) -> AsyncIterator[Stack]:
    with database_on(postgres, migrated_template) as url:
        async with running_stack(
            url, temporal, HOLDFAST_BROWSER_TOKEN_SECRET=SECRETS, HOLDFAST_BROWSER_ORIGINS=ORIGINS
        ) as stack:
            yield stack


@pytest.fixture
async def stack(running: Stack) -> Stack:
    await running.put(1_000)
    return running


class Browser:
    """A browser with one token."""

    def __init__(self, stack: Stack, hold: dict[str, Any], token: str | None = None) -> None:
        self._http = stack.http
        self.hold_id = hold["holdId"]
        self.path = f"/api/browser/holds/{SHOP}/{self.hold_id}"
        self.token = token or hold["holdToken"]

    async def send(self, method: str = "GET", part: str = "", **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        return await self._http.request(method, self.path + part, headers=headers, **more)

    @asynccontextmanager
    async def follow(self, last: str | None = None, url: str | None = None) -> AsyncIterator["Events"]:
        """Open the stream as EventSource does: the token in the query."""
        headers = {"Authorization": ""} | ({"Last-Event-ID": last} if last else {})
        path = f"{url or ''}{self.path}/events"
        async with self._http.stream("GET", path, params={"token": self.token}, headers=headers) as answer:
            yield Events(answer)


class Events:
    """The events of one stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def next(self) -> tuple[str, str | None, dict[str, Any]] | None:
        """Return the next event's name, id and data; None at the end of the stream."""
        fields: dict[str, str] = {}
        async for line in self._lines:
            name, _, value = line.partition(": ")
            if line and not line.startswith(":"):
                fields[name] = value
            elif not line and "event" in fields:
                return fields["event"], fields.get("id"), json.loads(fields["data"])
        return None


async def test_the_browser_reads_its_hold_and_nothing_that_is_not_its_business(stack: Stack) -> None:
    hold = await stack.made(("TEE", 2), reference="order-1")
    seen = (await Browser(stack, hold).send()).json()
    left = seen.pop("expiresInSeconds")
    assert 0 < left <= 1200
    assert seen == {
        "holdId": hold["holdId"],
        "shopId": SHOP,
        "status": "active",
        "items": [{"sku": "TEE", "variantKey": "", "quantity": 2}],
        "createdAt": hold["createdAt"],
        "expiresAt": hold["expiresAt"],
        "payment": "none",
    }


async def test_every_answer_with_an_active_hold_has_the_same_token_and_no_other_has_one(stack: Stack) -> None:
    hold = await stack.made()
    extended = (await stack.post(hold["holdId"], "extend", {"ttlSeconds": 60})).json()
    assert hold["holdToken"] == (await stack.read(hold["holdId"]))["holdToken"] == extended["holdToken"]
    assert (await stack.post(hold["holdId"], "commit")).json()["holdToken"] is None
    listed = (await stack.http.get(HOLDS, params={"shopId": SHOP})).json()["holds"]
    assert {each["holdToken"] for each in listed} == {None}


@pytest.mark.parametrize(
    ("method", "part"), [("GET", ""), ("POST", "/extend"), ("POST", "/release"), ("GET", "/events")]
)
async def test_a_token_opens_its_own_hold_only(stack: Stack, method: str, part: str) -> None:
    mine, theirs = await stack.made(browserExtensions=3), await stack.made(browserExtensions=3)
    for token in (theirs["holdToken"], AUTHORITY_TOKEN, "x"):
        refused(await Browser(stack, mine, token).send(method, part), 401, "unauthorized")
    assert (await stack.read(mine["holdId"]))["expiresAt"] == mine["expiresAt"]


async def test_a_token_opens_no_other_route(stack: Stack) -> None:
    hold = await stack.made()
    headers = {"Authorization": f"Bearer {hold['holdToken']}"}
    for method, path in (
        ("GET", f"{HOLDS}/{SHOP}/{hold['holdId']}"),
        ("POST", f"{HOLDS}/{SHOP}/{hold['holdId']}/commit"),
        ("POST", HOLDS),
        ("GET", f"/api/inventory/items?shopId={SHOP}"),
    ):
        refused(await stack.http.request(method, path, headers=headers), 401, "unauthorized")


async def test_the_browser_extends_as_often_as_the_shop_allowed(stack: Stack) -> None:
    browser = Browser(stack, await stack.made(ttlSeconds=60, browserExtensions=2))
    first = await browser.send("POST", "/extend", json={"ttlSeconds": 30}, headers={"Idempotency-Key": "k1"})
    repeat = await browser.send("POST", "/extend", json={"ttlSeconds": 30}, headers={"Idempotency-Key": "k1"})
    assert first.status_code == repeat.status_code == 200
    assert first.json()["expiresAt"] == repeat.json()["expiresAt"]
    answers = await asyncio.gather(*(browser.send("POST", "/extend", json={"ttlSeconds": 30}) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 7]
    refused(await browser.send("POST", "/extend"), 409, "hold_extend_limit")
    assert (await stack.post(browser.hold_id, "extend", {"ttlSeconds": 30})).status_code == 200  # the shop still may


async def test_a_lost_workflow_gives_the_browser_no_further_extension(stack: Stack) -> None:
    browser = Browser(stack, await stack.made(browserExtensions=2))
    assert (await browser.send("POST", "/extend", json={"ttlSeconds": 60})).status_code == 200
    await stack.run_of(browser.hold_id).terminate()
    assert (await browser.send("POST", "/extend", json={"ttlSeconds": 60})).status_code == 200
    await stack.run_of(browser.hold_id).terminate()
    refused(await browser.send("POST", "/extend", json={"ttlSeconds": 60}), 409, "hold_extend_limit")
    assert (await stack.post(browser.hold_id, "extend", {"ttlSeconds": 60})).status_code == 200


async def test_the_browser_extends_nothing_unless_the_shop_allowed_it(stack: Stack) -> None:
    browser = Browser(stack, await stack.made())
    await stack.run_of(browser.hold_id).terminate()
    refused(await browser.send("POST", "/extend"), 409, "hold_extend_limit")
    run = await stack.run_of(browser.hold_id).describe()
    assert run.status is WorkflowExecutionStatus.TERMINATED  # nothing was asked of it, else a new run would have begun


async def test_a_browsers_idempotency_key_is_never_one_of_the_shops(stack: Stack) -> None:
    browser = Browser(stack, await stack.made(ttlSeconds=60, browserExtensions=1))
    assert (await browser.send("POST", "/extend", headers={"Idempotency-Key": "order-1"})).status_code == 200
    before = (await stack.read(browser.hold_id))["expiresAt"]
    extended = await stack.post(browser.hold_id, "extend", {"ttlSeconds": 30}, key="order-1")
    assert (extended.status_code, extended.json()["expiresAt"] > before) == (200, True)


async def test_the_browser_may_not_ask_for_longer_than_a_new_hold_lives(stack: Stack) -> None:
    browser = Browser(stack, await stack.made(browserExtensions=1))
    assert fields_of(await browser.send("POST", "/extend", json={"ttlSeconds": 1201})) == ["ttlSeconds"]
    assert fields_of(await stack.create(browserExtensions=21)) == ["browserExtensions"]


async def test_the_browser_gives_its_hold_back_once(stack: Stack) -> None:
    browser = Browser(stack, await stack.made())
    for _ in range(2):
        answer = await browser.send("POST", "/release")
        assert (answer.status_code, answer.json()["status"]) == (200, "released")
    hold = await stack.read(browser.hold_id)
    assert hold["reason"] == "given_back"
    sold = Browser(stack, await stack.made())
    await stack.post(sold.hold_id, "commit")
    refused(await sold.send("POST", "/release"), 409, "hold_not_active")
    assert (await sold.send()).json()["payment"] == "paid"
    await assert_stock_adds_up(stack.engine)


async def test_a_token_dies_with_its_hold_but_shows_the_end_for_an_hour(stack: Stack) -> None:
    browser = Browser(stack, await stack.made())
    await browser.send("POST", "/release")
    assert (await browser.send()).json()["expiresInSeconds"] == 0
    async with stack.engine.begin() as connection:
        await connection.exec_driver_sql(
            """UPDATE "InventoryHold" SET "updatedAt" = "updatedAt" - interval '61 minutes' WHERE id = %(id)s""",
            {"id": browser.hold_id},
        )
    refused(await browser.send(), 401, "unauthorized")


async def test_a_token_of_the_secret_before_the_last_rotation_is_accepted(stack: Stack) -> None:
    hold = await stack.made()
    key = HoldKey(SHOP, hold["holdId"])
    secrets = Settings.read(environment("postgresql://x", HOLDFAST_BROWSER_TOKEN_SECRET=OLD)).browser_token_secrets
    old = hold_token(secrets, key)
    assert old != hold["holdToken"]
    assert (await Browser(stack, hold, old).send()).status_code == 200


async def test_a_repeated_create_answers_the_token_and_another_limit_is_another_request(stack: Stack) -> None:
    key = fresh("key")
    hold = (await stack.create(key=key, browserExtensions=1)).json()
    assert (await stack.create(key=key, browserExtensions=1)).json() == hold
    refused(await stack.create(key=key, browserExtensions=2), 409, "idempotency_conflict")


async def test_a_stream_tells_each_change_and_ends_with_the_hold(stack: Stack) -> None:
    hold = await stack.made()
    async with Browser(stack, hold).follow() as events:
        assert events.answer.headers["content-type"].startswith("text/event-stream")
        name, first, data = await events.next() or ("", None, {})
        assert (name, data["status"]) == ("hold", "active")
        extended = (await stack.post(hold["holdId"], "extend", {"ttlSeconds": 60})).json()
        _, second, data = await events.next() or ("", None, {})
        assert (data["expiresAt"], second != first) == (extended["expiresAt"], True)
        await stack.post(hold["holdId"], "commit")
        _, last, data = await events.next() or ("", None, {})
        assert (data["status"], data["payment"]) == ("committed", "paid")
        assert await events.next() is None
    async with Browser(stack, hold).follow(last) as events:
        assert events.answer.status_code == 204  # EventSource stops
    async with Browser(stack, hold).follow(second) as events:
        assert (await events.next() or ("", None, {}))[1] == last


async def test_a_stream_resumes_without_what_the_browser_has(stack: Stack) -> None:
    hold = await stack.made()
    async with Browser(stack, hold).follow() as events:
        _, known, _ = await events.next() or ("", None, {})
    async with Browser(stack, hold).follow(known) as events:
        await stack.post(hold["holdId"], "release")
        assert (await events.next() or ("", None, {}))[2]["status"] == "released"


async def test_a_second_stream_takes_the_place_of_the_first(stack: Stack) -> None:
    browser = Browser(stack, await stack.made())
    async with browser.follow() as first:
        await first.next()
        async with browser.follow() as second:
            assert (await second.next() or ("",))[0] == "hold"
            assert (await first.next() or ("",))[0] == "replaced"
            assert await first.next() is None


async def test_streams_go_on_after_a_failure_that_nobody_foresaw(stack: Stack) -> None:
    browser = Browser(stack, await stack.made())
    rename = 'ALTER TABLE "InventoryHold" RENAME COLUMN "{}" TO "{}"'
    async with browser.follow() as events:
        await events.next()
        with capture_logs() as lines:
            async with stack.engine.begin() as connection:
                await connection.exec_driver_sql(rename.format("browserExtensions", "gone"))
            try:
                await until(lambda: any("cannot be read" in line["event"] for line in lines), "a read has failed")
            finally:
                async with stack.engine.begin() as connection:
                    await connection.exec_driver_sql(rename.format("gone", "browserExtensions"))
        await browser.send("POST", "/release")
        assert (await events.next() or ("", None, {}))[2]["status"] == "released"


async def test_a_stream_that_is_given_up_because_its_client_does_not_read_takes_no_place(stack: Stack) -> None:
    browser = Browser(stack, await stack.made())
    registry = CollectorRegistry()
    app = create_app(stack.settings, task_queue=stack.task_queue, registry=registry)
    blocked, given_up = asyncio.Event(), asyncio.Event()
    received = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in received:
            return message
        await given_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if b"event: hold" in message.get("body", b""):
            blocked.set()
            await asyncio.Event().wait()  # as long as the server waits for its client to read

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": f"{browser.path}/events",
        "query_string": f"token={browser.token}".encode(),
        "root_path": "",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    gc.disable()
    try:
        async with serving(app, http=PROTOCOL):
            serving_it = asyncio.create_task(app(scope, receive, send))
            await blocked.wait()
            assert registry.get_sample_value("inventory_browser_streams") == 1
            given_up.set()
            await serving_it
            assert registry.get_sample_value("inventory_browser_streams") == 0
    finally:
        gc.enable()


async def test_an_api_that_stops_ends_its_streams_at_once(stack: Stack) -> None:
    hold = await stack.made()
    registry = CollectorRegistry()
    app = create_app(stack.settings, task_queue=stack.task_queue, registry=registry)
    async with serving(app, http=PROTOCOL) as url:
        ended = asyncio.Event()

        async def follow() -> None:
            async with Browser(stack, hold).follow(url=url) as events:
                await events.next()
                opened.set()
                assert await events.next() is None
            ended.set()

        opened = asyncio.Event()
        following = asyncio.create_task(follow())
        await until(opened.is_set, "the stream is open")
    await until(ended.is_set, "the stream has ended, not broken off")
    await following


async def test_at_most_half_of_a_processs_connections_are_streams(stack: Stack) -> None:
    settings = Settings.read(
        environment(
            stack.settings.database_url.get_secret_value(),
            HOLDFAST_API_CONNECTIONS="10",
            HOLDFAST_BROWSER_TOKEN_SECRET=SECRETS,
        )
    )
    registry = CollectorRegistry()
    app = create_app(settings, task_queue=stack.task_queue, registry=registry)
    async with serving(app, http=PROTOCOL) as url:
        browsers = [Browser(stack, await stack.made()) for _ in range(6)]
        async with asyncio.TaskGroup() as group:
            done = asyncio.Event()
            opened = []

            async def hold_open(browser: Browser) -> None:
                async with browser.follow(url=url) as events:
                    await events.next()
                    opened.append(browser)
                    await done.wait()

            for browser in browsers[:5]:
                group.create_task(hold_open(browser))
            await until(lambda: len(opened) == 5, "five streams are open")
            sixth = await stack.http.get(
                f"{url}{browsers[5].path}/events", headers={"Authorization": f"Bearer {browsers[5].token}"}
            )
            refused(sixth, 503, "too_many_streams")
            assert registry.get_sample_value("inventory_browser_streams") == 5
            alive = await stack.http.get(f"{url}/livez")
            assert alive.status_code == 200
            done.set()


@pytest.mark.parametrize(
    ("origin", "allowed"), [(ORIGIN, True), (OTHER_SHOPS, False), ("https://evil.example", False), ("null", False)]
)
async def test_only_pages_of_the_shops_origins_may_call(stack: Stack, origin: str, allowed: bool) -> None:
    browser = Browser(stack, await stack.made())
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "authorization,content-type,idempotency-key"
    preflight = await stack.http.options(browser.path + "/extend", headers=asked)
    assert preflight.headers.get("access-control-allow-origin") == (origin if allowed else None)
    answer = await browser.send(headers={"Origin": origin})
    assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
    elsewhere = await stack.http.options(f"{HOLDS}/{SHOP}/x/commit", headers=asked)
    assert "access-control-allow-origin" not in elsewhere.headers


async def test_errors_can_be_read_by_the_page_too(stack: Stack) -> None:
    browser = Browser(stack, await stack.made(), token="x")
    answer = await browser.send(headers={"Origin": ORIGIN})
    refused(answer, 401, "unauthorized")
    assert answer.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("HOLDFAST_BROWSER_TOKEN_SECRET", "short", "shorter than 32"),
        ("HOLDFAST_BROWSER_TOKEN_SECRET", f"{'a' * 32},{'b' * 32},{'c' * 32}", "at most two"),
        ("HOLDFAST_BROWSER_ORIGINS", "shop.example", "https://"),
        ("HOLDFAST_BROWSER_ORIGINS", "*", "https://"),
        ("HOLDFAST_BROWSER_ORIGINS", "https://shop.example/", "without a path"),
        ("HOLDFAST_BROWSER_ORIGINS", "shop-1=", "https://"),
        ("HOLDFAST_BROWSER_ORIGINS", "https://*.shop.example", "wildcard"),
        ("HOLDFAST_BROWSER_ORIGINS", "https://Shop.example", "lower case"),
        ("HOLDFAST_BROWSER_ORIGINS", "https://shop.example:443", "port"),
        ("HOLDFAST_BROWSER_ORIGINS", "https://ann@shop.example", "as browsers send it"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}.*{words}"):
        Settings.read(environment("postgresql://x", **{name: value}))


async def test_without_a_secret_there_are_no_tokens(postgres: Any, migrated_template: str, temporal: Client) -> None:
    with database_on(postgres, migrated_template) as url:
        async with running_stack(url, temporal) as stack:
            await stack.put(1)
            hold = await stack.made()
            assert hold["holdToken"] is None
            refused(await Browser(stack, hold, "x").send(), 401, "unauthorized")
