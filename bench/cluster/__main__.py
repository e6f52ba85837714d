"""`python -m bench.cluster`: run, measure and break Holdfast on a production-like cluster.

The exit code is 0 only if all that must be true of it was.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from bench.cluster.binaries import SERVER, server_binaries
from bench.cluster.claims import of_command, of_kills, of_load, of_metrics, of_overload
from bench.cluster.kills import kill_each
from bench.cluster.report import Seen, render
from bench.cluster.throughput import QUICK, Plan, Size, measure
from bench.cluster.topology import Cluster, running
from bench.machine import describe, dev_server
from bench.overload import QUICK as OVERLOAD_QUICK
from bench.overload import Plan as OverloadPlan
from bench.overload import Target, measure_on
from bench.stack import Load
from dev.processes import EmbeddedError

_HERE = Path(__file__).parent
_BUILT = Path(".cluster")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short trial run; its figures are noise")
    parser.add_argument("--out", type=Path, help="where the results go (default: bench/CLUSTER.md, none if quick)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all processes are stopped, as with Ctrl-C
    out: Path | None = options.out or (None if options.quick else _HERE.parent / "CLUSTER.md")
    command = " ".join(["python -m bench.cluster", *sys.argv[1:]])
    plan, began = QUICK if options.quick else Plan(), time.monotonic()
    try:
        binaries = server_binaries(_BUILT, os.environ, _say)
        with tempfile.TemporaryDirectory(prefix="holdfast-cluster-") as folder:
            Path(folder).chmod(0o755)
            _say("starting")
            with running(Path(folder), binaries) as cluster:
                seen = _run(cluster, plan, OVERLOAD_QUICK if options.quick else OverloadPlan())
                machine = describe(_temporal(binaries))
    except EmbeddedError as error:
        print(f"make cluster: {error}", file=sys.stderr)
        for line in error.trail:
            print(f"  | {line}", file=sys.stderr)
        return 1
    text = render(seen, plan, machine, command, time.monotonic() - began)
    print(text)
    if out is not None:
        out.write_text(text + "\n")
    return 0 if all(claim.held for claim in seen.claims) else 1


def _run(cluster: Cluster, plan: Plan, overload_plan: OverloadPlan) -> Seen:
    doctor = _holdfast(cluster, "doctor", "--api-processes", "2", "--worker-processes", "2")
    smoke = _holdfast(cluster, "smoke")
    _say("throughput")
    with closing(Load()) as load:
        figures = measure(cluster, load, plan)
    _say("more than can be answered")
    target = Target(cluster.api_port, cluster.authority_token, cluster.webhook_secret, cluster.database_url)
    overload = measure_on(target, overload_plan, _say)
    metrics = of_metrics(cluster.temporal.metrics)
    strikes, reconciliation = asyncio.run(kill_each(cluster, _say))
    alone = Size(1, 1)
    claims = [
        of_command("`holdfast doctor` finds no fault", doctor),
        of_command("`holdfast smoke` gets through", smoke),
        metrics,
        of_load("One API and one worker process are enough", figures.turns[alone]),
        of_load(
            "With two of either, or on the dev server, every answer is as expected too",
            [result for size, results in figures.turns.items() if size != alone for result in results],
        ),
        of_overload(overload),
        *of_kills(strikes, reconciliation),
    ]
    return Seen(claims, smoke.stdout, figures, strikes, len(os.sched_getaffinity(0)), overload)


def _holdfast(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    _say(f"holdfast {' '.join(arguments)}")
    command = [sys.executable, "-m", "cli.main", *arguments]
    ran = subprocess.run(command, env=cluster.environment, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        print(ran.stdout + ran.stderr, file=sys.stderr)
    return ran


def _temporal(binaries: Path) -> str:
    ran = subprocess.run([binaries / SERVER, "--version"], capture_output=True, text=True, check=True)
    return f"{ran.stdout.strip()}, four services on Postgres; to compare, {dev_server()}"


def _say(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
