"""Each request has an id, which its answer, its log lines and its workflow name; a log line tells what it was about."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from structlog.testing import capture_logs

from api.access_log import AccessLog
from core.request_context import RequestContext, add_request, current_request
from tests.api.asking import HOLDS, ITEMS, neighbour
from tests.stack import SHOP, Stack

CART = {"shopId": SHOP, "items": [{"sku": "TEE", "quantity": 1}]}
GIVEN = "fra1::7f3c-1764350000:a/b=c+d._"
UNREACHABLE = "postgresql://ann:pa55word@127.0.0.1:9/shop"

Lines = list[dict[str, Any]]


@dataclass
class Route:
    path: str


@pytest.fixture
def lines() -> Iterator[Lines]:
    with capture_logs(processors=[add_request]) as captured:
        yield captured  # type: ignore[misc]


def of(lines: Lines, request_id: str) -> Lines:
    return [line for line in lines if line.get("request_id") == request_id]


async def test_a_callers_id_is_in_answer_log_and_workflow(shared: Stack, lines: Lines) -> None:
    await shared.put(5)
    answer = await shared.http.post(HOLDS, json=CART, headers={"X-Request-ID": GIVEN})
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (201, GIVEN)
    hold = answer.json()["holdId"]
    [line] = of(lines, GIVEN)
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "request_id": GIVEN,
        "method": "POST",
        "route": HOLDS,
        "status": 201,
        "shop_id": SHOP,
        "hold_id": hold,
    }
    assert await (await shared.run_of(hold).describe()).memo() == {"requestId": GIVEN}


@pytest.mark.parametrize("given", [None, "", "a b", "a\tb", "ann@example.com", "x" * 129, "ü", '"}'])
async def test_without_a_well_formed_id_the_request_gets_one(shared: Stack, given: str | None) -> None:
    headers = {} if given is None else {b"X-Request-ID": given.encode()}
    answers = [await shared.http.get("/livez", headers=headers) for _ in range(2)]
    ids = [answer.headers["X-Request-ID"] for answer in answers]
    assert len({*ids, given}) == 3
    assert all(len(each) == 32 and each.isalnum() for each in ids)


async def test_every_kind_of_answer_names_the_id(shared: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    given = {"X-Request-ID": GIVEN}
    statuses = set()
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", HOLDS, {"content": b" " * (256 * 1024 + 1)}),
        ("POST", HOLDS, {"content": b"{", "headers": given | {"Content-Type": "application/json"}}),
        ("POST", HOLDS, {"headers": given | {"Authorization": "Bearer x"}}),
        ("GET", "/nowhere", {}),
        ("DELETE", HOLDS, {}),
        ("GET", f"{HOLDS}/{SHOP}/none", {}),
        ("GET", "/api/inventory/export", {"params": {"shopId": SHOP}}),
        ("GET", "/", {}),
    ]
    for method, path, more in asked:
        answer = await shared.http.request(method, path, **{"headers": given, **more})
        assert answer.headers["X-Request-ID"] == GIVEN, (method, path)
        statuses.add(answer.status_code)
    assert statuses == {200, 307, 400, 401, 404, 405, 413}
    monkeypatch.setattr(shared.app.state.resources.holds, "read", broken)
    broke = await shared.http.get(f"{HOLDS}/{SHOP}/h-1", headers=given)
    assert (broke.status_code, broke.headers.get_list("X-Request-ID")) == (500, [GIVEN])


async def test_an_error_line_says_what_was_asked_of_which_hold(shared: Stack, lines: Lines) -> None:
    async with neighbour(shared, DATABASE_URL=UNREACHABLE) as http:
        for number, (method, path, body) in enumerate(
            [
                ("POST", HOLDS, CART | {"holdId": "h-new"}),
                ("POST", f"{HOLDS}/{SHOP}/h-new/commit", None),
                ("GET", f"{HOLDS}/{SHOP}/h-new", None),
                ("PUT", ITEMS, {"shopId": SHOP, "items": [{"sku": "TEE", "onHand": 1}]}),
                ("GET", f"{ITEMS}?shopId={SHOP}", None),
            ]
        ):
            request = f"r-{number}"
            answer = await http.request(method, path, json=body, headers={"X-Request-ID": request})
            assert answer.status_code == 503, answer.text
            error, access = of(lines, request)
            route = path.partition("?")[0].replace(f"/{SHOP}/h-new", "/{shopId}/{holdId}")
            about = {"shop_id": SHOP} | ({"hold_id": "h-new"} if path.startswith(HOLDS) else {})
            said = {"method": method, "route": route, "status": 503, **about}
            assert said.items() <= error.items()
            assert (error["log_level"], error["problem"]) == ("error", "inventory_unavailable")
            assert said.items() <= access.items()
    assert "pa55word" not in str(lines)


async def test_what_polls_has_no_line(shared: Stack, lines: Lines) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/api/inventory/health"):
        await shared.http.get(path)
    assert [line for line in lines if line["event"] == "request"] == []


def test_of_reads_and_refusals_one_in_a_hundred_has_a_line(lines: Lines) -> None:
    log, ids = AccessLog(), iter(range(1000))

    def answered(method: str, path: str, status: int = 200, seconds: float = 0.01, times: int = 1) -> Lines:
        """Return the lines of so many requests."""
        made = []
        for _ in range(times):
            request = f"r-{next(ids)}"
            scope = {"method": method, "route": Route(path)}
            current_request.set(context := RequestContext(scope, request.encode()))
            log.write(context, status, seconds)
            made += of(lines, request)
        return made

    assert len(answered("POST", HOLDS, 201, times=20)) == 20
    sampled = answered("GET", ITEMS, times=100) + answered("POST", HOLDS, 401, times=50)
    sampled += answered("POST", "/api/inventory/validate", times=50)
    assert [line["one_of"] for line in sampled] == [100, 100]
    assert len(answered("GET", ITEMS, 503)) == len(answered("GET", ITEMS, seconds=2)) == 1
    assert answered("GET", "/readyz", 503) == []
