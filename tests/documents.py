"""The project's documents, as tests read them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def documents() -> list[Path]:
    """Return every Markdown page that readers are given; what tests or benches write is not among them."""
    return [
        *sorted(ROOT.glob("*.md")),
        *sorted(ROOT.glob("docs/**/*.md")),
        *sorted(ROOT.glob("clients/*/README.md")),
        ROOT / "dev" / "simulator" / "README.md",
    ]


def anchor(heading: str) -> str:
    """Return the name by which a heading is linked to."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)}
