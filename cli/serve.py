"""`holdfast api`: the HTTP API under uvicorn, in one process or several."""

import os
import sys
import tempfile
from contextlib import ExitStack
from typing import Annotated

import typer
import uvicorn

from core.logging import configure_logging
from core.setting_errors import SettingsError, check_all
from core.settings import Settings
from core.temporal import SHUTDOWN_GRACE, connect_config
from core.worker_cache import API_PROCESSES


def api_command(
    *,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="The port to listen on. Default: HOLDFAST_API_PORT, else 8000.")
    ] = None,
    workers: Annotated[int, typer.Option(help="The number of processes.", min=1)] = 1,
) -> None:
    """Serve the HTTP API. Its /metrics covers all its processes."""
    raise typer.Exit(serve(host, port, workers))


def serve(host: str, port: int | None, workers: int) -> int:
    """Serve until SIGTERM or SIGINT, finish the open requests and return the exit code: 2 for invalid settings."""
    try:
        check_all(lambda: Settings.read().require_tokens(), lambda: connect_config(None))
        settings = Settings.read()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    configure_logging(settings.log_format)  # for the process that starts several, and until the application is made
    with ExitStack() as stack:
        os.environ[API_PROCESSES] = str(workers)
        if workers > 1:  # read by prometheus_client when a serving process imports it
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-metrics-"))
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        uvicorn.run(
            "api.app:create_app",
            factory=True,
            http="api.http_protocol:LimitedProtocol",
            ws="none",
            host=host,
            port=settings.api_port if port is None else port,
            workers=workers,
            log_config=None,
            access_log=False,
            timeout_keep_alive=settings.api_keep_alive_seconds,
            timeout_graceful_shutdown=int(SHUTDOWN_GRACE.total_seconds()),
        )
    return 0
