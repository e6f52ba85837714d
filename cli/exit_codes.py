"""The exit codes of `holdfast`, and the one of each expected error."""

from enum import IntEnum

from core.database import DatabaseBusyError, DatabaseUnavailableError
from core.setting_errors import SettingsError
from holds.errors import (
    HoldsError,
    PaymentProviderUnavailableError,
    RequestTimeoutError,
    StockBusyError,
    TemporalBusyError,
    UnavailableError,
)


class ExitCode(IntEnum):
    """What a command's exit code says."""

    DONE = 0
    NEGATIVE = 1
    """A fault or finding, a rejected request, or nothing found."""
    NOT_RUN = 2
    """Wrong usage or settings, or a server that cannot be reached."""
    INTERRUPTED = 130


EXIT_CODES: dict[type[Exception], ExitCode] = {
    UnavailableError: ExitCode.NOT_RUN,
    RequestTimeoutError: ExitCode.NOT_RUN,
    TemporalBusyError: ExitCode.NOT_RUN,
    StockBusyError: ExitCode.NOT_RUN,
    PaymentProviderUnavailableError: ExitCode.NOT_RUN,
    HoldsError: ExitCode.NEGATIVE,
    SettingsError: ExitCode.NOT_RUN,
    DatabaseBusyError: ExitCode.NOT_RUN,
    DatabaseUnavailableError: ExitCode.NOT_RUN,
}
"""By error class, for it and its subclasses; the first that fits counts.

Any other error is a defect and is shown with its traceback.
"""
EXPECTED_ERRORS = tuple(EXIT_CODES)


def exit_code_of(error: Exception) -> ExitCode:
    """Return the exit code of an expected error."""
    return next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
