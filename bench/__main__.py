"""`python -m bench`: run every bench and write the page of their results, with a plot for each."""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

from bench.frame import draw, measured, stop_with_sigterm
from bench.machine import describe, dev_server
from bench.report import page

BENCHES = (
    "lifecycles",
    "statements",
    "flash_sale",
    "drop",
    "overload",
    "fairness",
    "open_holds",
    "memory",
    "due",
)
"""Modules of this package, in the order of the page; `bench.frame` says what they have."""
_HERE = Path(__file__).parent
_AT_ONCE_IF_QUICK = 2
"""Benches of a trial run wait more than they compute, and their figures are noise anyway."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a trial run of three minutes; its figures are noise")
    parser.add_argument("--out", type=Path, help="the folder for RESULTS.md and plots (default: bench, none if quick)")
    options = parser.parse_args()
    stop_with_sigterm()
    out: Path | None = options.out or (None if options.quick else _HERE)
    command = " ".join(["python -m bench", *sys.argv[1:]])
    machine = describe(dev_server())
    began = time.monotonic()
    sections = {}
    measure = partial(measured, quick=options.quick)
    with ProcessPoolExecutor(_AT_ONCE_IF_QUICK, mp_context=get_context("spawn")) as pool:
        results = pool.map(measure, BENCHES) if options.quick else map(measure, BENCHES)
        for name, result in zip(BENCHES, results, strict=True):
            bench = import_module(f"bench.{name}")
            sections[name] = bench.lines(result)
            missing = [other for other in BENCHES if other not in sections]
            text = page(sections, machine, command, time.monotonic() - began, missing)
            if out is not None:  # after each: an interrupted run keeps what it has measured
                draw(bench.plot, result, out / "plots" / f"{name}.png")
                (out / "RESULTS.md").write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
