"""Generates what repeats the code, in documents and the Helm chart: `python -m dev.documents`, `--check` to compare.

A generated part is between the lines `<!-- generated: NAME -->` and `<!-- end: NAME -->`; the rest is written by hand.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from api.problems import Problem
from core.alert_settings import AlertSettings
from core.api_settings import ApiSettings
from core.environment_settings import allowed_values
from core.payment_settings import PaymentSettings
from core.settings import Settings
from core.tracing_settings import TracingSettings
from core.worker_settings import WorkerSettings
from dev import chart

ROOT = Path(__file__).parents[1]
_PART = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n).*?(<!-- end: (?P=name) -->\n)", re.DOTALL)


def configuration() -> dict[str, str]:
    """Return the generated parts of docs/configuration.md: one table for each group of settings."""
    grouped = (ApiSettings, PaymentSettings, AlertSettings, TracingSettings)
    shared = {name for group in grouped for name in group.model_fields}
    own = [field for name, field in Settings.model_fields.items() if name not in shared]
    return {
        "settings": _settings_table(own),
        **{_part_name(group.__name__): _settings_table(group.model_fields.values()) for group in grouped},
        "worker-settings": _settings_table(WorkerSettings.model_fields.values()),
        "secrets": ", ".join(f"`{variable}`" for variable in Settings.secrets()) + ".\n",
    }


def errors() -> dict[str, str]:
    """Return the generated part of docs/errors.md: one row for each error of the API."""
    rows = [
        f"| {kind.status} | `{problem.name}` | {f'`{kind.code}`' if kind.code else ''} | {kind.cause} | {kind.advice} |"
        for problem, kind in ((problem, problem.value) for problem in Problem)
    ]
    head = ["| Status | `error` | `code` | Cause | Repeat the request? |", "| --- | --- | --- | --- | --- |"]
    return {"errors": "\n".join([*head, *rows, ""])}


DOCUMENTS: Mapping[str, Callable[[], Mapping[str, str]]] = {
    "docs/configuration.md": configuration,
    "docs/errors.md": errors,
}
"""The documents with generated parts, and the function that returns those parts by name."""


FILES: Mapping[str, Callable[[], str]] = {chart.RULES: chart.rules, chart.SCHEMA: chart.values_schema}
"""The files that are generated as a whole, after the documents, and the function that returns their text."""


def _part_name(model: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", model).lower()


def _settings_table(fields: Iterable[FieldInfo]) -> str:
    rows = [
        f"| `{field.alias}` | {_default(field)} | {allowed_values(field)} | {field.description} |" for field in fields
    ]
    return "\n".join(["| Variable | Default | Allowed | Meaning |", "| --- | --- | --- | --- |", *rows, ""])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, StrEnum):
        value = value.value
    return "none" if value in (None, "", (), {}) else f"`{value}`"


def with_parts(text: str, parts: Mapping[str, str]) -> str:
    """Return the document with its generated parts replaced.

    Raises ValueError unless the document has exactly these parts.
    """
    found = [part["name"] for part in _PART.finditer(text)]
    if sorted(found) != sorted(parts):
        raise ValueError(f"generated parts: expected {sorted(parts)}, found {sorted(found)}")
    return _PART.sub(lambda part: f"{part[1]}{parts[part['name']]}{part[3]}", text)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write the generated parts, or with `--check` return 1 if a document is out of date."""
    parser = argparse.ArgumentParser(prog="python -m dev.documents", description="Generate parts of documents.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a document is out of date")
    check = parser.parse_args(arguments).check
    out_of_date = False
    for path, present, generated in _generated(root):
        if generated == present:
            continue
        name = path.relative_to(root)
        if check:
            print(f"{name} is out of date; run: make docs", file=sys.stderr)
            out_of_date = True
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(generated, encoding="utf-8")
            print(f"{name} written")
    return 1 if out_of_date else 0


def _generated(root: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield each path with its present and its generated text; a document is written before the next is generated."""
    for name, parts in DOCUMENTS.items():
        present = (root / name).read_text(encoding="utf-8")
        yield root / name, present, with_parts(present, parts())
    for name, text in FILES.items():
        path = root / name
        yield path, path.read_text(encoding="utf-8") if path.exists() else "", text()


if __name__ == "__main__":
    sys.exit(main())
