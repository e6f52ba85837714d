"""Run as a program: runs `holdfast` commands in forks of itself, which need not start Python and import the code again.

Each line of standard input is a JSON list: arguments, environment, and the folder for `out`, `err` and `code`.
It ends with its standard input.
"""

import json
import os
import sys
from pathlib import Path

import cli.alerts
import cli.audit
import cli.doctor.command
import cli.holds
import cli.report.command
import cli.smoke.command  # noqa: F401 - all imported for the forks
from cli.main import app


def command(arguments: list[str], variables: dict[str, str], folder: Path) -> None:
    """Be `holdfast` with these arguments and these variables only. Ends this process."""
    for descriptor, name, flags in ((0, os.devnull, os.O_RDONLY), (1, folder / "out", None), (2, folder / "err", None)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT if flags is None else flags), descriptor)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["holdfast", *arguments]
    app()


def main() -> None:
    """Start a process for each line; another one beside it waits for its end and writes the exit code."""
    for line in sys.stdin:
        arguments, variables, folder = json.loads(line)
        if os.fork() != 0:
            continue
        running = os.fork()
        if running == 0:
            command(arguments, variables, Path(folder))
            return
        code = os.waitstatus_to_exitcode(os.waitpid(running, 0)[1])
        written = Path(folder, "code.new")
        written.write_text(str(code))
        written.rename(written.with_name("code"))
        os._exit(0)


if __name__ == "__main__":
    main()
