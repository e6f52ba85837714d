"""Run as a program: runs the product's programs in forks of itself, which need not import the code again.

Each line of standard input is a JSON list: the module of the program, its arguments, its environment, the folder for
`pid` and `code`, and the log to append its output to; without a log, its output goes to `out` and `err` in the folder.
It ends with its standard input.
"""

import gc
import json
import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

PROGRAMS = (
    "api.app",
    "api.http_protocol",
    "cli.alerts",
    "cli.audit",
    "cli.doctor.command",
    "cli.holds",
    "cli.main",
    "cli.migrate",
    "cli.report.command",
    "cli.serve",
    "cli.smoke.command",
    "cli.stock",
    "dev.up",
    "worker",
)
"""What the programs import sooner or later."""
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def run(module: str, arguments: list[str], variables: dict[str, str], folder: Path, log: str | None) -> NoReturn:
    """Be the program with these arguments and these variables only, in a session of its own. Ends this process."""
    os.setsid()
    _write(folder / "pid", os.getpid())
    for descriptor, name in ((0, os.devnull), (1, log or folder / "out"), (2, log or folder / "err")):
        os.dup2(os.open(name, os.O_RDONLY if descriptor == 0 else _APPEND), descriptor)
    os.environ.clear()
    os.environ.update(variables)
    program = import_module(module)
    sys.modules["__main__"] = program  # for the processes that it starts by `multiprocessing`
    sys.argv = ["holdfast" if module == "cli.main" else module, *arguments]
    sys.exit(program.app() if module == "cli.main" else program.main())


def main() -> None:
    """Start a process for each line; another one beside it waits for its end and writes the exit code."""
    for module in PROGRAMS:
        import_module(module)
    gc.freeze()
    for line in sys.stdin:
        module, arguments, variables, folder, log = json.loads(line)
        if os.fork() != 0:
            _reap()
            continue
        running = os.fork()
        if running == 0:
            run(module, arguments, variables, Path(folder), log)
        _write(Path(folder, "code"), os.waitstatus_to_exitcode(os.waitpid(running, 0)[1]))
        os._exit(0)
    _reap()


def _reap() -> None:
    """Let go of the processes that have written an exit code."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _write(file: Path, number: int) -> None:
    """Write the file so that whoever sees it sees all of it."""
    draft = file.with_suffix(".new")
    draft.write_text(str(number))
    draft.rename(file)


if __name__ == "__main__":
    main()
