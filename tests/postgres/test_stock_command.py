"""`holdfast stock`: what staff do on a terminal, and what scripts read of it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from core.database import create_engine
from core.settings import Settings
from dev.harness.stock import is_new, request
from inventory.reserve import reserve
from inventory.stock_file import COLUMNS

HEADER = ",".join(COLUMNS)


class Shop:
    """The command on one database, for the shop `demo`."""

    def __init__(self, database: str) -> None:
        self.database = database

    def __call__(self, *arguments: str, stdin: bytes | None = None, code: int = 0) -> Result:
        environment = {"DATABASE_URL": self.database, "HOLDFAST_SHOP": "demo"}
        result = CliRunner().invoke(app, ["stock", *arguments], env=environment, input=stdin)
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json").stdout)

    def refused(self, *arguments: str, stdin: bytes | None = None) -> str:
        result = self(*arguments, stdin=stdin, code=1)
        assert result.stdout == ""
        assert all(line.startswith("holdfast stock: ") for line in result.stderr.splitlines())
        return result.stderr.replace("holdfast stock: ", "").strip()

    def hold(self, quantity: int) -> None:
        """Hold units of MUG."""

        async def take() -> None:
            engine = create_engine(Settings.read({"DATABASE_URL": self.database}))
            assert is_new(await reserve(engine, request("h1", ("MUG", quantity), shop="demo")))
            await engine.dispose()

        asyncio.run(take())


@pytest.fixture
def stock(tables: str) -> Shop:
    return Shop(tables)


def test_stock_is_set_adjusted_and_shown(stock: Shop) -> None:
    stock("set", "MUG", "10", "--threshold", "3", "--create")
    stock("set", "TEE", "5", "--variant", "size:M", "--create")
    [item] = stock.json("adjust", "MUG", "-4", "--reason", "broken")["items"]
    assert (item["sku"], item["onHand"], item["lowStockThreshold"]) == ("MUG", 6, 3)
    shown = stock("show").stdout
    assert "MUG" in shown
    assert "TEE size:M" in shown
    assert [item["sku"] for item in stock.json("show")["items"]] == ["MUG", "TEE"]
    assert [item["onHand"] for item in stock.json("show", "TEE")["items"]] == [5]
    assert stock.json("show", "--low")["items"] == []


def test_a_new_item_is_not_created_by_a_typing_error(stock: Shop) -> None:
    stock("set", "TEE", "5", "--variant", "size:M", "--create")
    told = stock.refused("set", "TEE", "7")
    assert told == "the shop demo has no item TEE, only TEE size:M; --create makes it"
    assert stock.json("set", "TEE", "7", "--variant", "size:M")["items"][0]["onHand"] == 7
    assert len(stock.json("show")["items"]) == 1


def test_a_shop_that_does_not_exist_is_told_from_one_without_stock(stock: Shop) -> None:
    assert stock.refused("show") == "no items of shop demo; shops known: none"
    stock("set", "MUG", "1", "--create")
    for command in (("show",), ("show", "--json"), ("export",)):
        assert stock.refused(*command, "--shop", "dmeo") == "no items of shop dmeo; shops known: demo"
    assert stock.json("show", "--low")["items"] == []


def test_an_item_is_retired_and_revived(stock: Shop) -> None:
    stock("set", "MUG", "10", "--retire", "--create")
    assert "retired" in stock("show").stdout
    assert stock.json("set", "MUG", "9")["items"][0]["retired"] is True
    assert stock.json("set", "MUG", "9", "--revive")["items"][0]["retired"] is False


def test_the_records_name_the_system_user_and_the_reason(stock: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ann")  # the first variable that getpass reads
    stock("set", "MUG", "10", "--reason", "stocktaking", "--create")
    stock("adjust", "MUG", "-4", "--reason", "broken [red] ones", "--key", "k1")
    stock("adjust", "MUG", "-4", "--reason", "broken [red] ones", "--key", "k1")
    told = stock.json("timeline", "MUG")
    assert [(e["delta"], e["onHand"], e["actor"], e["reason"]) for e in told["entries"]] == [
        (-4, 6, "ann", "broken [red] ones"),
        (10, 10, "ann", "stocktaking"),
    ]
    table = stock("timeline", "MUG").stdout
    assert "6 on hand, 0 held, 6 can be sold" in table
    assert "broken [red] ones" in table
    assert "There is more" in stock("timeline", "MUG", "--limit", "1").stdout


def test_an_item_has_a_name_for_people(stock: Shop) -> None:
    stock("set", "MUG", "10", "--create", "--name", "Mug, [blue]")
    stock("set", "MUG", "9")
    for shown in (stock("show").stdout, stock("timeline", "MUG").stdout):
        assert "Mug, [blue]" in shown
    stock("set", "MUG", "9", "--name", "")
    assert [item["name"] for item in stock.json("show")["items"]] == [None]
    assert "name: " in stock.refused("set", "MUG", "9", "--name", " Mug")


def test_the_limits_of_an_item_are_set_and_removed(stock: Shop) -> None:
    limits = ("maxPerOrder", "maxPerBuyer")
    stock("set", "MUG", "10", "--create", "--max-per-order", "2", "--max-per-buyer", "3")
    stock("set", "MUG", "9", "--max-per-order", "0")
    assert [stock.json("show")["items"][0][name] for name in limits] == [None, 3]


def test_a_file_is_looked_at_imported_and_exported(stock: Shop, tmp_path: Path) -> None:
    stock("set", "MUG", "10", "--create")
    file = tmp_path / "stock.csv"
    file.write_text(f"{HEADER}\ndemo,MUG,,,7,\ndemo,CAP,,,1,\n")
    would = stock("import", str(file), "--dry-run").stdout
    assert "nothing was changed" in would
    assert "10 → 7" in would
    assert "1 created, 1 changed, 0 unchanged" in would
    assert len(stock.json("show")["items"]) == 1
    lines = stock("import", str(file), "--json").stdout.splitlines()
    assert [json.loads(line)["result"] for line in lines] == ["changed", "created"]
    exported = stock("export").stdout
    assert exported == f'{HEADER},name,maxPerOrder,maxPerBuyer\ndemo,CAP,"",,1,,,,\ndemo,MUG,"",,7,,,,\n'
    stock("export", str(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_text() == exported
    assert "0 created, 0 changed, 2 unchanged" in stock("import", "-", stdin=exported.encode()).stdout


def test_a_long_report_shows_the_first_changes_and_counts_all(stock: Shop) -> None:
    rows = "".join(f"demo,S{number:03},,,1,\n" for number in range(80))
    told = stock("import", "-", stdin=f"{HEADER}\n{rows}".encode()).stdout
    assert "80 created, 0 changed, 0 unchanged (30 of them not shown" in told


def test_what_holds_have_is_not_taken_away_and_its_holds_are_named(stock: Shop) -> None:
    stock("set", "MUG", "5", "--create")
    stock.hold(4)
    file = f"{HEADER}\ndemo,MUG,,,3,\n".encode()
    assert "h1" in stock.refused("set", "MUG", "3")
    assert "h1" in stock.refused("adjust", "MUG", "-2", "--reason", "x")
    assert "h1" in stock.refused("import", "-", stdin=file)
    assert [item["onHand"] for item in stock.json("show")["items"]] == [5]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("set", "MUG", "1000000001"), "on_hand: "),
        (("set", "", "1"), "sku: "),
        (("set", "MUG", "1", "--shop", "a/b"), "shop: "),
        (("adjust", "MUG", "0", "--reason", "x"), "delta: "),
        (("adjust", "MUG", "1", "--reason", ""), "reason: "),
        (("adjust", "MUG", "1", "--reason", "x", "--key", "x" * 256), "key: "),
        (("adjust", "TEA", "1", "--reason", "x"), "TEA: the shop has no such items"),
        (("set", "MUG", "1"), "the shop demo has no item MUG; --create makes it"),
        (("show", "NOPE"), "the shop demo has no item NOPE"),
        (("show", "NOPE", "--json"), "the shop demo has no item NOPE"),
        (("timeline", "TEA", "--variant", "x"), "the shop demo has no item TEA x"),
        (("import", "no-such-file.csv"), "no-such-file.csv: No such file or directory"),
        (("import", "."), ".: Is a directory"),
        (("export", "no-such-folder/x.csv"), "no-such-folder/x.csv: No such file or directory"),
        (("show", "--shop", ""), "shop: "),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(stock: Shop, arguments: tuple[str, ...], said: str) -> None:
    stock("set", "CUP", "1", "--create")
    told = stock.refused(*arguments)
    assert told.startswith(said)
    assert "\n" not in told


def test_a_dry_run_counts_the_new_items_and_names_the_nearest_existing_one(stock: Shop) -> None:
    stock("set", "MUG", "10", "--create")
    file = f"{HEADER}\ndemo,MUGS,,,7,\ndemo,MUG,,,7,\n".encode("utf-16")
    would = stock("import", "-", "--dry-run", stdin=file).stdout
    assert "1 would be NEW items" in would
    assert [line.split("│")[6].strip() for line in would.splitlines() if "created" in line and "│" in line] == ["MUG"]
    assert "'MUGS' is no item of the shop" in stock.refused("import", "-", "--update-only", stdin=file)
    stock("import", "-", stdin=file)
    assert len(stock.json("show")["items"]) == 2


def test_a_file_of_another_shop_is_refused_where_one_shop_is_set(stock: Shop) -> None:
    told = stock.refused("import", "-", stdin=f"{HEADER}\nDemo,MUG,,,7,\n".encode())
    assert told == "line 2, column shopId: is 'Demo', but this import is for the shop 'demo'"


def test_a_file_at_fault_is_told_line_by_line(stock: Shop) -> None:
    told = stock.refused("import", "-", stdin=f"{HEADER}\ndemo,A,,,x,\ndemo,B,,\n".encode())
    assert [line.partition(":")[0] for line in told.splitlines()] == [
        "line 2, column onHand",
        "line 3, column onHand",
    ]
    told = stock.refused("import", "-", stdin=f"{HEADER}\ndemo,A,,,1,\ndemo,A,,,1,\n".encode())
    assert told.startswith("line 3, column sku:")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://holdfast:top-secret@127.0.0.1:1/holdfast", "the database cannot be reached"),
        ("mysql://top-secret@db", "DATABASE_URL: must be a postgresql:// URL"),
    ],
)
def test_a_database_out_of_reach_is_told_in_a_line(url: str, said: str) -> None:
    told = Shop(url).refused("show")
    assert told.startswith(said)
    assert "top-secret" not in told


def test_tables_that_are_not_there_are_told_with_the_remedy(empty_database: str) -> None:
    assert "run: holdfast migrate" in Shop(empty_database).refused("show")
