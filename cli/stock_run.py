"""Running `holdfast stock` on the database: what is asked for is checked, and every refusal is a line that says why."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.exit_codes import ExitCode
from cli.installation import installation
from core.database import DatabaseBusyError, DatabaseUnavailableError, NotMigratedError, create_engine
from core.setting_errors import SettingsError
from core.settings import Settings
from core.validation_messages import explain
from inventory.errors import (
    BelowHeld,
    BelowZero,
    CountBelowHeldError,
    InvalidFileError,
    StockAboveLimitError,
    StockBelowZeroError,
    StockError,
    UnknownItemsError,
)

Result = TypeVar("Result")


def run(work: Callable[[AsyncEngine], Coroutine[Any, Any, Result]]) -> Result:
    """Return what `work` returns on the installation's database, or end the command with a line that says why not."""
    try:
        settings = Settings.read_database(installation(os.environ))  # looking at stock needs no tokens
        return asyncio.run(_on_engine(settings, work))
    except SettingsError as error:
        fail(str(error))
    except StockError as error:
        refuse(error)
    except DatabaseBusyError as error:
        fail(f"busy, nothing was changed; run it again ({error})")
    except NotMigratedError as error:
        fail(str(error))
    except DatabaseUnavailableError as error:
        fail(f"the database cannot be reached: {error}")
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


async def _on_engine(settings: Settings, work: Callable[[AsyncEngine], Coroutine[Any, Any, Result]]) -> Result:
    engine = create_engine(settings, pool_size=1)
    try:
        return await work(engine)
    finally:
        await engine.dispose()


def refuse(error: StockError) -> NoReturn:
    """End the command with a line for each reason why nothing was changed."""
    fail(*_messages(error))


def _messages(error: StockError) -> list[str]:
    """Return one line for each item, or each line of a file, because of which nothing was changed."""
    match error:
        case InvalidFileError():
            places = [(f"line {p.line}" + (f", column {p.column}" if p.column else ""), p) for p in error.problems]
            return [f"{place}: {problem.message}" for place, problem in places]
        case UnknownItemsError() | StockAboveLimitError():
            return [f"{name_of(item.sku, item.variant_key)}: {error}" for item in error.items]
        case StockBelowZeroError():
            return [
                f"{name_of(item.sku, item.variant_key)}: {item.quantity} available, so {-item.delta} cannot be taken "
                f"away{_held(item)}"
                for item in error.items
            ]
        case CountBelowHeldError():
            return [
                ("" if item.line is None else f"line {item.line}: {item.shop_id} ")
                + f"{name_of(item.sku, item.variant_key)}: counted {item.on_hand}{_held(item)}"
                for item in error.items
            ]
    return [str(error)]


def _held(item: BelowHeld | BelowZero) -> str:
    return f"; {item.held} held by {', '.join(item.holds)}" if item.held else ""


def require_valid(**fields: tuple[Any, object]) -> None:
    """End the command unless each value is valid for its type; a message for each that is not, by its option's name."""
    if problems := problems_of(**fields):
        fail(*problems)


def problems_of(**fields: tuple[Any, object]) -> list[str]:
    """Return a message for each value that is not valid for its type, by its option's name."""
    problems: list[str] = []
    for name, (kind, value) in fields.items():
        try:
            TypeAdapter[object](kind).validate_python(value)
        except ValidationError as error:
            problems += [f"{name}: {explain(problem)}" for problem in error.errors()]
    return problems


def name_of(sku: str, variant_key: str) -> str:
    """Return an item's name in one line."""
    return f"{sku} {variant_key}".strip()


def fail(*lines: str) -> NoReturn:
    """Write the lines to standard error and end the command with 1."""
    for line in lines:
        print(f"holdfast stock: {line}", file=sys.stderr)
    raise typer.Exit(1)
