"""`python -m bench.imports`: import 100,000 rows while shoppers hold and release, and measure how long they wait."""

import asyncio
import random
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import IO

from sqlalchemy.ext.asyncio import AsyncEngine

from cli.migrate import migrate
from core.database import DatabaseBusyError, create_engine
from core.settings import Settings
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import SHOP, end, request
from dev.postgres import EmbeddedPostgres
from domain.holds import HoldStatus, Line
from inventory.reserve import reserve
from inventory.stock_file import COLUMNS, MAX_ROWS, convert_stock_file
from inventory.stock_import import export_stock, import_stock

SHOPPERS = 4
LEAST_TURNS = 50


class Shoppers:
    """Creates and releases holds of the file's items, and records how long each pair takes."""

    def __init__(self, engine: AsyncEngine, name: str) -> None:
        self.engine = engine
        self.name = name
        self.seconds: list[float] = []
        self.refused = 0
        self.done = asyncio.Event()

    async def shop(self, number: int) -> None:
        order = random.Random(number)  # noqa: S311 - no secret
        turn = 0
        while not self.done.is_set() or turn < LEAST_TURNS:
            turn += 1
            hold_id = f"{self.name}-{number}-{turn}"
            line = Line(f"SKU-{order.randrange(MAX_ROWS):06}", "size:M", 1)
            began = time.perf_counter()
            try:
                await reserve(self.engine, request(hold_id, line))
                await end(self.engine, hold_id, HoldStatus.RELEASED)
            except DatabaseBusyError:
                self.refused += 1
            self.seconds.append(time.perf_counter() - began)


def write_file(out: IO[bytes], on_hand: int) -> None:
    out.write(",".join(COLUMNS).encode() + b"\n")
    for number in range(MAX_ROWS):
        out.write(f"{SHOP},SKU-{number:06},size:M,product-{number:06},{on_hand + number % 7},5\n".encode())
    out.seek(0)


async def measure(engine: AsyncEngine, folder: Path, what: str, on_hand: int, *, dry_run: bool = False) -> None:
    shoppers = Shoppers(engine, what.replace(" ", "-"))
    crowd = [asyncio.create_task(shoppers.shop(number)) for number in range(SHOPPERS)]
    with (folder / "in.csv").open("w+b") as file, tempfile.TemporaryFile() as rows, tempfile.TemporaryFile() as report:
        write_file(file, on_hand)
        began = time.perf_counter()
        await asyncio.to_thread(convert_stock_file, file, rows)
        checked = time.perf_counter()
        await import_stock(engine, rows, report, actor="bench", dry_run=dry_run)
        ended = time.perf_counter()
        report.seek(0)
        lines = sum(1 for _ in report)
    shoppers.done.set()
    await asyncio.gather(*crowd)
    waits = sorted(shoppers.seconds)
    print(
        f"| {what} | {lines:,} | {checked - began:.1f} s | {ended - checked:.1f} s | {len(waits):,} "
        f"| {shoppers.refused} | {waits[len(waits) // 2] * 1000:.0f} ms | {waits[-1] * 1000:.0f} ms |",
        flush=True,
    )


async def run(url: str, folder: Path) -> None:
    engine = create_engine(Settings.read({"DATABASE_URL": url}))
    print("| import | rows | check | database | hold and release | refused | median | longest |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    await measure(engine, folder, "all new", 10)
    await measure(engine, folder, "all changed", 20)
    await measure(engine, folder, "all changed again", 30)
    await measure(engine, folder, "unchanged", 30)
    await measure(engine, folder, "dry run", 40, dry_run=True)
    tracemalloc.start()
    with (folder / "out.csv").open("w+b") as out, tempfile.TemporaryFile() as rows, tempfile.TemporaryFile() as report:
        began = time.perf_counter()
        await export_stock(engine, SHOP, out)
        seconds = time.perf_counter() - began
        out.seek(0)
        convert_stock_file(out, rows)
        await import_stock(engine, rows, report, actor="bench")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = (folder / "out.csv").stat().st_size
    print(f"\nExport of {size / 1e6:.1f} MB: {seconds:.1f} s. Memory of an export and an import: {peak / 1e6:.1f} MB.")
    await assert_stock_adds_up(engine)
    await engine.dispose()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = EmbeddedPostgres(folder / "postgres", settings={})
        server.start()
        try:
            migrate(server.url)
            asyncio.run(run(server.url, folder))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
