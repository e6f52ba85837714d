"""Ends a process that used Temporal's client."""

import logging
import os
import sys
from contextlib import suppress
from typing import NoReturn


def end_process(code: int) -> NoReturn:
    """End the process at once, after its output was written. All its work must be finished.

    A normal exit can abort the process, and lose the exit code: threads of Temporal's SDK may still call into the
    interpreter while it shuts down (https://github.com/temporalio/sdk-python/issues/300).
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)
