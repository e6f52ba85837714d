"""The `holdfast` command: all its commands, and where each is."""

import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from cli.lazy import LazyCommand, group
from core.process_end import end_process
from core.release import commit, release
from core.text_output import allow_every_character

_NEGATIVE_NUMBERS = {"ignore_unknown_options": True}
"""Takes `-2` as an argument."""

COMMANDS = (
    LazyCommand("migrate", "Bring the database to this release's schema.", "cli.migrate:migrate_command"),
    LazyCommand("audit", "Compare stock, holds, movements and workflows.", "cli.audit:audit_command"),
    LazyCommand(
        "doctor", "Check settings, database, Temporal, workers and Stripe.", "cli.doctor.command:doctor_command"
    ),
    LazyCommand("smoke", "Run a whole checkout on the shop `holdfast-smoke`.", "cli.smoke.command:smoke_command"),
    LazyCommand(
        "report", "Report rates, latencies and common issues of a time window.", "cli.report.command:report_command"
    ),
    LazyCommand("api", "Serve the HTTP API.", "cli.serve:api_command"),
    LazyCommand("up", "Run the whole product on this machine.", "cli.up:up_command"),
    LazyCommand("env", "Print the variables of the `holdfast up` that runs here.", "cli.env:env_command"),
    group(
        "stock",
        "Show and correct stock.",
        LazyCommand("show", "Show a shop's stock.", "cli.stock:show"),
        LazyCommand("set", "Set an item's count; creates a new item.", "cli.stock:set_count"),
        LazyCommand(
            "adjust",
            "Correct an item's stock by a difference.",
            "cli.stock:adjust",
            context_settings=_NEGATIVE_NUMBERS,
        ),
        LazyCommand("import", "Set items to the counts of a stock file, all rows or none.", "cli.stock:import_file"),
        LazyCommand("export", "Write a shop's stock as a stock file.", "cli.stock:export_file"),
        LazyCommand("timeline", "Show an item's movements and holds, newest first.", "cli.stock:timeline"),
    ),
    group(
        "holds",
        "List, show, commit, release, extend, amend and archive holds.",
        LazyCommand("list", "List a shop's holds, newest first.", "cli.holds:list_command"),
        LazyCommand("show", "Show one hold with its lines and its workflow.", "cli.holds:show_command"),
        LazyCommand("commit", "Sell an active hold.", "cli.commit:commit_command"),
        LazyCommand("release", "Release one hold or --all active holds.", "cli.holds:release_command"),
        LazyCommand("extend", "Move the deadline of one hold or of --all active holds.", "cli.holds:extend_command"),
        LazyCommand("amend", "Change the items, reference or buyer of an active hold.", "cli.amend:amend_command"),
        LazyCommand("archive", "Move old ended holds into the archive table.", "cli.archive:archive_command"),
    ),
    group(
        "orders",
        "Tell an order's story; deliver its events again.",
        LazyCommand("show", "Show an order's holds, payments, late payments and events.", "cli.orders:show_command"),
        LazyCommand("resend", "Deliver an order's events again.", "cli.orders:resend_command"),
    ),
    group(
        "payments",
        "Find payments of which no event arrived.",
        LazyCommand("reconcile", "Compare Stripe's payments with holds.", "cli.payments:reconcile_command"),
    ),
    group(
        "alerts",
        "Test the alert channels.",
        LazyCommand("test", "Send one test alert through each configured channel.", "cli.alerts:alerts_test_command"),
    ),
)


class _Root(TyperGroup):
    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - those of the app
        super().__init__(**{**settings, "commands": COMMANDS})


class _App(typer.Typer):
    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: ANN401 - those of the base
        """Run the command and end the process with its exit code."""
        allow_every_character()
        code: object = 0
        try:
            super().__call__(*args, **kwargs)
        except SystemExit as end:
            code = end.code or 0
        except Exception as defect:  # noqa: BLE001 - as the interpreter would do
            sys.excepthook(type(defect), defect, defect.__traceback__)
            code = 1
        end_process(code if isinstance(code, int) else 1)


app = _App(rich_markup_mode=None, cls=_Root, no_args_is_help=True)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer passes the option so
    if wanted:
        print(f"holdfast {release()} (commit {commit() or 'unknown'})")
        raise typer.Exit


@app.callback()
def main(
    *,
    version: Annotated[  # printed by its callback
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print version and commit.")
    ] = False,
) -> None:
    """Inventory holds for checkouts."""


if __name__ == "__main__":
    app()
