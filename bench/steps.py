"""`python -m bench.steps`: the cost of each step from the floor to Holdfast, interleaved.

The steps are workers of the floor whose workflow runs a local activity before it answers create, and one before it
answers commit, as a hold does: an empty one, or one that commits a bare statement. `python -m bench.steps worker
empty|statement` is such a worker.

With variants, Holdfast is compared with itself instead: `python -m bench.steps ../before NAME=VALUE` has two, the
checkout in that folder, and this one with that environment variable; `../before,NAME=VALUE` is both in one, and `.` is
this checkout once more: what differs then is noise.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from statistics import median

import uvloop
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity, workflow

from bench.figures import PROCESSES, percentile
from bench.floor import floor_worker
from bench.load import ITEMS, SHOP, Job, Kind, Result
from bench.stack import App, Bench, running
from bench.variants import in_turn, namespace_flags, variant_app
from core.database import create_engine, fetch
from core.garbage_collection import collect_garbage_rarely
from core.settings import Settings
from core.temporal import connect
from core.worker_cache import MOST

_STEPS = {"empty": "an empty local activity at each end", "statement": "the same, with a bare statement committed"}
# It changes nothing, so that stock adds up, and is written and synced all the same.
_BARE = """
UPDATE "InventoryItem" SET held = held WHERE "shopId" = %(shop)s AND sku = %(sku)s AND "variantKey" = ''
"""


@workflow.defn(name="EmptyWorkflow")
class SteppingWorkflow:
    @workflow.init
    def __init__(self, ttl_seconds: int) -> None:
        del ttl_seconds
        self._started = self._committed = self._ended = False

    @workflow.run
    async def run(self, ttl_seconds: int) -> str:
        await self._step()
        self._started = True
        try:
            await workflow.wait_condition(lambda: self._committed, timeout=timedelta(seconds=ttl_seconds))
        except TimeoutError:
            return "expired"
        await self._step()
        self._ended = True
        return "committed"

    async def _step(self) -> None:
        await workflow.execute_local_activity(
            "step", workflow.info().workflow_id, start_to_close_timeout=timedelta(seconds=8)
        )

    @workflow.update
    async def started(self) -> str:
        await workflow.wait_condition(lambda: self._started)
        return "active"

    @workflow.update
    async def commit(self) -> str:
        self._committed = True
        await workflow.wait_condition(lambda: self._ended)
        return "committed"


class Steps:
    def __init__(self, engine: AsyncEngine | None) -> None:
        self._engine = engine

    @activity.defn
    async def step(self, workflow_id: str) -> None:
        if self._engine is not None:
            sku = f"SKU-{int(workflow_id[-6:], 16) % ITEMS:04}"
            await fetch(self._engine, _BARE, {"shop": SHOP, "sku": sku})


async def _work(step: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    steps = Steps(create_engine(Settings.read()) if step == "statement" else None)
    async with floor_worker(await connect(None), SteppingWorkflow, steps.step):
        print("worker polls", flush=True)
        await stop.wait()


def _measure(clients: int, rounds: int, warm_up: float, seconds: float, variants: list[str]) -> dict[str, list[Result]]:
    with tempfile.TemporaryDirectory(prefix="holdfast-steps-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with running(folder, temporal_flags=namespace_flags(variants)) as (bench, load):
            if variants:
                between = {variant: variant_app(bench, variant, n, folder) for n, variant in enumerate(variants)}
            else:
                between = {text: _step(bench, step, folder) for step, text in _STEPS.items()}
            apps = {"the floor": bench.floor} | between | {"Holdfast": bench.product}
            results: dict[str, list[Result]] = {step: [] for step in apps}
            try:
                for app in between.values():
                    app.start()
                for turns in range(-1, rounds):
                    for step in in_turn(list(apps), turns):
                        app = apps[step]
                        product = app is bench.product or (variants and app is not bench.floor)
                        kind: Kind = "product" if product else "floor"
                        job = Job(kind, app.port, app.token, clients, warm_up, seconds, pids=bench.pids(app))
                        result = load.run(job)
                        if turns >= 0:  # the first round fills caches
                            results[step].append(result)
            finally:
                for app in between.values():
                    app.stop()
    return results


def _step(bench: Bench, step: str, folder: Path) -> App:
    env = {**bench.floor.env, "FLOOR_TASK_QUEUE": step}
    return App(step, ["bench.floor", "api", "PORT"], ["bench.steps", "worker", step], env, folder=folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.steps", description=__doc__)
    parser.add_argument("variants", nargs="*", help="[DIRECTORY][,NAME=VALUE]...")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=6, help="even numbers are fair to each; one more is not counted")
    parser.add_argument("--warm-up", type=float, default=1.5, help="the seconds of each turn that are not counted")
    parser.add_argument("--seconds", type=float, default=4.0, help="the seconds of each turn that are counted")
    options = parser.parse_args()
    results = _measure(options.clients, options.rounds, options.warm_up, options.seconds, options.variants)
    floor = _rate(results["the floor"])
    print(
        f"| {options.clients} client(s) | lifecycles/s | of the floor's | create, commit p50 ms"
        " | CPU ms: postgres, temporal, api, worker | of the floor's |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for step, turns in results.items():
        create, commit = (
            median(ms for turn in turns for ms in getattr(turn, kind)) for kind in ("create_ms", "commit_ms")
        )
        cpu = _cpu(turns)
        each = ", ".join(f"{ms:.1f}" for ms in cpu.values())
        rate = _rate(turns)
        share = sum(cpu.values()) / sum(_cpu(results["the floor"]).values())
        print(
            f"| {step} | {rate:.1f} | {rate / floor:.2f} | {create:.1f}, {commit:.1f} | {each} | {share:.2f} |",
            flush=True,
        )
    for variant in options.variants:
        print(_compared(variant, results["Holdfast"], results[variant]))


def _compared(name: str, ours: list[Result], theirs: list[Result]) -> str:
    """Return our time for a lifecycle over theirs. What else the machine does only adds to times: the first quarter."""
    first, half = (percentile(_lifecycles(ours), p) / percentile(_lifecycles(theirs), p) for p in (25, 50))
    rounds = median(_rate([b]) / _rate([a]) for a, b in zip(ours, theirs, strict=True))
    return (
        f"Holdfast's time for a lifecycle over that of {name}: {first:.3f} by the first quartile, {half:.3f} by the"
        f" median, {rounds:.3f} by the median of the rounds' rates"
    )


def _lifecycles(turns: list[Result]) -> list[float]:
    return [sum(both) for turn in turns for both in zip(turn.create_ms, turn.commit_ms, strict=True)]


def _cpu(turns: list[Result]) -> dict[str, float]:
    """Return milliseconds of CPU for each lifecycle, by process."""
    done = sum(turn.done for turn in turns)
    return {name: sum(turn.cpu[name] for turn in turns) / done * 1000 for name in PROCESSES}


def _rate(turns: list[Result]) -> float:
    return sum(turn.done for turn in turns) / sum(turn.seconds for turn in turns)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["worker", step] if step in _STEPS:
            collect_garbage_rarely(MOST)  # as in the floor
            uvloop.run(_work(step))
        case _:
            main()
