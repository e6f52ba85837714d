"""The release before this one, from git's history, run beside this one on the same servers."""

import asyncio
import io
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from dev.ports import free_port
from dev.processes import Child
from dev.service_process import answers
from tests.e2e.deployment import Deployment
from tests.stack import ADMIN_TOKEN, NO_TLS
from tests.waiting import LIMIT_SECONDS

ROOT = Path(__file__).parents[2]
_SUBJECT = "^Release as "
"""How the commit of a release begins, by CONTRIBUTING.md."""


class EarlierRelease:
    """Its API and its worker as processes, with the environment of a deployment of this release."""

    def __init__(self, sources: Path, product: Deployment, folder: Path) -> None:
        self._sources = sources
        self._environment = {**product.environment, "PYTHONPATH": str(sources)}
        self._folder = folder

    @asynccontextmanager
    async def api(self) -> AsyncIterator[httpx.AsyncClient]:
        """Serve its API, from when its /readyz answers 200, and yield a client with a token."""
        url = f"http://127.0.0.1:{free_port()}"
        child = self._child("cli.main", "api", "--port", url.rpartition(":")[2])
        try:
            await asyncio.to_thread(child.wait_until, lambda: answers(f"{url}/readyz"), LIMIT_SECONDS)
            headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=LIMIT_SECONDS, verify=NO_TLS) as http:
                yield http
        finally:
            await asyncio.to_thread(child.stop)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Child]:
        """Run its worker, from when it says that it polls."""
        child = self._child("worker", "--metrics-port", str(free_port()))
        try:
            await asyncio.to_thread(child.wait_until, lambda: "worker polls" in child.output(), LIMIT_SECONDS)
            yield child
        finally:
            await asyncio.to_thread(child.stop)

    def _child(self, module: str, *arguments: str) -> Child:
        log = self._folder / f"earlier-{module}-{arguments[-1]}.log"
        command = [sys.executable, "-m", module, *arguments]
        child = Child(f"earlier {module}", command, log=log, env=self._environment, cwd=self._sources)
        child.start()
        return child


def unpack_earlier_release(folder: Path) -> Path:
    """Unpack the sources of the release before this one; skips the test where git's history does not reach it."""
    commit = _git("log", "-1", "--format=%H", f"--grep={_SUBJECT}", "HEAD^").decode().strip()
    if not commit:
        pytest.skip("git's history, down to the release before this one, is not here")
    with tarfile.open(fileobj=io.BytesIO(_git("archive", commit))) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _git(*arguments: str) -> bytes:
    try:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return b""
