"""The log of a process: JSON lines, or text on a terminal, for our own records and those of libraries."""

import logging
import sys
from collections.abc import MutableMapping
from functools import partial
from typing import Any, TextIO

import structlog


def configure_logging(log_format: str, *, level: int = logging.INFO, traced: bool = False) -> None:
    """Write every log record of the process to standard output: JSON lines, or text on a terminal.

    Our own lines are written straight; records of libraries (uvicorn, temporalio, sqlalchemy) come by way of the
    standard library, in the same form. Where the process is traced, lines have `trace_id` and `span_id`.
    """
    as_json = log_format == "json" or (log_format == "auto" and not sys.stdout.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
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
        else [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), pad_event_to=32)]
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _drop_extra],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for talkative in ("httpx", "stripe"):  # lines for each call, addresses of pay pages in them
        logging.getLogger(talkative).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[*shared, *renderer],
        logger_factory=partial(_Lines, handler),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )


class _Lines:
    """Writes our own lines to the libraries' stream, under its lock: no line is cut by another.

    By way of the standard library a line costs more than twice the CPU. As there, a stream that is gone stops nobody.
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


def _drop_extra(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.pop("_record_extra", None)
    return event
