"""`holdfast up`: the whole product on this machine, from a first hold to Ctrl-C."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from core.secret_files import with_secret_files
from core.setting_errors import SettingsError
from core.settings import Settings
from dev.demo import SHOP, DemoError, first_hold, pay_link
from dev.interrupt import Interrupt, StopRequestedError
from dev.ports import Ports
from dev.postgres import postgres_binaries
from dev.processes import EmbeddedError
from dev.stack import Stack, stop_leftovers
from dev.state_dir import Home, opened
from dev.stripe_account import Payments, has_account
from dev.temporal import temporal_binary

_TOKEN_VARIABLES = {"authority": "INVENTORY_AUTHORITY_TOKEN", "admin": "INVENTORY_ADMIN_TOKEN"}


def up(home: Path, *, reset: bool = False) -> int:
    """Run Postgres, Temporal, API and worker until Ctrl-C or SIGTERM, and return the exit code for the shell.

    Without STRIPE_API_KEY the Stripe simulator, too. State is kept in `home`, made if it is missing; `reset` deletes
    what is in it first. `stack.json` is there for as long as all of it serves. Whatever stands in the way is said in
    one line, with 1 as the code.
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        with Interrupt() as interrupt, opened(home) as state:
            _run(state, with_secret_files(os.environ, Settings.secrets()), interrupt, console, reset=reset)
    except StopRequestedError:
        console.print("Stopped.")
        return 0
    except (EmbeddedError, SettingsError, OSError, psycopg.Error) as error:
        complaints = Console(stderr=True, highlight=False, soft_wrap=True)
        complaints.print(f"holdfast up: {' '.join(str(error).split())}", markup=False)
        for line in getattr(error, "trail", ()):
            complaints.print(f"  | {line}", markup=False)
        return 1
    return 0


def _run(state: Home, environment: Mapping[str, str], interrupt: Interrupt, console: Console, *, reset: bool) -> None:
    postgres_binaries()
    temporal_binary()
    state.remove_stack()
    stop_leftovers(state)
    if reset:
        state.reset()
        console.print(f"Emptied {state.folder}.", markup=False)
    state.prepare()
    if environment.get("DATABASE_URL"):
        console.print("DATABASE_URL is set and not used: `holdfast up` runs a Postgres of its own.")
    if environment.get("STRIPE_API_BASE") and not has_account(environment):
        console.print("STRIPE_API_BASE is set and not used: without STRIPE_API_KEY, `holdfast up` runs a simulator.")
    tokens = {role: environment.get(name) or state.token(role) for role, name in _TOKEN_VARIABLES.items()}
    ports = Ports.choose(environment, state.remembered_port(), simulator=not has_account(environment))
    payments = Payments.choose(environment, ports.simulator, state.webhook_secret)
    state.remember_port(ports.postgres)

    def say(line: str) -> None:
        console.print(line, markup=False)

    stack = Stack(state, ports, tokens, payments, environment=environment, interrupt=interrupt, say=say)
    try:
        console.print(f"Starting on {state.folder} ...", markup=False)
        stack.start()
        _show_first_hold(stack, interrupt, console)
        _show_urls(stack, state, environment, console)
        _show_pay_link(stack, interrupt, console)
        console.print("\nServing. Ctrl-C stops all of it; what is stored stays.")
        stack.serve()
    finally:
        try:
            if stack.launched:
                console.print("Stopping ...")
        finally:  # also where the terminal has gone
            stack.stop()


def _show_first_hold(stack: Stack, interrupt: Interrupt, console: Console) -> None:
    try:
        table = first_hold(stack.api_url, stack.request_tokens, interrupt.heed)
    except DemoError as error:
        console.print(f"The first hold was not made: {error}", markup=False)
        return
    if table is None:
        console.print(f"INVENTORY_MODE is {stack.mode}: the first hold was checked against the stock, and not made.")
    else:
        console.print(table)


def _show_urls(stack: Stack, state: Home, environment: Mapping[str, str], console: Console) -> None:
    psql = "psql" if shutil.which("psql") else _short(postgres_binaries() / "psql")
    files = {
        role: f"${name}" if environment.get(name) else str(_short(state.token_file(role)))
        for role, name in _TOKEN_VARIABLES.items()
    }
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in (
        ("API", f"{stack.api_url}/docs"),
        ("Temporal UI", stack.temporal.ui_url),
        ("Payments", stack.payments.simulator_url or f"Stripe; its webhooks go to {stack.webhook_url}"),
        ("Metrics", f"{stack.api_url}/metrics"),
        ("", f"http://127.0.0.1:{stack.ports.worker_metrics}/metrics"),
        ("", stack.temporal.metrics_url),
        ("Postgres", f"{psql} {stack.database_url}"),
        ("Tokens", f"{files['authority']} and {files['admin']}"),
        ("Logs", str(_short(state.logs))),
        ("Mails", f"{_short(state.mail)} (low stock)" if not environment.get("SMTP_URL") else "$SMTP_URL"),
    ):
        table.add_row(name, value)
    console.print(table)
    if stack.payments.webhook_secret is None:
        console.print("STRIPE_WEBHOOK_SECRET is not set: webhooks are answered 503, and payments are not heard of.")
    token = f"$(cat {files['authority']})"
    if environment.get(_TOKEN_VARIABLES["authority"]):
        token = f"${{{_TOKEN_VARIABLES['authority']}%%,*}}"  # of two, the present one
    console.print("\nTry it:")
    for line in (
        f"curl {stack.api_url}/api/inventory/holds -H 'Content-Type: application/json' \\",
        f'  -H "Authorization: Bearer {token}" \\',
        f"""  -d '{{"shopId": "{SHOP}", "items": [{{"sku": "TEE", "variantKey": "size:M", "quantity": 1}}]}}'""",
    ):
        console.print(line, markup=False)


def _show_pay_link(stack: Stack, interrupt: Interrupt, console: Console) -> None:
    pages = stack.payments.simulator_url
    if pages is None:  # a real account is not for demos
        return
    try:
        link = pay_link(stack.api_url, pages, stack.request_tokens, interrupt.heed)
    except DemoError as error:
        console.print(f"\nThere is no demo payment: {error}", markup=False)
        return
    if link is not None:
        workflow = f"{stack.temporal.ui_url}/namespaces/default/workflows/hold:{SHOP}:{link.hold_id}"
        console.print(f"\nPay by {link.until.astimezone():%H:%M} to commit the hold {link.hold_id} (no money moves):")
        console.print(f"  Pay       {link.url}\n  Watch it  {workflow}", markup=False)


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
