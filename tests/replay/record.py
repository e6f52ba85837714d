"""Record a history of each way that a hold can go: `python -m tests.replay.record`.

Run it once for each released version of the workflow; histories of earlier versions stay and go on being replayed.
"""

import asyncio
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry
from temporalio.client import Client

from activities.payments import PaymentActivities
from activities.stock import StockActivities
from cli.embedded import EmbeddedPostgres, EmbeddedTemporal
from cli.migrate import migrate
from inventory.counts import ItemCount, count_items
from inventory.engine import create_engine
from inventory.settings import Settings
from inventory.telemetry import Telemetry
from tests.stack import SHOP, environment
from worker import make_worker
from workflows.conversion import data_converter
from workflows.hold import HoldWorkflow
from workflows.messages import Cancel, Commit, Extend, HoldInput, Line, Payment, PaymentProcessing, hold_workflow_id

HISTORIES = Path(__file__).parent / "histories"
CARD, DEBIT = Payment("pi_card", "cs_1"), Payment("pi_debit", "cs_2")

Step = tuple[str, object] | Literal["look", "cancel the run"]
Story = list[Step]
STORIES: dict[str, tuple[HoldInput, Story]] = {}


def _story(name: str, *story: Step, sku: str = "TEE", ttl: int = 1200, window: int = 60_000) -> None:
    lines = [Line(sku, "size:M", 2), Line("MUG", "", 1)]
    hold = HoldInput(SHOP, name, lines, ttl, 3600, window, request_hash="hash", reference=f"order-{name}")
    STORIES[name] = (hold, list(story))


_story("committed", ("commit", Commit("shop")))
_story("paid", ("payment_succeeded", CARD))
_story("paid-twice", ("payment_succeeded", CARD), ("payment_succeeded", DEBIT))  # both before the first task ends
_story("released", ("release", Cancel("shopper", "changed their mind")))
_story("cancelled", ("cancel", Cancel("stripe", "session expired", CARD)))
_story("cancelled-in-the-ui", "cancel the run")
_story("expired", ttl=1)
_story("looked-at-while-reserving", "look", ("commit", Commit("shop")))
_story("extended-and-committed", ("extend", Extend(600, "key")), ("extend", Extend(600)), ("commit", Commit("shop")))
_story(
    "processing-failed-and-released",
    ("payment_failed", CARD),
    ("payment_processing", PaymentProcessing(DEBIT, 86_400)),
    ("cancel", Cancel("shopper")),
    ("cancel", Cancel("stripe", "payment failed", DEBIT)),
)
_story("rejected", sku="NONE")
_story("too-late", window=0)


async def _tell(client: Client, task_queue: str, hold: HoldInput, story: Story) -> str:
    handle = await client.start_workflow(
        HoldWorkflow.run,
        hold,
        id=hold_workflow_id(hold.shop_id, hold.hold_id),
        task_queue=task_queue,
    )
    updates = {"commit", "release", "extend"}
    for step in story:
        if step == "look":
            await handle.query(HoldWorkflow.snapshot)  # while the reserve runs, it splits the first task in pieces
        elif step == "cancel the run":
            await handle.cancel()
        elif step[0] in updates:
            await handle.execute_update(*step)
        else:
            await handle.signal(*step)
    await handle.result()
    return (await handle.fetch_history()).to_json()


def record(folder: Path) -> None:
    """Run every story on servers of their own and write its history."""
    with tempfile.TemporaryDirectory() as scratch:
        postgres, temporal = EmbeddedPostgres(Path(scratch) / "pg"), EmbeddedTemporal(None, ui=False)
        postgres.start()
        temporal.start()
        try:
            migrate(postgres.url)
            histories = asyncio.run(_record_on(postgres.url, temporal.address))
        finally:
            temporal.stop()
            postgres.stop()
    folder.mkdir(parents=True, exist_ok=True)
    for name, history in histories.items():
        (folder / f"{name}.json").write_text(history + "\n")


async def _record_on(database: str, address: str) -> dict[str, str]:
    engine = create_engine(Settings.read(environment(database)))
    counts = [ItemCount("TEE", "size:M", 100), ItemCount("MUG", "", 100)]
    await count_items(engine, SHOP, counts, actor="recorder")
    telemetry = Telemetry(CollectorRegistry())
    client = await Client.connect(address, data_converter=data_converter, identity="recorder")
    stock, payments = StockActivities(engine, telemetry), PaymentActivities(telemetry)
    async with make_worker(client, stock, payments, task_queue="recording"):
        stories = STORIES.values()
        found = await asyncio.gather(*(_tell(client, "recording", hold, story) for hold, story in stories))
    await engine.dispose()
    return dict(zip(STORIES, found, strict=True))


if __name__ == "__main__":
    record(HISTORIES / version("holdfast"))
