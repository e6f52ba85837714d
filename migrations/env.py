"""Alembic's environment, run by `holdfast migrate` without an ini file.

`config.attributes` has `connection`, which holds the migration lock, and `applied`, a list that receives the id of
each applied revision.
"""

from collections.abc import Collection, Mapping
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo


def _record_revision(
    ctx: MigrationContext,  # noqa: ARG001 - Alembic passes these by name
    step: MigrationInfo,
    heads: Collection[Any],  # noqa: ARG001
    run_args: Mapping[str, Any],  # noqa: ARG001
) -> None:
    context.config.attributes["applied"].extend(step.up_revision_ids)


context.configure(
    connection=context.config.attributes["connection"],
    transaction_per_migration=True,
    on_version_apply=_record_revision,
)
with context.begin_transaction():
    context.run_migrations()
