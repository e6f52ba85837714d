"""The operator: does what a page of docs/runbooks says, word for word, in a shell beside the product."""

import asyncio
import json
import os
import sys
from pathlib import Path

from dev.postgres import postgres_binaries
from tests.commands import run_holdfast
from tests.e2e.deployment import Deployment
from tests.operations.diagnosis import SECRET
from tests.paying import event, named, signed

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

    async def asks(self, statement: str) -> str:
        """Run an SQL statement that stands on the page, and return what it answers."""
        assert statement in self._page, f"not on the page: {statement}"
        return (await self._run("psql", "-At", self.environment["DATABASE_URL"], "-c", statement))[1].strip()

    async def does(self, command: str, *, code: int = 0) -> str:
        """Run a command that stands on the page, and return what it prints."""
        assert command in self._page, f"not on the page: {command}"
        if command.startswith("holdfast "):
            code_of_it, printed = await self._run_fork(command.removeprefix("holdfast "))
        else:
            code_of_it, printed = await self._run("bash", "-c", command)
        assert code_of_it == code, f"{command}: exit code {code_of_it}\n{printed}"
        return printed

    async def _run_fork(self, words: str) -> tuple[int | None, str]:
        """Have the shell expand the words, and run `holdfast` with them as a fork."""
        _, expanded = await self._run("bash", "-c", f"printf '%s\\0' {words}")
        ran = await asyncio.to_thread(run_holdfast, expanded.split("\0")[:-1], self.environment)
        return ran.code, ran.out + ran.err

    async def _run(self, *command: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self._folder,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await process.communicate()
        return process.returncode, printed.decode()


async def paid(deployment: Deployment, hold_id: str) -> None:
    """Bring the signed event that a payment for the hold was made."""
    intent = {"id": f"pi_{hold_id}", "object": "payment_intent", "amount": 1, "currency": "eur", "status": "succeeded"}
    told = event("payment_intent.succeeded", {**intent, "metadata": named(hold_id)})
    body = json.dumps(told).encode()
    headers = {"Stripe-Signature": signed(body, SECRET)}
    answer = await deployment.http.post("/api/webhooks/stripe", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
