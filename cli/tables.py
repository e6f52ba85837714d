"""Tables whose ids and times can be read and copied at any width of the terminal."""

import sys
from collections.abc import Collection, Sequence

from rich.box import HEAVY_HEAD, Box
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table

_TEXT = 40
"""The characters after which a text is wrapped on a terminal. In a file each row is a line."""
_WIDEST = 10_000


def whole_table(
    headings: Sequence[str], *, texts: Collection[str] = (), numbers: Collection[str] = (), box: Box | None = HEAVY_HEAD
) -> Table:
    """Return a table that cuts nothing. Only the columns `texts` are wrapped; `numbers` are aligned to the right."""
    table = Table(box=box, pad_edge=box is not None)
    longest = _TEXT if sys.stdout.isatty() else None
    for heading in headings:
        if heading in texts:
            table.add_column(heading, overflow="fold", max_width=longest)
        else:
            table.add_column(heading, no_wrap=True, justify="right" if heading in numbers else "left")
    return table


def print_whole(output: RenderableType) -> None:
    """Print such tables as wide as they are. A terminal that is narrower breaks their lines."""
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, Measurement.get(console, console.options.update(width=_WIDEST), output).maximum)
    console.print(output)
