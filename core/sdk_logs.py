"""Makes what Temporal's library logs lines of our own log: its core, in Rust, would write colored text."""

import asyncio
import logging
import time
from typing import Any

import temporalio.activity
import temporalio.workflow
from temporalio.exceptions import ApplicationError
from temporalio.runtime import LogForwardingConfig, LoggingConfig, TelemetryFilter

_CORE = "temporalio.core"
_RETRIES = "temporalio_client::retry"
"""The part of the core that logs each repeated call: dozens a second while Temporal cannot be reached."""
_RETRIES_LOGGED_SECONDS = 60.0


def join_sdk_logs() -> LoggingConfig:
    """Have the library's records logged like ours, and return the configuration of its core for that."""
    core = logging.getLogger(_CORE)
    failures = logging.getLogger(temporalio.activity.__name__)
    if not core.filters:
        core.addFilter(_FewRetries())
        failures.addFilter(_expected_without_traceback)
    temporalio.activity.logger.activity_info_on_message = False  # `core.logging` makes fields of it
    temporalio.workflow.logger.workflow_info_on_message = False
    return LoggingConfig(
        filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
        forwarding=LogForwardingConfig(core, append_target_to_name=False, prepend_target_on_message=False),
    )


class _FewRetries(logging.Filter):
    """Passes one record a minute about repeated calls, with the number of those that were left out since."""

    def __init__(self) -> None:
        super().__init__()
        self._quiet_until = 0.0
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        core: Any = getattr(record, "temporal_log", None)
        target = getattr(core, "target", None)
        fields = vars(record)["fields"] = {"target": target}
        if target != _RETRIES:
            return True
        if time.monotonic() < self._quiet_until:
            self._left_out += 1
            return False
        self._quiet_until = time.monotonic() + _RETRIES_LOGGED_SECONDS
        fields["left_out"], self._left_out = self._left_out, 0
        return True


def _expected_without_traceback(record: logging.LogRecord) -> bool:
    """Take the traceback from the record of an attempt that was ended on purpose, such as in an outage.

    What failed, and of which hold, the activity has logged itself, unless its time was over.
    """
    match record.exc_info[1] if record.exc_info else None:
        case ApplicationError(type=str() as kind):
            pass
        case asyncio.CancelledError():
            kind = "cancelled"
        case _:
            return True
    record.exc_info = None
    vars(record)["fields"] = {"error_type": kind}
    return True
