import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from cli.processes import free_port
from simulator.config import Endpoint
from tests.simulated import SECRET, Inbox, eventually, simulated, stripe_client
from tests.simulator.shop import checkout, opened, paid


async def test_the_state_survives_a_restart(tmp_path: Path, box: Inbox) -> None:
    file = tmp_path / "stripe.json"
    async with simulated(Endpoint("http://127.0.0.1:9/hook", (SECRET,)), state_file=file) as before:
        session = await before.stripe.v1.checkout.sessions.create_async(checkout(), {"idempotency_key": "hold-1"})
        intent = await paid(before, await opened(before))
        await before.stripe.v1.refunds.create_async({"payment_intent": intent})
        await before.control("/clock", advance=3600)
    async with simulated(Endpoint(box.url, (SECRET,)), state_file=file) as after:
        assert (await after.books(intent))["net"] == 0
        again = await after.stripe.v1.checkout.sessions.create_async(checkout(), {"idempotency_key": "hold-1"})
        assert again.id == session.id
        await box.wait_for("checkout.session.completed", "charge.refunded")
        got = await after.stripe.v1.checkout.sessions.retrieve_async(session.id, {"expand": ["line_items"]})
        assert got.line_items is not None
        assert got.line_items.data[0].quantity == 2
        await after.control("/clock", advance=24 * 3600)
        await box.wait_for("checkout.session.expired")


async def test_the_state_is_written_while_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "stripe.json"
    async with simulated(state_file=file) as sim:
        session = await opened(sim)
        await eventually(lambda: _names(file, session.id), "written")
        assert json.loads(file.read_text())["store"]["sessions"][session.id]["status"] == "open"
    assert _listing(tmp_path) == ["stripe.json"]


def _listing(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


def _names(file: Path, session: str) -> bool:
    return file.exists() and session in file.read_text()


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen([sys.executable, "-m", "simulator", *arguments])
    try:
        yield running
    finally:
        running.kill()
        running.wait()


async def test_it_runs_as_a_program(box: Inbox, tmp_path: Path) -> None:
    file = tmp_path / "state"
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    arguments = ("--port", port, "--webhook", box.url, "--secret", SECRET, "--state", str(file))
    with process(*arguments) as running:
        await _answers(url)
        async with stripe_client(url) as stripe:
            session = await stripe.v1.checkout.sessions.create_async(checkout())
            await stripe.v1.checkout.sessions.expire_async(session.id)
        await box.wait_for("checkout.session.expired")
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) in (0, -signal.SIGTERM)
    assert session.id in await asyncio.to_thread(file.read_text)


async def _answers(url: str) -> None:
    until = time.monotonic() + 20
    async with httpx.AsyncClient() as http:
        while True:
            try:
                assert (await http.get(f"{url}/_simulator/health")).status_code == 200
            except httpx.ConnectError:
                assert time.monotonic() < until
            else:
                return


def test_a_secret_without_an_endpoint_is_a_mistake() -> None:
    done = subprocess.run([sys.executable, "-m", "simulator", "--secret", "whsec_x"], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"--secret needs --webhook" in done.stderr
