"""POST /import and GET /export: a report line for each row, all rows or none, and a refusal that names the place."""

import asyncio
import csv
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from dev.harness.invariants import assert_stock_adds_up
from inventory.stock_file import COLUMNS
from tests.api.asking import ITEMS, client, fields_of, refused
from tests.stack import ADMIN_TOKEN, AUTHORITY_TOKEN, SHOP, Stack
from tests.waiting import until

IMPORT = "/api/inventory/import"
EXPORT = "/api/inventory/export"
HEADER = ",".join(COLUMNS)


async def send(stack: Stack, content: Any, content_type: str = "text/csv", **params: str) -> httpx.Response:
    headers = {"Content-Type": content_type, "X-Actor": "anna"}
    return await stack.http.post(IMPORT, content=content, headers=headers, params=params)


def file(*rows: str) -> bytes:
    return "\n".join([HEADER, *rows, ""]).encode()


def report(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def problems(answer: httpx.Response) -> list[tuple[int, str | None]]:
    found = refused(answer, 422, "invalid_import")["problems"]
    assert all(problem["message"] for problem in found)
    return [(problem["line"], problem.get("column")) for problem in found]


@pytest.fixture
async def victim(shared: Stack) -> AsyncIterator[Stack]:
    """The product with an item, which must be as it was when the test has done its worst."""
    await shared.put(7)
    yield shared
    items = (await shared.http.get(ITEMS, params={"shopId": SHOP})).json()["items"]
    assert [(item["sku"], item["onHand"]) for item in items] == [("TEE", 7)]
    assert shared.counted("inventory_hold_error") == 0
    await assert_stock_adds_up(shared.engine)


async def test_an_import_tells_of_each_row_and_a_dry_run_changes_nothing(stack: Stack) -> None:
    await stack.put(5)
    rows = file(f"{SHOP},TEE,,,9,2", f"{SHOP},MUG,size:M,mug,4,")
    would = report(await send(stack, rows, dryRun="true"))
    assert await stack.stock_of() == (5, 0)
    assert report(await send(stack, rows)) == would
    assert would[0] == {
        "line": 2, "shopId": SHOP, "sku": "TEE", "variantKey": "", "result": "changed", "quantity": 9, "held": 0,
        "before": {"onHand": 5, "productId": None, "lowStockThreshold": None},
        "after": {"onHand": 9, "productId": None, "lowStockThreshold": 2}, "nearest": None,
    }  # fmt: skip
    assert [row["result"] for row in would] == ["changed", "created"]
    assert await stack.stock_of() == (9, 0)
    await assert_stock_adds_up(stack.engine)


async def test_what_is_exported_imports_back_unchanged(stack: Stack) -> None:
    items = [
        {"sku": "=1+1", "variantKey": "-a", "onHand": 3, "productId": "@p", "lowStockThreshold": 0},
        {"sku": "x;=2", "variantKey": "\uff1d3", "onHand": 1, "productId": "4.5E+12"},
        {"sku": "'x; '+4", "variantKey": "1E+99 is text;", "onHand": 1, "productId": "x;;@5;'"},
        {"sku": 'a "b", c', "onHand": 0, "name": '=T-shirt,  white; -"1"'},
        {"sku": "鍵", "variantKey": "größe:M", "onHand": 7, "retired": True},
    ]
    await stack.http.put(ITEMS, json={"shopId": SHOP, "items": items})
    before = (await stack.http.get(ITEMS, params={"shopId": SHOP})).json()
    async with client(stack.url, AUTHORITY_TOKEN) as checkout:
        exported = await checkout.get(EXPORT, params={"shopId": SHOP})
    assert exported.headers["content-type"] == "text/csv; charset=utf-8"
    assert exported.headers["content-disposition"] == f'attachment; filename="stock-{SHOP}.csv"'
    assert exported.text.splitlines()[0] == f"{HEADER},name,maxPerOrder,maxPerBuyer"
    cells = [cell for line in csv.reader(exported.text.splitlines()) for cell in line]
    assert not [cell for cell in cells if re.search("(^|;) *[=+@\uff1d\uff0b\uff0d\uff20-]", cell)]
    assert {"x;'=2", "'4.5E+12", "'\uff1d3"} <= set(cells)
    assert [row["result"] for row in report(await send(stack, exported.content))] == ["unchanged"] * 5
    assert (await stack.http.get(ITEMS, params={"shopId": SHOP})).json() == before


async def test_a_file_sets_names_only_if_it_has_their_column(stack: Stack) -> None:
    await stack.put(5)
    rows = [f"{HEADER},Name", f'{SHOP},TEE,,,5,,"T-shirt,\r\n  white "', f"{SHOP},MUG,,,1,,{'M' * 300}"]
    named = report(await send(stack, "\n".join(rows).encode()))
    assert [row["result"] for row in named] == ["changed", "created"]
    assert (named[0]["before"]["name"], named[0]["after"]["name"]) == (None, "T-shirt,   white")

    async def names() -> dict[str, str | None]:
        items = (await stack.http.get(ITEMS, params={"shopId": SHOP})).json()["items"]
        return {item["sku"]: item["name"] for item in items}

    shown = {"TEE": "T-shirt,   white", "MUG": "M" * 199 + "…"}
    assert await names() == shown
    assert [row["result"] for row in report(await send(stack, file(f"{SHOP},TEE,,,5,", f"{SHOP},MUG,,,2,")))] == [
        "unchanged",
        "changed",
    ]
    assert await names() == shown
    assert report(await send(stack, f"{HEADER},name\n{SHOP},TEE,,,5,,\n".encode()))[0]["result"] == "changed"
    assert await names() == shown | {"TEE": None}


async def test_a_file_as_excel_saves_it_is_imported_and_the_report_ends_with_what_was_assumed(stack: Stack) -> None:
    rows = f"{HEADER},Preis\r\n{SHOP},Tasse,größe:M,,9,,1\r\n".replace(",", ";")
    answer = await send(stack, rows.encode("cp1252"), "text/csv; charset=windows-1252")
    row, last = report(answer)
    assert (row["variantKey"], row["result"]) == ("größe:M", "created")
    assert last == {
        "notes": [
            "Ignored columns: Preis.",
            "The file is not UTF-8; it was read as Windows-1252, for example 'größe:M' in line 2.",
        ]
    }


async def test_an_import_that_only_updates_refuses_new_items_and_names_the_nearest(stack: Stack) -> None:
    items = [{"sku": "TEE-100", "variantKey": "size:M", "onHand": 5}, {"sku": "Mug", "onHand": 1}]
    await stack.http.put(ITEMS, json={"shopId": SHOP, "items": items})
    rows = file(f"{SHOP},Mug,,,2,", f"{SHOP},TEE-100,,,9,", f"{SHOP},TEA-100,size:M,,9,", f"{SHOP},MUG,,,3,")
    rows += f"{SHOP},Teapot,,,3,\n".encode()
    nearest = [None, ("TEE-100", "size:M"), ("TEE-100", "size:M"), ("Mug", ""), None]
    would = report(await send(stack, rows, dryRun="true"))
    assert [row["result"] for row in would] == ["changed", "created", "created", "created", "created"]
    named = [row["nearest"] and (row["nearest"]["sku"], row["nearest"]["variantKey"]) for row in would]
    assert named == nearest
    for dry_run in ("true", "false"):
        answer = await send(stack, rows, updateOnly="true", dryRun=dry_run)
        assert problems(answer) == [(3, "sku"), (4, "sku"), (5, "sku"), (6, "sku")]
        assert answer.json()["message"] == (
            "Line 3, column sku: 'TEE-100' is no item of the shop, and this import creates none; "
            "the nearest is 'TEE-100 size:M'"
        )
    assert len((await stack.http.get(ITEMS, params={"shopId": SHOP})).json()["items"]) == 2
    rows = file(f"{SHOP},Mug,,,2,")
    assert report(await send(stack, rows, updateOnly="true"))[0]["result"] == "changed"


async def test_leading_zeros_that_a_spreadsheet_removed_are_recognised(stack: Stack) -> None:
    items = [
        {"sku": "00123", "variantKey": "042", "onHand": 5, "productId": "0077"},
        {"sku": "500", "onHand": 5},
    ]
    await stack.http.put(ITEMS, json={"shopId": SHOP, "items": items})
    rows = (f"{SHOP},123,42,,1,", f"{SHOP},00123,42,,1,", f"{SHOP},123,042,,1,", f"{SHOP},00123,042,77,1,")
    for dry_run in ("true", "false"):
        answer = await send(stack, file(*rows, f"{SHOP},500,,,6,", f"{SHOP},0500,,,6,"), dryRun=dry_run)
        assert problems(answer) == [(2, "sku"), (3, "variantKey"), (4, "sku"), (5, "productId")]
        assert answer.json()["message"] == (
            "Line 2, column sku: names no item, but '00123' exists: the spreadsheet removed zeros; "
            "format the column as text"
        )
    exported = await stack.http.get(EXPORT, params={"shopId": SHOP})
    assert [row["result"] for row in report(await send(stack, exported.content))] == ["unchanged"] * 2


async def test_a_file_of_another_shop_is_refused_where_one_shop_is_meant(victim: Stack) -> None:
    answer = await send(victim, file(f"{SHOP},TEE,,,1,", "other,TEE,,,1,"), shopId=SHOP)
    assert problems(answer) == [(3, "shopId")]


async def test_a_count_below_what_is_held_is_named_with_its_line_and_holds(stack: Stack) -> None:
    await stack.put(5)
    hold = (await stack.made(("TEE", 2)))["holdId"]
    for params in ({}, {"dryRun": "true"}):
        answer = await send(stack, file(f"{SHOP},MUG,,,1,", f"{SHOP},TEE,,,1,"), **params)
        assert refused(answer, 409, "count_below_held")["items"] == [
            {"line": 3, "shopId": SHOP, "sku": "TEE", "variantKey": "", "onHand": 1, "held": 2, "holds": [hold]}
        ]
    assert len((await stack.http.get(ITEMS, params={"shopId": SHOP})).json()["items"]) == 1


@pytest.mark.parametrize(
    ("content", "places"),
    [
        (b"", [(1, None)]),
        (b"\n\n", [(1, None)]),
        (b"\0" * 1000, [(1, None)]),
        (b"\xff\xfe" + HEADER.encode("utf-32-le"), [(1, None)]),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100, [(1, None)]),
        (b'{"shopId": "shop-1"}', [(1, None)]),
        (HEADER.replace("onHand", "stock").encode(), [(1, "onHand")]),
        (HEADER.replace(",onHand", "").encode(), [(1, "onHand")]),
        (file(f"{SHOP},TEE,,,-1,", f"{SHOP},MUG,,,1,", f"{SHOP},\0,,,1,"), [(2, "onHand"), (4, "sku")]),
        (file(f"{SHOP},TEE,,,1,", f"{SHOP},MUG,,,1,", f"{SHOP},TEE,,,1,"), [(4, "sku")]),
        (file(f'{SHOP},"TEE,,,1,', f"{SHOP},MUG,,,1,"), [(2, None)]),
        (file(f"{SHOP},TEE,,,99999999999,"), [(2, "onHand")]),
        (file(f"{SHOP},TEE,,,1,").replace(b"TEE", b"T\xc3\xa9\xe9"), [(2, "sku")]),
        (file(f"{SHOP},{'x' * 10_000_000},,,1,"), [(2, None)]),
    ],
)
@pytest.mark.parametrize("dry_run", ["true", "false"])
async def test_a_malformed_file_is_refused_by_line_and_column_and_changes_nothing(
    victim: Stack, content: bytes, places: list[tuple[int, str | None]], dry_run: str
) -> None:
    assert problems(await send(victim, content, dryRun=dry_run)) == places


