"""`holdfast up`: the whole product on this machine, from a first hold to Ctrl-C."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import psycopg
from rich.console import Console

from core.secret_files import with_secret_files
from core.setting_errors import SettingsError
from core.settings import Settings
from dev.demo import SHOP, DemoError, first_hold, has_holds, own_pages, pay_link
from dev.interrupt import Interrupt, StopRequestedError
from dev.ports import Ports
from dev.postgres import postgres_binaries
from dev.processes import EmbeddedError
from dev.stack import DATABASE, Stack, stop_leftovers
from dev.state_dir import StateDir, open_state_dir
from dev.stripe_account import StripeAccount, has_account
from dev.temporal import temporal_binary
from workflows.messages import hold_workflow_id

_TOKEN_VARIABLES = {"authority": "INVENTORY_AUTHORITY_TOKEN", "admin": "INVENTORY_ADMIN_TOKEN"}


def up(state_dir: Path, *, reset: bool = False) -> int:
    """Run Postgres, Temporal, API and worker until Ctrl-C or SIGTERM, and return the exit code for the shell.

    Runs the Stripe simulator too if STRIPE_API_KEY is not set. State is kept in `state_dir`, created if missing;
    `reset` deletes its contents first. `stack.json` exists while everything serves. An error is printed in one line and
    returns 1.
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        with Interrupt() as interrupt, open_state_dir(state_dir) as state:
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


def _run(
    state: StateDir, environment: Mapping[str, str], interrupt: Interrupt, console: Console, *, reset: bool
) -> None:
    postgres_binaries()
    temporal_binary()
    state.remove_stack()
    stop_leftovers(state)
    if reset:
        state.reset()
        console.print(f"Emptied {state.folder}.", markup=False)
    state.prepare()
    if environment.get("DATABASE_URL"):
        console.print("DATABASE_URL is ignored: `holdfast up` runs its own Postgres.")
    if environment.get("STRIPE_API_BASE") and not has_account(environment):
        console.print("STRIPE_API_BASE is ignored: without STRIPE_API_KEY, `holdfast up` runs a Stripe simulator.")
    tokens = {role: environment.get(name) or state.token(role) for role, name in _TOKEN_VARIABLES.items()}
    ports = Ports.choose(environment, state.remembered_port(), simulator=not has_account(environment))
    payments = StripeAccount.choose(environment, ports.simulator, state.webhook_secret)
    state.remember_port(ports.postgres)

    def report(line: str) -> None:
        console.print(line, markup=False)

    stack = Stack(state, ports, tokens, payments, environment=environment, interrupt=interrupt, report=report)
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
        finally:  # also if the terminal was closed
            stack.stop()


def _show_first_hold(stack: Stack, interrupt: Interrupt, console: Console) -> None:
    try:
        if has_holds(stack.api_url, stack.request_tokens, interrupt.check_interrupt):
            console.print("Stock and holds are as they were left; `holdfast up --reset` starts anew.")
            return
        table = first_hold(stack.api_url, stack.request_tokens, interrupt.check_interrupt)
    except DemoError as error:
        console.print(f"The first hold was not created: {error}", markup=False)
        return
    if table is None:
        console.print(f"INVENTORY_MODE is {stack.mode}: the first hold was validated but not created.")
    else:
        console.print(table)


def _show_urls(stack: Stack, state: StateDir, environment: Mapping[str, str], console: Console) -> None:
    psql = "psql" if shutil.which("psql") else _short(postgres_binaries() / "psql")
    database = f"-h 127.0.0.1 -p {stack.ports.postgres} -U postgres {DATABASE}"
    files = {
        role: f"${name}" if environment.get(name) else str(_short(state.token_file(role)))
        for role, name in _TOKEN_VARIABLES.items()
    }
    for name, value in (  # not a table: that would break long addresses and paths
        ("API", f"{stack.api_url}/docs"),
        ("Temporal UI", stack.temporal.ui_url),
        ("Payments", stack.payments.simulator_url or f"Stripe; its webhooks go to {stack.webhook_url}"),
        ("Metrics", f"{stack.api_url}/metrics"),
        ("", f"http://127.0.0.1:{stack.ports.worker_metrics}/metrics"),
        ("", stack.temporal.metrics_url),
        ("Postgres", f"PGPASSFILE={_short(stack.postgres.password_file)} {psql} {database}"),
        ("Tokens", f"{files['authority']} and {files['admin']}"),
        ("Logs", str(_short(state.logs))),
        ("Mails", f"{_short(state.mail)} (low stock)" if not environment.get("SMTP_URL") else "$SMTP_URL"),
    ):
        console.print(f"{name:<12} {value}", markup=False)
    if stack.payments.webhook_secret is None:
        console.print("STRIPE_WEBHOOK_SECRET is not set: webhooks are answered 503, so payments do not commit holds.")
    token = f"$(cat {files['authority']})"
    if environment.get(_TOKEN_VARIABLES["authority"]):
        token = f"${{{_TOKEN_VARIABLES['authority']}%%,*}}"  # the first of two during a rotation
    console.print("\nTry it:")
    for line in (
        f"curl {stack.api_url}/api/inventory/holds -H 'Content-Type: application/json' \\",
        f'  -H "Authorization: Bearer {token}" \\',
        f"""  -d '{{"shopId": "{SHOP}", "items": [{{"sku": "TEE", "variantKey": "size:M", "quantity": 1}}]}}'""",
    ):
        console.print(line, markup=False)


def _show_pay_link(stack: Stack, interrupt: Interrupt, console: Console) -> None:
    pages = stack.payments.simulator_url
    if pages is None:  # a real account gets no demo payment
        return
    try:
        link = pay_link(stack.api_url, pages, stack.request_tokens, interrupt.check_interrupt)
        own = own_pages(stack.api_url, pages, stack.request_tokens, interrupt.check_interrupt) if link else {}
    except DemoError as error:
        console.print(f"\nThe demo payment could not be prepared: {error}", markup=False)
        return
    if link is not None:
        workflow = f"{stack.temporal.ui_url}/namespaces/default/workflows/{hold_workflow_id(SHOP, link.hold_id)}"
        console.print(f"\nPay by {link.until.astimezone():%H:%M} to commit the hold {link.hold_id} (no money moves):")
        console.print(f"  Pay       {link.url}\n  Watch it  {workflow}", markup=False)
        for name, url in own.items():  # the same on a page of the shop's own: docs/checkout.md
            console.print(f"  {name:<9} {url}", markup=False)


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
