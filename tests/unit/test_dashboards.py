"""The dashboards say what they show, in which unit, against which target, and what to do about it."""

import re
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.dashboards import DASHBOARDS, GRAFANA, PANELS, QUERIES
from tests.documents import ROOT, anchors

NAMED = [pytest.param(panel, id=f"{dashboard}: {panel['title']}") for dashboard, panel in PANELS]
PLACEHOLDER = "https://git.example.com/holdfast/blob/main/"
GRAFANAS_OWN = {"__rate_interval", "__range", "datasource"}


def test_there_is_one_for_each_question() -> None:
    assert {name: board["uid"] for name, board in DASHBOARDS.items()} == {
        name: f"holdfast-{name}" for name in ("health", "lifecycle", "shop", "temporal")
    }


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_fits_its_data_source_and_its_grid(name: str) -> None:
    board = DASHBOARDS[name]
    source = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    chosen = board["templating"]["list"][0]
    assert (chosen["query"], chosen["current"]["value"]) == (source["type"], source["uid"])
    assert board["description"]
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in board["panels"]):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@pytest.mark.parametrize("panel", NAMED)
def test_a_panel_has_a_description_a_unit_and_a_page_that_exists(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    for link in panel.get("links", []):
        page, _, heading = link["url"].removeprefix(PLACEHOLDER).partition("#")
        assert (ROOT / page).is_file()
        assert not heading or heading in anchors(ROOT / page)
    for source in (panel, *panel["targets"]):
        assert source["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_every_query_uses_the_variables_that_its_dashboard_has() -> None:
    declared = {
        name: {variable["name"] for variable in board["templating"]["list"]} for name, board in DASHBOARDS.items()
    }
    assert not [
        query
        for query in QUERIES
        if not set(re.findall(r"\$(\w+)", query.expression)) <= declared[query.dashboard] | GRAFANAS_OWN
    ]


def test_every_figure_with_a_target_is_on_a_dashboard() -> None:
    """The technical criteria of the deployment checklist, by the value at which their panel turns red."""
    red = {panel["title"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"] for _, panel in PANELS}
    assert {name: red[name][-1]["value"] for name in ("create", "commit", "release", "validate", "webhook")} == {
        "create": 0.2,
        "commit": 0.1,
        "release": 0.1,
        "validate": 0.1,
        "webhook": 0.5,
    }
    assert {name: red[name][1]["value"] for name in ("Expiry rate",)} == {"Expiry rate": 0.2}
    assert red["Commit rate"][-1] == {"color": "green", "value": 0.8}
    assert red["Database CPU"][-1] == {"color": "red", "value": 0.7}
    assert red["Oversold or drifted"][-1] == {"color": "red", "value": 1}
