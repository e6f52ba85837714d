"""The doctor on what is installed: the programs, and the package that checkout code imports."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec

from cli.doctor.lines import Line, fault, first_line, not_applicable, ok

AREA = "packages"
_CLIENT = "holdfast_client"
_PROGRAMS = {"holdfast api": "api.app", "python -m worker": "worker", "holdfast migrate": "migrations.adoption"}
_AGAIN = "install this release again: pip install --force-reinstall holdfast"


def package_lines() -> Iterator[Line]:
    """Say whether everything that is run or imported by others can be imported."""
    found = list(entry_points(group="console_scripts", name="holdfast"))
    yield _line("holdfast", found[0].load, found[0].value) if found else _missing()
    for program, module in _PROGRAMS.items():
        yield _line(program, partial(import_module, module), module)
    if find_spec(_CLIENT) is None:
        yield not_applicable(
            AREA, _CLIENT, "not installed here; checkout code installs it: pip install holdfast-client"
        )
    else:
        yield _line(
            _CLIENT, lambda: import_module(_CLIENT).InventoryAuthorityClient, f"{_CLIENT}.InventoryAuthorityClient"
        )


def _missing() -> Line:
    return fault(AREA, "holdfast", "the command is not installed", _AGAIN)


def _line(name: str, load: Callable[[], object], what: str) -> Line:
    try:
        load()
    except Exception as error:  # noqa: BLE001 - importing runs any code, and its failure is what is asked for
        return fault(AREA, name, f"{what} cannot be imported: {first_line(error)}", _AGAIN)
    return ok(AREA, name, f"{what} is imported")
