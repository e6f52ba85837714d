"""One folder for all that a pytest process and its children write. Nothing of it is left, however pytest ends."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

from tests.session import guardian


class SessionFolder:
    """The TMPDIR of this process and its children, watched by a guardian."""

    def __init__(self, path: Path, watcher: subprocess.Popen[bytes], earlier: str | None) -> None:
        self.path = path
        self._guardian = watcher
        self._earlier = earlier

    @classmethod
    def open(cls, name: str) -> Self:
        """Make the folder and make it TMPDIR. An xdist worker's lies in its controller's."""
        path = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        watcher = subprocess.Popen(
            [sys.executable, guardian.__file__, str(os.getpid()), str(path)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C at the terminal must not end it first
        )
        earlier = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = tempfile.tempdir = str(path)
        return cls(path, watcher, earlier)

    def close(self) -> None:
        """End what still runs, remove the folder, and return when both are done."""
        if self._earlier is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = self._earlier
        tempfile.tempdir = None
        assert self._guardian.stdin is not None
        self._guardian.stdin.close()
        self._guardian.wait()
