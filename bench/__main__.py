"""`python -m bench`: measure Holdfast against the engine's floor and write the report."""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench import measure, plot, report
from bench.machine import describe, dev_server
from bench.measure import CLIENTS, QUICK, Figures, Plan
from bench.stack import running

_HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short trial run; its figures are noise")
    parser.add_argument(
        "--out", type=Path, help="the folder for RESULTS.md and results.png (default: bench, none if quick)"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all processes are stopped, as with Ctrl-C
    plan = QUICK if options.quick else Plan()
    out: Path | None = options.out or (None if options.quick else _HERE)
    command = " ".join(["python -m bench", *sys.argv[1:]])
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        Path(folder).chmod(0o755)
        with running(Path(folder)) as (bench, load):
            figures = Figures()
            for clients in CLIENTS:
                _say(f"lifecycles at {clients} clients")
                figures.lifecycles[clients] = measure.lifecycles(bench, load, plan, clients)
            _say("validations")
            figures.validations = measure.validations(bench, load, plan)
            _say("reserves on a hot row")
            figures.hot = measure.hot_row(bench, plan)
            _say(f"{plan.open_holds} open holds")
            measure.open_holds(bench, load, plan, figures)
            figures.items_that_do_not_add_up = bench.audit()
            machine = describe(bench.postgres.url, dev_server())
    text = report.render(figures, plan, machine, command, time.monotonic() - began)
    print(text)
    if out is not None:
        (out / "RESULTS.md").write_text(text + "\n")
        plot.draw(figures, out / "results.png")
    return 0


def _say(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
