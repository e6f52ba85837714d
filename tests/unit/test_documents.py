"""Documents that must agree with the code."""

import re
from pathlib import Path

import pytest

from core.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    ROOT / "client" / "README.md",
    *ROOT.glob("docs/**/*.md"),
]


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`|none) \|", text, re.MULTILINE))
    settings = Settings.model_fields.values()
    assert {field.alias for field in settings} <= set(rows)
    for field in settings:
        default = "" if field.is_required() or not field.get_default(call_default_factory=True) else str(field.default)
        default = {"": "0" if field.annotation is bool else "", "True": "1"}.get(default, default)
        assert rows[str(field.alias)] == default, field.alias


def test_every_secret_that_may_come_from_a_file_is_named() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    (section,) = re.findall(r"There is one for each of\n\n(.*?)\n\n", text, re.DOTALL)
    assert set(re.findall(r"`([A-Z_]+)`", section)) == set(Settings.secrets())


def test_every_variable_of_temporals_configuration_is_documented() -> None:
    text = (ROOT / "docs" / "cluster.md").read_text()
    used = set(re.findall(r'env "([A-Z0-9_]+)"', (ROOT / "deploy" / "temporal" / "config.yaml").read_text()))
    assert used
    assert not [name for name in used if f"`{name}`" not in text]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]*))?\)", document.read_text())
    assert not [link for link, _ in links if not (document.parent / link).exists()]
    assert not [
        part for link, part in links if part and part not in headings(document.parent / link if link else document)
    ]


def headings(page: Path) -> set[str]:
    """Return the names by which a page's headings are linked to."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}
