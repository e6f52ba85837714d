"""The log of a process: JSON lines, or text on a terminal, for our own records and those of libraries."""

import logging
import sys
import threading
from collections.abc import MutableMapping
from functools import partial
from types import TracebackType
from typing import Any, TextIO

import structlog

from core.request_context import add_request
from core.text_output import allow_every_character

_OF_TEMPORAL = {
    "workflow_id": "workflow_id",
    "workflow_run_id": "run_id",
    "run_id": "run_id",
    "activity_type": "activity",
    "attempt": "attempt",
}
"""What Temporal's library knows of the work that a record is about, and our names for it."""


def configure_logging(log_format: str, *, level: int = logging.INFO, traced: bool = False) -> None:
    """Write all log records of the process to standard output: JSON lines or text, by HOLDFAST_LOG_FORMAT.

    Our records are written directly; those of libraries (uvicorn, temporalio, sqlalchemy) go through the standard
    library and have the same format, and so have warnings and what ends a thread or the process. With `traced`,
    records have `trace_id` and `span_id`.
    """
    allow_every_character()
    as_json = log_format == "json" or (log_format == "auto" and not sys.stdout.isatty())
    shared: list[structlog.typing.Processor] = [
        add_request,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if traced:
        from core.spans import add_trace_ids  # noqa: PLC0415 - imported only when tracing is on

        shared.append(add_trace_ids)
    renderer: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(),
                pad_event_to=32,
                exception_formatter=structlog.dev.plain_traceback,  # that of `rich` takes seconds, and prints variables
            )
        ]
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _add_library_fields],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("httpx", "stripe"):  # they log every call, including the URLs of pay pages
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_end_of_process
    threading.excepthook = _log_end_of_thread
    structlog.configure(
        processors=[*shared, *renderer],
        logger_factory=partial(_LineLogger, handler),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )


class _LineLogger:
    """Writes lines to the stream of the standard library's handler, under its lock, so that lines do not mix.

    Through the standard library a line costs more than twice the CPU. Like there, a closed stream raises no error.
    """

    def __init__(self, handler: "logging.StreamHandler[TextIO]", name: str) -> None:
        self.name = name
        self._handler = handler

    def msg(self, line: str) -> None:
        """Write one line."""
        handler = self._handler
        handler.acquire()
        try:
            handler.stream.write(line + "\n")
            handler.stream.flush()
        except (OSError, ValueError):
            pass
        finally:
            handler.release()

    debug = info = warning = error = critical = exception = msg


def _add_library_fields(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add what a library's record has beside its text, of that which operations need."""
    record = vars(event["_record"])
    work = record.get("temporal_activity") or record.get("temporal_workflow") or {}
    known = {name: work[theirs] for theirs, name in _OF_TEMPORAL.items() if theirs in work}
    return {**event, **known, **record.get("fields", {})}


def _log_end_of_process(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:  # what the interpreter would print is no line of this log
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger("holdfast").critical("the process ends with an error", exc_info=(kind, error, traceback))


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        name = ended.thread.name if ended.thread else None
        structlog.get_logger("holdfast").error("a thread ended with an error", thread=name, exc_info=ended.exc_value)
