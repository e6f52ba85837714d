"""`holdfast holds` with a database and no Temporal server: what it says, and how it ends."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.database import create_engine
from core.settings import Settings
from dev.harness.stock import is_new, put_item, request
from inventory.reserve import reserve
from tests.commands import Ran, run_holdfast

NOBODY = "127.0.0.1:1"
"""An address at which nobody listens."""


def holdfast(database: str, *arguments: str) -> Ran:
    ours = {"DATABASE_URL": database, "TEMPORAL_ADDRESS": NOBODY, "HOLDFAST_SHOP": "demo", "COLUMNS": "80"}
    return run_holdfast(arguments, os.environ | ours)


@pytest.fixture
def shop(tables: str) -> str:
    """A database in which the shop `demo` has the active hold h1."""

    async def hold() -> None:
        engine = create_engine(Settings.read({"DATABASE_URL": tables}))
        await put_item(engine, "mug", 5, shop="demo")
        assert is_new(await reserve(engine, request("h1", ("mug", 2), shop="demo", reference="r" * 80)))
        await engine.dispose()

    asyncio.run(hold())
    return tables


def test_a_command_that_cannot_reach_temporal_names_the_address_and_ends_with_2(shop: str) -> None:
    commands = [("release", "h1"), ("extend", "h1", "--ttl", "60"), ("release", "--all", "--yes")]
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda command: holdfast(shop, "holds", *command), commands * 2))
    for ran in runs:  # the SDK's threads must not abort a process that ends
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran.err
        assert NOBODY in ran.err
        assert "TEMPORAL_ADDRESS" in ran.err


def test_a_mistyped_shop_is_no_shop_without_holds(shop: str) -> None:
    old = ("--older-than", "90d")
    for command in (("list", "--json"), ("release", "--all", "--yes"), ("archive", *old)):
        ran = holdfast(shop, "holds", *command, "--shop", "dmeo")
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.endswith(": no holds of shop dmeo; shops known: demo\n")
    assert holdfast(shop, "holds", "list", "--status", "expired").code == 0


def test_what_needs_no_temporal_works_without_it(shop: str) -> None:
    listed = holdfast(shop, "holds", "list")
    assert listed.code == 0, listed.err
    assert "r" * 80 in listed.out  # not cut, whatever the width
    shown = holdfast(shop, "holds", "show", "h1")
    assert (shown.code, "Temporal cannot be reached" in shown.out) == (0, True)