async def test_a_refusal_says_in_a_sentence_what_is_wrong_first(victim: Stack) -> None:
    answer = await send(victim, file(f"{SHOP},TEE,,,many,"))
    assert answer.json()["message"] == (
        "Line 2, column onHand: must be a whole number, 0 to 1000000000, in digits only, not 'many'"
    )


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "", "text/plain", "multipart/form-data; boundary=x", "text/csv; charset=latin-1"],
)
async def test_another_type_of_content_is_refused_by_name(victim: Stack, content_type: str) -> None:
    assert fields_of(await send(victim, file(f"{SHOP},TEE,,,1,"), content_type)) == ["Content-Type"]


async def test_what_dry_run_may_be_is_told(victim: Stack) -> None:
    assert fields_of(await send(victim, file(f"{SHOP},TEE,,,1,"), dryRun="maybe")) == ["dryRun"]
    assert fields_of(await send(victim, file(f"{SHOP},TEE,,,1,"), dryrun="true")) == ["dryrun"]


async def test_an_import_over_64_mib_is_too_large_announced_or_not(victim: Stack) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(65):
            yield b"\n" * 1024 * 1024

    refused(await send(victim, b"\n" * (64 * 1024 * 1024 + 1)), 413, "body_too_large")
    refused(await send(victim, chunks()), 413, "body_too_large")


