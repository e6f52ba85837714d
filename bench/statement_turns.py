"""The child of `python -m bench.statement_costs`, run with the modules of the checkout that is measured.

It reads a number of holds from each line of its input, makes and commits so many, and prints the microseconds of each
statement: of Postgres's CPU, of its own CPU, and of time. It uses only what every checkout has.
"""

import asyncio
import json
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

from core.database import create_engine, fetch
from core.settings import Settings
from domain.holds import HoldStatus, Line, ReserveRequest
from inventory.reserve import reserve
from inventory.settle import settle

SHOP = "bench"
ITEMS = 1000

Spent = tuple[int, int, int]


def _request(number: int) -> ReserveRequest:
    now = datetime.now(UTC)
    return ReserveRequest(
        shop_id=SHOP,
        hold_id=f"h_{uuid.uuid4().hex}",
        lines=(Line(f"SKU-{number * 617 % ITEMS:04}", "", 1),),
        created_at=now,
        expires_at=now + timedelta(minutes=20),
        reserve_before=now + timedelta(minutes=1),
        reference=None,
        request_hash="0" * 64,
    )


async def _serve() -> None:
    engine = create_engine(Settings.read(), pool_size=1)
    pid = (await fetch(engine, "SELECT pg_backend_pid() AS pid", {}))[0]["pid"]
    scheduled = Path(f"/proc/{pid}/schedstat")

    def spent() -> Spent:
        return int(scheduled.read_text().split()[0]), time.process_time_ns(), time.perf_counter_ns()

    def each(began: Spent, holds: int) -> list[float]:
        return [(after - before) / holds / 1000 for before, after in zip(began, spent(), strict=True)]

    made = 0
    for line in sys.stdin:
        requests = [_request(number) for number in range(made, made + int(line))]
        made += len(requests)
        began = spent()
        for request in requests:
            await reserve(engine, request)
        figures = {"reserve": each(began, len(requests))}
        began = spent()
        for request in requests:
            await settle(
                engine, shop_id=SHOP, hold_id=request.hold_id, to=HoldStatus.COMMITTED, reason="caller", actor="api"
            )
        figures["settle"] = each(began, len(requests))
        print(json.dumps(figures), flush=True)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(_serve())
