"""The tables and indexes that this release's migrations create, read from their SQL without a database."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import migrations

_TABLE = re.compile(r'CREATE TABLE (?:IF NOT EXISTS )?"(\w+)"')
_INDEX = re.compile(r'CREATE (?:UNIQUE )?INDEX (?:CONCURRENTLY )?(?:IF NOT EXISTS )?"(\w+)"[^;]*')


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema of a database at this release's head revision."""

    head: str
    revisions: frozenset[str]
    tables: tuple[str, ...]
    indexes: Mapping[str, str]
    """The CREATE statement of each, by name."""


def released_schema() -> Schema:
    """Run the migrations in SQL mode and return what they create, in their order."""
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    revisions = list(reversed(list(script.walk_revisions())))
    written = io.StringIO()
    context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": written})
    with Operations.context(context):
        for revision in revisions:
            revision.module.upgrade()
    made = written.getvalue()
    return Schema(
        head=script.get_current_head() or "",
        revisions=frozenset(revision.revision for revision in revisions),
        tables=tuple(_TABLE.findall(made)),
        indexes={match[1]: " ".join(match[0].split()) for match in _INDEX.finditer(made)},
    )
