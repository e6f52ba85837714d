"""Run the tests three times in a row on one core, beside a process that keeps it busy: they must pass each time.

Arguments are pytest's, such as a folder or `-n 2`.
"""

import multiprocessing
import os
import subprocess
import sys
import time

ROUNDS = 3


def keep_busy(pid: int) -> None:
    """Use the processor for as long as the process with that id is our parent."""
    while os.getppid() == pid:
        sum(range(1_000_000))


def main() -> None:
    """Print how long each round took. Exits with pytest's code after the first that fails."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # our children inherit it
    burner = multiprocessing.get_context("spawn").Process(target=keep_busy, args=(os.getpid(),), daemon=True)
    burner.start()
    for number in range(1, ROUNDS + 1):
        began = time.monotonic()
        code = subprocess.run([sys.executable, "-m", "pytest", *sys.argv[1:]], check=False).returncode
        print(f"round {number} of {ROUNDS}: {time.monotonic() - began:.0f} s, exit code {code}", flush=True)  # noqa: T201
        if code != 0:
            sys.exit(code)


if __name__ == "__main__":
    main()
