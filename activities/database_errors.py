"""Errors of the database in activities that only read, or write what may be written twice."""

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.exceptions import ApplicationError

from core.database import DatabaseBusyError, DatabaseUnavailableError


@contextmanager
def database_errors_retried() -> Iterator[None]:
    """Raise an ApplicationError, after which Temporal retries the activity, in place of the database's errors."""
    try:
        yield
    except (DatabaseBusyError, DatabaseUnavailableError) as error:
        raise ApplicationError(f"Postgres: {error}", type="unavailable") from error
