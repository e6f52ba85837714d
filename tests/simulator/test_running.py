import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from stripe import StripeError

from dev.ports import free_port
from dev.service_process import answers
from dev.simulator.config import Endpoint
from tests.simulated import SECRET, Inbox, simulated, stripe_client
from tests.simulator.shop import checkout, opened, paid
from tests.waiting import LIMIT_SECONDS, until


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
        await until(lambda: _names(file, session.id), "written")
        assert json.loads(file.read_text())["store"]["sessions"][session.id]["status"] == "open"
    assert _listing(tmp_path) == ["stripe.json"]


def _listing(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


def _names(file: Path, session: str) -> bool:
    return file.exists() and session in file.read_text()


@contextmanager
def process(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen([sys.executable, "-m", "dev.simulator", *arguments], env=os.environ | environment)
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
        assert running.wait(LIMIT_SECONDS) in (0, -signal.SIGTERM)
    assert session.id in await asyncio.to_thread(file.read_text)


async def test_a_stop_does_not_wait_for_calls_that_are_never_answered(tmp_path: Path) -> None:
    file, port = tmp_path / "state", str(free_port())
    url = f"http://127.0.0.1:{port}"
    with process("--port", port, "--state", str(file)) as running:
        await _answers(url)
        async with stripe_client(url) as stripe, httpx.AsyncClient(base_url=url) as http:
            await http.post(
                "/_simulator/faults", json={"on": "api", "effect": "timeout", "when": "after", "seconds": 600}
            )
            call = asyncio.create_task(stripe.v1.checkout.sessions.create_async(checkout()))
            made: list[dict[str, Any]] = []

            async def is_made() -> bool:
                made[:] = (await http.get("/_simulator/sessions")).json()
                return bool(made)

            await until(is_made, "the session is made")
            running.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(running.wait, LIMIT_SECONDS) in (0, -signal.SIGTERM)
            with pytest.raises(StripeError):
                await call
    assert made[0]["session"] in await asyncio.to_thread(file.read_text)


async def test_the_environments_secrets_sign_where_none_is_given(box: Inbox) -> None:
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    with process("--port", port, "--webhook", box.url, STRIPE_WEBHOOK_SECRET=f"whsec_next, {SECRET}"):
        await _answers(url)
        async with stripe_client(url) as stripe:
            session = await stripe.v1.checkout.sessions.create_async(checkout())
            await stripe.v1.checkout.sessions.expire_async(session.id)
        await box.wait_for("checkout.session.expired")
    assert box.signatures[-1].count("v1=") == 2


async def test_a_kept_session_is_paid_where_the_simulator_is_now(tmp_path: Path) -> None:
    file = tmp_path / "stripe.json"
    async with simulated(state_file=file, public_url="http://earlier.example") as before:
        session = await before.stripe.v1.checkout.sessions.create_async(checkout())
    async with simulated(state_file=file, public_url="http://now.example/") as after:
        kept = await after.stripe.v1.checkout.sessions.retrieve_async(session.id)
        assert kept.url == f"http://now.example/c/pay/{session.id}"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"store": {"products": {"p": {"colour": 1}}}}'])
def test_a_state_file_of_something_else_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "state"
    file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "dev.simulator", "--state", str(file)], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert f"{file} is not the state of a simulator" in done.stderr.decode().splitlines()[-1]
    assert file.read_text() == text


async def _answers(url: str) -> None:
    await until(lambda: answers(f"{url}/_simulator/health"), "the simulator answers")


def test_a_secret_without_an_endpoint_is_a_mistake() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dev.simulator", "--secret", "whsec_x"], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"--secret needs --webhook" in done.stderr
