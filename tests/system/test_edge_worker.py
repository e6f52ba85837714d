"""The edge worker of docs/integration.md on the runtime that it is for: workerd, from npm."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from temporalio.client import Client

from dev.ports import free_port
from tests.client.faulty_server import faulty_server
from tests.edge_worker import (
    Checkout,
    holds_a_cart_or_says_that_it_is_sold_out,
    program,
    repeats_with_one_key_and_rejects_malformed_answers,
)
from tests.paying import running_shop
from tests.stack import AUTHORITY_TOKEN
from tests.waiting import until

CONFIG = """
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "shop", worker = (
      modules = [(name = "worker.js", esModule = embed "worker.js")],
      compatibilityDate = "2026-11-01",
      bindings = [
        (name = "INVENTORY_AUTHORITY_URL", fromEnvironment = "INVENTORY_AUTHORITY_URL"),
        (name = "INVENTORY_AUTHORITY_TOKEN", fromEnvironment = "INVENTORY_AUTHORITY_TOKEN"),
      ],
    )),
    (name = "internet", network = (allow = ["private"])),
  ],
  sockets = [(name = "http", http = (), service = "shop")],
);
"""


@pytest.fixture
def workerd() -> Path:
    (binary,) = (Path(__file__).parent / "edge" / "node_modules" / "@cloudflare").glob("workerd-*/bin/workerd")
    return binary


@asynccontextmanager
async def checkout_on(workerd: Path, folder: Path, url: str) -> AsyncIterator[Checkout]:
    """Serve the page's worker, which asks the Holdfast at `url`; yields what sends a shopper to it."""
    (folder / "worker.js").write_text(program("js"))
    (folder / "config.capnp").write_text(CONFIG)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        workerd,
        "serve",
        f"--socket-addr=http=127.0.0.1:{port}",
        folder / "config.capnp",
        env={**os.environ, "INVENTORY_AUTHORITY_URL": url, "INVENTORY_AUTHORITY_TOKEN": AUTHORITY_TOKEN},
    )

    async def listens() -> bool:
        assert process.returncode is None, "workerd has ended"
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            return True
        return False

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as shopper:

        async def check_out() -> tuple[int, str]:
            answer = await shopper.get("/checkout")
            return answer.status_code, answer.headers.get("Location", answer.text)

        try:
            await until(listens, "workerd listens")
            yield check_out
        finally:
            process.kill()
            await process.wait()


async def test_the_edge_worker_holds_a_cart_or_says_that_it_is_sold_out(
    database: str, temporal: Client, workerd: Path, tmp_path: Path
) -> None:
    async with running_shop(database, temporal) as shop, checkout_on(workerd, tmp_path, shop.stack.url) as check_out:
        await holds_a_cart_or_says_that_it_is_sold_out(shop, check_out)


async def test_the_edge_worker_repeats_with_one_key_and_rejects_malformed_answers(
    workerd: Path, tmp_path: Path
) -> None:
    async with faulty_server() as server, checkout_on(workerd, tmp_path, server.url) as check_out:
        await repeats_with_one_key_and_rejects_malformed_answers(server, check_out)