async def test_an_import_needs_the_admin_token_and_an_export_a_known_one(victim: Stack) -> None:
    headers = {"Content-Type": "text/csv"}
    async with client(victim.url, AUTHORITY_TOKEN) as checkout:
        refused(await checkout.post(IMPORT, content=file(f"{SHOP},TEE,,,1,"), headers=headers), 403, "forbidden")
    async with client(victim.url, None) as stranger:
        refused(await stranger.post(IMPORT, content=b"x", headers=headers), 401, "unauthorized")
        refused(await stranger.get(EXPORT, params={"shopId": SHOP}), 401, "unauthorized")
    assert fields_of(await victim.http.get(EXPORT, params={"shopId": "a/b"})) == ["shopId"]
    assert fields_of(await victim.http.get(EXPORT)) == ["shopId"]


async def test_a_file_sent_slowly_holds_no_connection(stack: Stack) -> None:
    await stack.put(5)
    sent = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield file()
        await sent.wait()
        yield f"{SHOP},TEE,,,9,\n".encode()

    uploads = [asyncio.create_task(send(stack, slowly())) for _ in range(stack.settings.pool_size)]
    assert (await stack.create()).status_code == 201
    sent.set()
    answers = await asyncio.gather(*uploads)
    assert {answer.status_code for answer in answers} <= {200, 429}
    assert 200 in {answer.status_code for answer in answers}
    assert await stack.stock_of() == (8, 1)


