"""The dashboards of `ops/grafana`, as tests read them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GRAFANA = Path(__file__).parents[1] / "ops" / "grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}


@dataclass(frozen=True)
class Query:
    """One query of a panel."""

    dashboard: str
    panel: str
    ref: str
    expression: str

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel} {self.ref}"


PANELS: list[tuple[str, dict[str, Any]]] = [
    (name, panel) for name, board in DASHBOARDS.items() for panel in board["panels"] if panel["type"] != "row"
]
"""Those that show something, each with its dashboard's name."""

QUERIES = [
    Query(name, panel["title"], target["refId"], target["expr"])
    for name, panel in PANELS
    for target in panel["targets"]
]

ANNOTATIONS = {
    f"{name}: {annotation['name']}": annotation["target"]["expr"]
    for name, board in DASHBOARDS.items()
    for annotation in board["annotations"]["list"]
}
"""What is drawn across the panels."""

VARIABLES: dict[str, str] = {
    f"{name}: {variable['name']}": variable["query"]["query"]
    for name, board in DASHBOARDS.items()
    for variable in board["templating"]["list"]
    if variable["type"] == "query"
}
"""What the template variables ask Prometheus."""
