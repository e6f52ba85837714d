"""What documents claim about the code: links, paths, settings, metrics, alerts and routes exist."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry
from temporalio.bridge import temporal_sdk_bridge

from api.app import create_app
from api.gauges import HoldGauges
from api.problems import Problem
from core.database import create_engine
from core.metrics import Telemetry
from core.settings import Settings
from core.worker_readiness import ProcessStates, WorkerReadiness
from dev import documents as generator
from payments.events import HOLD_METADATA_KEY, REFERENCE_METADATA_KEY
from tests.documents import ROOT, anchors, documents
from tests.stack import environment

PAGES = {str(path.relative_to(ROOT)): path for path in documents()}
PRESENT = {name: path.read_text() for name, path in PAGES.items() if name != "CHANGELOG.md"}
"""The texts that describe the product as it is. The changelog also names what is gone."""


def every_page(check: Callable[..., None]) -> Callable[..., None]:
    """Make one test of a check of a text: all pages, of which the failure names those at fault."""

    def checked(**fixtures: object) -> None:
        at_fault = {}
        for name, text in PRESENT.items():
            try:
                check(text=text, **fixtures)
            except AssertionError as error:
                at_fault[name] = str(error)
        assert not at_fault

    signature = inspect.signature(check)
    others = [parameter for name, parameter in signature.parameters.items() if name != "text"]
    checked.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
    return checked


def test_a_document_that_is_out_of_date_is_found_and_regenerated(tmp_path: Path) -> None:
    for name, parts in generator.DOCUMENTS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        emptied = generator.with_parts((ROOT / name).read_text(), dict.fromkeys(parts(), ""))
        (tmp_path / name).write_text(emptied)
    assert generator.main(["--check"], tmp_path) == 1
    assert generator.main([], tmp_path) == generator.main(["--check"], tmp_path) == 0
    for name in generator.DOCUMENTS:
        assert (tmp_path / name).read_text() == (ROOT / name).read_text()


def test_every_variable_of_temporals_configuration_is_documented() -> None:
    text = (ROOT / "docs" / "cluster.md").read_text()
    used = set(re.findall(r'env "([A-Z0-9_]+)"', (ROOT / "deploy" / "temporal" / "config.yaml").read_text()))
    assert used
    assert not [name for name in used if f"`{name}`" not in text]


def test_links_between_documents_lead_somewhere() -> None:
    for document in PAGES.values():
        links = re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]*))?\)", document.read_text())
        lost = [link for link, _ in links if not (document.parent / link).exists()]
        assert not lost, document
        lost = [
            part for link, part in links if part and part not in anchors(document.parent / link if link else document)
        ]
        assert not lost, document


@every_page
def test_the_files_that_a_page_names_exist(text: str) -> None:
    named = re.findall(rf"(?<![\w/.$-]){FOLDERS}/[\w./*-]*\w", text)
    assert not [path for path in named if not list(ROOT.glob(path))]


FOLDERS = f"(?:{'|'.join(sorted(path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != '.'))})"


@every_page
def test_the_make_targets_that_a_page_names_exist(text: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert not [
        name for name in re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE) if f"\n{name}:" not in makefile
    ]


@every_page
def test_the_modules_that_a_page_runs_exist(text: str) -> None:
    named = set(re.findall(r"python -m ([a-z_.]+)", text)) - {"pytest"}
    paths = [ROOT / name.replace(".", "/") for name in named]
    assert not [path for path in paths if not (path.with_suffix(".py").exists() or (path / "__main__.py").exists())]


@pytest.fixture(scope="module")
def alerts() -> set[str]:
    groups = yaml.safe_load((ROOT / "ops" / "prometheus" / "rules.yml").read_text())["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


@every_page
def test_the_alerts_that_a_page_names_exist(text: str, alerts: set[str]) -> None:
    tested = {"HoldfastTest"}  # what `holdfast alerts test` sends
    assert set(re.findall(r"\bHoldfast[A-Z]\w+", text)) <= alerts | tested


@pytest.fixture(scope="module")
def metrics() -> set[str]:
    registry = CollectorRegistry()
    Telemetry(registry)
    engine = create_engine(Settings.read({"DATABASE_URL": "postgresql://localhost/holdfast"}))

    async def none_open() -> int:
        return 0

    gauges = HoldGauges(engine, none_open)
    return {
        family.name
        for source in (registry, gauges, WorkerReadiness(ProcessStates.of_this_process()))
        for family in source.collect()
    }


@every_page
def test_the_metrics_that_a_page_names_are_counted(text: str, metrics: set[str]) -> None:
    others = {problem.name for problem in Problem} | {p.value.code for p in Problem}
    others |= {HOLD_METADATA_KEY, REFERENCE_METADATA_KEY}
    others |= {"checkout_session", "checkout_sessions"}  # a field of Stripe's, and a path of ACP
    named = {_family(name) for name in re.findall(r"\b(?:inventory|checkout)_[a-z_]+[a-z]", text)}
    assert named <= metrics | others


def test_the_metrics_of_temporal_that_a_page_names_are_in_its_library() -> None:
    texts = "\n".join((ROOT / name).read_text() for name in ("ops/prometheus/rules.yml", *PRESENT))
    named = {_family(metric).encode() for metric in re.findall(r"\btemporal_([a-z_]+[a-z])\b", texts)}
    library = Path(temporal_sdk_bridge.__file__).read_bytes()
    assert not [metric for metric in named if metric not in library]


def _family(name: str) -> str:
    return re.sub(r"_(?:total|bucket|count|sum)$", "", name)


@every_page
def test_the_settings_that_a_page_names_are_described(text: str) -> None:
    described = "".join(
        PRESENT[name] for name in ("docs/configuration.md", "docs/cluster.md", "clients/python/README.md")
    )
    named = set(
        re.findall(
            r"\b(?:ALERTMANAGER|DATABASE|HOLDFAST|HOLD|INVENTORY|LATE|OTEL|PAYMENT|PROMETHEUS|SKIP|SMTP|STOCK|STRIPE|TEMPORAL)_[A-Z_]*[A-Z]\b",
            text,
        )
    )
    assert not [name for name in named - NO_SETTINGS if f"`{name}`" not in described]


NO_SETTINGS = {"HOLDFAST_URL", "HOLDFAST_IMAGE", "HOLDFAST_API_ADDRESS", "HOLDFAST_API_PORTS", "HOLDFAST_COMMIT"}
"""The runbooks' name for an address, what only docker-compose.yml reads, and what a build is told."""


@pytest.fixture(scope="module")
def paths() -> list[str]:
    """The API's paths, as patterns."""
    api = create_app(Settings.read(environment("postgresql://localhost/holdfast")), registry=CollectorRegistry())
    return [re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)) for path in api.openapi()["paths"]]


@every_page
def test_the_routes_that_a_page_names_exist(text: str, paths: list[str]) -> None:
    named = re.findall(r"/(?:api/(?:inventory|checkout|webhooks)/[\w/{}.-]*\w}?|livez|readyz|metrics)", text)
    assert not [path for path in named if not any(re.fullmatch(one, path) for one in paths)]


def test_the_figures_of_the_readme_are_those_of_the_benches() -> None:
    measured = "".join((ROOT / "bench" / name).read_text() for name in ("RESULTS.md", "CLUSTER.md"))
    rows = re.findall(r"^\| .* \| (.*) \| `make (?:bench|cluster)` \|$", PRESENT["README.md"], re.MULTILINE)
    figures = [figure for row in rows for figure in re.findall(r"\d[\d.]*", row)]
    assert figures
    assert not [figure for figure in figures if not re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.])", measured)]