async def test_a_file_that_breaks_off_is_not_imported(stack: Stack) -> None:
    await stack.put(5)
    address = httpx.URL(stack.url)
    part = file(f"{SHOP},TEE,,,9,", f"{SHOP},MUG,,,9,")
    head = (
        f"POST {IMPORT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\nContent-Type: text/csv\r\n"
        f"Content-Length: {len(part) + 1}\r\n\r\n"
    )
    _, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(head.encode() + part)
    await writer.drain()
    writer.close()
    labels = {"route": IMPORT, "method": "POST", "status": "499"}

    async def refused_it() -> bool:
        return stack.sampled("inventory_request_seconds_count", **labels) == 1

    await until(refused_it, "the import has ended")
    assert await stack.stock_of() == (5, 0)
    assert stack.counted("inventory_hold_error") == 0


async def test_five_thousand_rows_and_checkouts_beside_them(stack: Stack) -> None:
    rows = [f"{SHOP},S{number:04},,,{number % 10 + 1}," for number in range(5000)]
    assert len(report(await send(stack, file(*rows)))) == 5000
    changed = [row.replace(",S", ",S", 1)[: row.rindex(",")].rsplit(",", 1)[0] + ",50,5" for row in rows]
    checkouts = [stack.create((f"S{number * 100:04}", 1)) for number in range(20)]
    answers = await asyncio.gather(send(stack, file(*changed)), *checkouts)
    assert {row["result"] for row in report(answers[0])} == {"changed"}
    assert {answer.status_code for answer in answers[1:]} == {201}
    await assert_stock_adds_up(stack.engine)
