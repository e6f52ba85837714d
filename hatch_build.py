"""Writes into a wheel from which commit it was built: HOLDFAST_COMMIT, else that of the checkout."""

import os
import runpy
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommitHook(BuildHookInterface[Any]):
    """Adds `core/commit.txt`. An editable installation needs none: the checkout is there."""

    _folder: "tempfile.TemporaryDirectory[str] | None" = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the file where hatchling takes it from."""
        # By its path: a build backend does not find the project's own packages.
        checked_out = runpy.run_path(str(Path(self.root) / "core" / "release.py"))["checked_out"]
        commit = os.environ.get("HOLDFAST_COMMIT") or checked_out(Path(self.root))
        if version != "editable" and commit:
            self._folder = tempfile.TemporaryDirectory()
            file = Path(self._folder.name) / "commit.txt"
            file.write_text(f"{commit}\n")
            build_data["force_include"][str(file)] = "core/commit.txt"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the file."""
        if self._folder is not None:
            self._folder.cleanup()
