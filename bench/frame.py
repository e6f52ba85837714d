"""The frame of every bench: a module with three functions, which runs alone or in the page of all.

- `measure(quick: bool)` starts what it needs, measures, and returns a dataclass. A quick run takes at most 20 s, the
  start of its processes included: all benches together have three minutes.
- `lines(result)` returns its section of the page: a heading, a table of targets if it has any, tables, notes.
- `plot(result, axes)` draws it; `panels` divides the axes.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bench.stack import Bench, Load, running

if TYPE_CHECKING:  # installed by `make bench` only
    from matplotlib.axes import Axes

R = TypeVar("R")


@contextmanager
def started(*, floor: bool = False) -> Iterator[tuple[Bench, Load]]:
    """Run the product's processes, and the floor's if wanted, on a folder that is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with running(folder, floor=floor) as both:
            yield both


def say(what: str) -> None:
    """Tell the person who waits what happens now."""
    print(f"... {what}", file=sys.stderr, flush=True)


def measured(name: str, *, quick: bool) -> object:
    """Return the result of a bench, which a process of its own may measure."""
    say(name)
    return import_module(f"bench.{name}").measure(quick=quick)


def draw(plot: "Callable[[R, Axes], None]", result: R, file: Path) -> None:
    """Write the plot to the file."""
    import matplotlib as mpl  # noqa: PLC0415 - installed by `make bench` only

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    figure, axes = plt.subplots(figsize=(7.5, 4.4), layout="constrained")
    plot(result, axes)
    for each in figure.axes:
        each.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def panels(axes: "Axes", number: int, width: float) -> "list[Axes]":
    """Return so many axes beside each other, in place of the given one, on a figure so many inches wide."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    axes.remove()
    figure.set_size_inches(width, figure.get_figheight())
    return list(figure.subplots(1, number))


def stop_with_sigterm() -> None:
    """Make SIGTERM end the run as Ctrl-C does, so that all processes are stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def run_alone(measure: Callable[[bool], R], lines: Callable[[R], list[str]], plot: "Callable[[R, Axes], None]") -> None:
    """Run one bench: `python -m bench.NAME [--quick] [--plot FILE]`. Prints its section."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{Path(sys.argv[0]).stem}")
    parser.add_argument("--quick", action="store_true", help="a short trial run; its figures are noise")
    parser.add_argument("--plot", type=Path, help="the file for the plot (default: none)")
    options = parser.parse_args()
    stop_with_sigterm()
    result = measure(options.quick)
    print("\n\n".join(lines(result)))
    if options.plot is not None:
        draw(plot, result, options.plot)
