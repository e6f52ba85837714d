"""What `holdfast migrate` says of the revisions that there are."""

from pathlib import Path

from alembic.script import ScriptDirectory

import migrations

_SCRIPTS = ScriptDirectory(Path(migrations.__file__).parent)

APPLIED = [f"applied {step.revision}: {step.doc}" for step in reversed(list(_SCRIPTS.walk_revisions()))]
"""On an empty database; on one that is adopted all but the first."""
AT_HEAD = [f"already at {_SCRIPTS.get_current_head()} (head)"]
