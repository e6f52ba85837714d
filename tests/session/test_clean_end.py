"""However a test run ends, no process and no folder of it is left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.up import until, with_default_interrupt
from tests.session.guardian import processes_of

SECONDS = 240


class Run:
    """A pytest in a process group of its own, with an xdist worker or without, whose one test leaves servers."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        test: str = "tests/session/leaves_servers.py",
        workers: int = 0,
        **environment: str,
    ) -> None:
        self.folder = folder
        self._announcement = folder.with_name("servers-run")
        self._output = folder.with_name("output")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-n",
            str(workers),
            "--max-worker-restart=0",
        ]
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [*command, *options, test],
                cwd=Path(__file__).parents[2],
                env={
                    **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
                    "TMPDIR": str(folder),
                    "SERVERS_RUN": str(self._announcement),
                    **environment,
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=with_default_interrupt,  # noqa: PLW1509 - nothing but a signal's disposition is set
            )

    def wait_for_servers(self) -> int:
        """Return the id of the process that runs the test, once it has started its servers."""
        until(lambda: self._announcement.exists() and self._announcement.read_text(), SECONDS, self._output.read_text)
        return int(self._announcement.read_text())

    def assert_nothing_is_left(self) -> None:
        """Wait until pytest has ended, and all that it has started and written is gone."""
        self.process.wait(SECONDS)
        deadline = time.monotonic() + SECONDS
        while (left := [*processes_of(self.folder), *self.folder.iterdir()]) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not left, self._output.read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def kill_pytest(run: Run, _test_process: int) -> None:
    run.process.kill()


def kill_the_xdist_worker(_run: Run, test_process: int) -> None:
    os.kill(test_process, signal.SIGKILL)


def press_ctrl_c(run: Run, _test_process: int) -> None:
    os.killpg(run.process.pid, signal.SIGINT)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("end", [kill_pytest, kill_the_xdist_worker, press_ctrl_c])
def test_an_interrupted_run_leaves_nothing(folder: Path, end: Callable[[Run, int], None]) -> None:
    run = Run(folder, workers=1)
    end(run, run.wait_for_servers())
    run.assert_nothing_is_left()


@pytest.mark.timeout(600)
def test_a_run_whose_test_fails_leaves_nothing(folder: Path) -> None:
    run = Run(folder, FAIL="yes")
    run.wait_for_servers()
    run.process.wait(SECONDS)
    assert run.process.returncode == pytest.ExitCode.TESTS_FAILED
    assert list(folder.iterdir()) == []
    run.assert_nothing_is_left()


def test_a_test_that_swallows_its_time_out_ends_all_the_same(folder: Path) -> None:
    run = Run(folder, "--timeout=1", "-o", "faulthandler_timeout=5", test="tests/session/hangs.py")
    run.assert_nothing_is_left()
    assert run.process.returncode == 1
    assert "Timeout (0:00:05)!" in run._output.read_text()
