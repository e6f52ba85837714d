"""The operator: does what a page of docs/runbooks says, word for word, in a shell beside the product."""

import asyncio
import os
import sys
from pathlib import Path

from cli.embedded import postgres_binaries
from tests.e2e.deployment import Deployment

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"


class Operator:
    """Follows one page, in a folder of its own; `variables` are what the page's commands have in $CAPITALS."""

    def __init__(self, page: str, folder: Path, deployment: Deployment, **variables: str) -> None:
        self._page = (RUNBOOKS / f"{page}.md").read_text()
        self._folder = folder
        url = str(deployment.http.base_url)
        path = [str(Path(sys.executable).parent), str(postgres_binaries()), os.environ["PATH"]]
        self.environment = {
            **deployment.environment,
            "PATH": os.pathsep.join(path),
            "HOLDFAST_URL": url,
            "INVENTORY_AUTHORITY_URL": url,
            "COLUMNS": "200",
            **variables,
        }

    async def does(self, command: str, *, code: int = 0) -> str:
        """Run a command that stands on the page, and return what it prints."""
        assert command in self._page, f"not on the page: {command}"
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", command),
            cwd=self._folder,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed = (await process.communicate())[0].decode()
        assert process.returncode == code, f"{command}: exit code {process.returncode}\n{printed}"
        return printed
