"""Alembic's environment. `holdfast migrate` calls it with a connection that has the migration lock; no ini file.

`config.attributes`: `connection`, and `applied`, a list to which each applied revision's id is added.
"""

from collections.abc import Collection, Mapping
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo


def _note(
    ctx: MigrationContext,  # noqa: ARG001 - the names and places are Alembic's own
    step: MigrationInfo,
    heads: Collection[Any],  # noqa: ARG001
    run_args: Mapping[str, Any],  # noqa: ARG001
) -> None:
    context.config.attributes["applied"].extend(step.up_revision_ids)


context.configure(
    connection=context.config.attributes["connection"],
    transaction_per_migration=True,
    on_version_apply=_note,
)
with context.begin_transaction():
    context.run_migrations()
