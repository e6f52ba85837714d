"""Running `holdfast stock` on the database: what is asked for is checked, and every refusal is a line that says why."""

import asyncio
import getpass
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import typer
from pydantic import BaseModel, ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine

from api.validation_messages import field_problems
from core.database import DatabaseBusyError, DatabaseUnavailableError, NotMigratedError, create_engine
from core.setting_errors import SettingsError
from core.settings import Settings
from inventory.adjustments import AboveLimitError, KeyUsedError, StockBelowZeroError, UnknownItemsError
from inventory.counts import CountBelowHeldError
from inventory.stock_file import InvalidFileError
from inventory.stock_import import ImportBelowHeldError

Result = TypeVar("Result")
Form = TypeVar("Form", bound=BaseModel)
_MAX_ACTOR = 64


def run(work: Callable[[AsyncEngine], Coroutine[Any, Any, Result]]) -> Result:
    """Return what `work` returns on the database at DATABASE_URL, or end the command with a line that says why not."""
    try:
        return asyncio.run(_on_engine(Settings.read_database(), work))  # looking at stock needs no tokens
    except SettingsError as error:
        fail(str(error))
    except (StockBelowZeroError, CountBelowHeldError, ImportBelowHeldError) as error:
        fail(*_short_items(error))
    except InvalidFileError as error:
        refuse_file(error)
    except (UnknownItemsError, AboveLimitError) as error:
        fail(*(f"{name_of(item.sku, item.variant_key)}: {error}" for item in error.items))
    except KeyUsedError:
        fail("the key was used for another correction of the shop")
    except DatabaseBusyError as error:
        fail(f"busy, nothing was changed; run it again ({error})")
    except NotMigratedError as error:
        fail(str(error))
    except DatabaseUnavailableError as error:
        fail(f"the database cannot be reached: {error}")


async def _on_engine(settings: Settings, work: Callable[[AsyncEngine], Coroutine[Any, Any, Result]]) -> Result:
    engine = create_engine(settings, pool_size=1)
    try:
        return await work(engine)
    finally:
        await engine.dispose()


def _short_items(error: StockBelowZeroError | CountBelowHeldError | ImportBelowHeldError) -> list[str]:
    match error:
        case StockBelowZeroError():
            return [
                f"{name_of(i.sku, i.variant_key)}: {i.quantity} can be sold, so {-i.delta} cannot be taken away"
                + (f"; {i.held} are held by {', '.join(i.holds)}" if i.held else "")
                for i in error.items
            ]
        case CountBelowHeldError():
            below = [("", item) for item in error.items]
        case ImportBelowHeldError():
            below = [(f"line {line.line}: {line.shop_id} ", line.item) for line in error.lines]
    return [
        f"{place}{name_of(item.sku, item.variant_key)}: counted {item.on_hand}, and {item.held} are held by "
        + ", ".join(item.holds)
        for place, item in below
    ]


def refuse_file(error: InvalidFileError) -> NoReturn:
    """End the command with a line for each place of a stock file that is at fault."""
    places = [(f"line {p.line}" + (f", column {p.column}" if p.column else ""), p.message) for p in error.problems]
    fail(*(f"{place}: {message}" for place, message in places))


def checked(form: type[Form], **fields: object) -> Form:
    """Return what was asked for as the API would take it, or end the command with the fields at fault."""
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        located = [{**problem, "loc": ("command", *problem["loc"])} for problem in error.errors()]
        problems = field_problems(located, content_type=None)
        fail(*(f"{problem['field'].rpartition('.')[2]}: {problem['message']}" for problem in problems))


def actor() -> str:
    """Return who does it, for the records: the system's user."""
    return getpass.getuser()[:_MAX_ACTOR]


def name_of(sku: str, variant_key: str) -> str:
    """Return an item's name in one line."""
    return f"{sku} {variant_key}".strip()


def fail(*lines: str) -> NoReturn:
    """Write the lines to standard error and end the command with 1."""
    for line in lines:
        print(f"holdfast stock: {line}", file=sys.stderr)
    raise typer.Exit(1)
