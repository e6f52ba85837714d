"""Checks that the installed programs, and the client package that checkout code imports, can be imported."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec

from cli.doctor.results import CheckResult, fault, not_applicable, ok
from core.error_messages import first_line

AREA = "packages"
_CLIENT = "holdfast_client"
_PROGRAMS = {"holdfast api": "api.app", "python -m worker": "worker", "holdfast migrate": "migrations.adoption"}
_REINSTALL = "install this release again: pip install --force-reinstall holdfast"


def check_packages() -> Iterator[CheckResult]:
    """Import each program of this installation, and the client if it is installed."""
    found = list(entry_points(group="console_scripts", name="holdfast"))
    yield _check_import("holdfast", found[0].load, found[0].value) if found else _missing()
    for program, module in _PROGRAMS.items():
        yield _check_import(program, partial(import_module, module), module)
    if find_spec(_CLIENT) is None:
        yield not_applicable(AREA, _CLIENT, "not installed here; for checkout code: pip install holdfast-client")
    else:
        yield _check_import(
            _CLIENT, lambda: import_module(_CLIENT).InventoryAuthorityClient, f"{_CLIENT}.InventoryAuthorityClient"
        )


def _missing() -> CheckResult:
    return fault(AREA, "holdfast", "the command is not installed", _REINSTALL)


def _check_import(name: str, load: Callable[[], object], what: str) -> CheckResult:
    try:
        load()
    except Exception as error:  # noqa: BLE001 - importing runs any code
        return fault(AREA, name, f"{what} cannot be imported: {first_line(error)}", _REINSTALL)
    return ok(AREA, name, f"{what} can be imported")
