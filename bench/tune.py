"""`python -m bench.tune 16 WORKFLOW_POLLERS=4 ...`: the product with other settings of its worker, in turns.

Each setting is a constant of worker.py; `4,CACHED_WORKFLOWS=32` would set two. The first row is the worker as it is.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

from bench.figures import PROCESSES, percentile
from bench.load import Job, Result
from bench.stack import Bench, Load, running
from dev.processes import Child

_READY_SECONDS = 60.0
_AS_IT_IS = "as it is"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.tune", description=__doc__)
    parser.add_argument("clients", type=int)
    parser.add_argument("settings", nargs="*", help="NAME=VALUE[,NAME=VALUE]")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn, after 1.5 s that are not counted")
    options = parser.parse_args()
    os.environ["HOLDFAST_API_RUNS_HOLDS"] = "0"  # so that the worker has the work
    variants = [_AS_IT_IS, *options.settings]
    results: dict[str, list[Result]] = {variant: [] for variant in variants}
    with tempfile.TemporaryDirectory(prefix="holdfast-tune-") as folder:
        Path(folder).chmod(0o755)
        with running(Path(folder)) as (bench, load):
            bench.floor.stop()
            for n in range(options.rounds):
                for variant in variants if n % 2 == 0 else reversed(variants):
                    results[variant].append(_turn(bench, load, variant, options.clients, options.seconds))
    print(" ".join([f"`python -m bench.tune {options.clients}", *sys.argv[2:]]) + "`\n")
    print("| worker | lifecycles/s, by turn | create p50 / p95 ms | commit p50 / p95 ms | CPU ms a lifecycle |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for variant in variants:
        print(_row(variant, results[variant]))
    return 0


def _turn(bench: Bench, load: Load, variant: str, clients: int, seconds: float) -> Result:
    app = bench.product
    changes = "" if variant == _AS_IT_IS else variant.replace(",", "; worker.").join(["worker.", "; "])
    app.worker.ask_to_stop()
    app.worker.stop()
    app.worker = Child(
        "worker", [sys.executable, "-c", f"import worker; {changes}worker.main()"], log=app.worker_log, env=app.env
    )
    app.worker.start()
    app.worker.wait_until(lambda: "worker polls" in app.worker.output(), _READY_SECONDS)
    return load.run(Job("product", app.port, app.token, clients, 1.5, seconds, pids=bench.pids(app)))


def _row(variant: str, turns: list[Result]) -> str:
    rate = sum(turn.done for turn in turns) / sum(turn.seconds for turn in turns)
    each = ", ".join(f"{turn.done / turn.seconds:.0f}" for turn in turns)
    create = [ms for turn in turns for ms in turn.create_ms]
    commit = [ms for turn in turns for ms in turn.commit_ms]
    cpu = median(sum(turn.cpu[name] for name in PROCESSES) / max(turn.done, 1) * 1000 for turn in turns)
    return (
        f"| {variant} | **{rate:.1f}**: {each} | {percentile(create, 50):.0f} / {percentile(create, 95):.0f}"
        f" | {percentile(commit, 50):.0f} / {percentile(commit, 95):.0f} | {cpu:.1f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
