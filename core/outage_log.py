"""Logs when something that is tried again and again begins to fail, and when it works again: not each attempt."""

import time

import structlog

from core.error_messages import first_line


class OutageLog:
    """The outages of one thing that a process keeps trying."""

    def __init__(self, logger: str, *, fails: str, works: str, **fields: str) -> None:
        """`fails` and `works` are the lines' texts; the fields say of what they are."""
        self._fields = fields
        self._logger = logger
        self._fails = fails
        self._works = works
        self._kinds: set[type[BaseException]] = set()
        """Those of the present outage."""
        self._since = 0.0

    def failed(self, error: BaseException, *, defect: bool = False) -> None:
        """Log a warning, once for each kind of error of an outage; a defect is an error, with its traceback."""
        if type(error) in self._kinds:
            return
        if not self._kinds:
            self._since = time.monotonic()
        self._kinds.add(type(error))
        log = structlog.get_logger(self._logger)
        if defect:
            log.error(self._fails, problem=first_line(error), exc_info=error, **self._fields)
        else:
            log.warning(self._fails, problem=first_line(error), **self._fields)

    def worked(self) -> None:
        """Log that it works again if it failed before."""
        if self._kinds:
            self._kinds.clear()
            seconds = round(time.monotonic() - self._since, 1)
            structlog.get_logger(self._logger).info(self._works, failed_seconds=seconds, **self._fields)
