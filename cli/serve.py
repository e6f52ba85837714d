"""`holdfast api`: the HTTP API under uvicorn, in one process or several."""

import os
import sys
import tempfile
from contextlib import ExitStack

import uvicorn

from core.settings import Settings, SettingsError
from core.temporal import SHUTDOWN_GRACE, TemporalSettingsError, connect_config


def serve(host: str, port: int, workers: int) -> int:
    """Serve until told to stop, then finish what is under way. Returns the exit code: 2 for wrong settings."""
    try:
        settings = Settings.read()
        settings.require_tokens()
        connect_config(settings.temporal_api_key)
    except (SettingsError, TemporalSettingsError) as error:
        print(error, file=sys.stderr)
        return 2
    with ExitStack() as left_behind:
        if workers > 1:  # read by prometheus_client when a serving process imports it
            folder = left_behind.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-metrics-"))
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        uvicorn.run(
            "api.app:create_app",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=int(SHUTDOWN_GRACE.total_seconds()),
        )
    return 0
