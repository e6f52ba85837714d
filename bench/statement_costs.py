"""`python -m bench.statement_costs ../before`: what reserve and settle cost here, over what they cost in that checkout.

One connection on a database of its own for each, with 20,000 ended holds, in turns of a few holds. CPU time is that of
the connection's process in Postgres (Linux only); nothing is synced to the disk, which would only add waiting.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import psycopg

from bench import statement_turns
from bench.figures import percentile
from bench.shop_data import fill
from bench.variants import in_turn
from dev.postgres import EmbeddedPostgres

HERE = Path(__file__).parent.parent
_QUANTITIES = ("Postgres's CPU", "Python's CPU", "time")
_SETTINGS = {"autovacuum": "off", "fsync": "off", "synchronous_commit": "off"}

Turn = dict[str, list[float]]


class _Child:
    def __init__(self, server: EmbeddedPostgres, database: str, checkout: Path) -> None:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}".encode())
        url = server.database_url(database)
        env = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": f"{checkout}:{checkout / 'clients/python/src'}"}
        migrate = [sys.executable, "-m", "cli.main", "migrate"]
        subprocess.run(migrate, env=env, cwd=checkout, check=True, stdout=subprocess.DEVNULL)
        fill(url)
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(statement_turns.__file__)],
            env=env,
            cwd=checkout,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def turn(self, holds: int) -> Turn:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{holds}\n")
        self._process.stdin.flush()
        figures: Turn = json.loads(self._process.stdout.readline())
        return figures

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def measure(checkouts: list[Path], rounds: int, holds: int) -> dict[str, list[Turn]]:
    """Return the turns of each checkout, by its name."""
    with tempfile.TemporaryDirectory(prefix="holdfast-statements-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = EmbeddedPostgres(folder / "postgres", settings=_SETTINGS)
        server.start()
        children: dict[str, _Child] = {}
        try:
            for number, checkout in enumerate(checkouts):
                children[f"{number} {checkout}"] = _Child(server, f"turns_{number}", checkout)
            results: dict[str, list[Turn]] = {child: [] for child in children}
            for child in children.values():
                child.turn(4 * holds)  # not counted: it prepares the statements
            for number in range(rounds):
                for each in in_turn(list(children), number):
                    results[each].append(children[each].turn(holds))
        finally:
            for running in children.values():
                running.stop()
            server.stop()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.statement_costs", description=__doc__)
    parser.add_argument("before", nargs="+", help="checkouts; `.` is this one once more: what differs then is noise")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--holds", type=int, default=25, help="of each turn")
    options = parser.parse_args()
    checkouts = [*(Path(each).absolute() for each in options.before), HERE]
    results = measure(checkouts, options.rounds, options.holds)
    *others, ours = results
    for other in others:
        for statement in ("reserve", "settle"):
            told = []
            for place, quantity in enumerate(_QUANTITIES):
                a, b = ([turn[statement][place] for turn in results[name]] for name in (ours, other))
                pairs = median(x / y for x, y in zip(a, b, strict=True))
                first = percentile(a, 25) / percentile(b, 25)
                told.append(
                    f"{quantity} {percentile(b, 25):.0f} -> {percentile(a, 25):.0f} us, {first:.3f} ({pairs:.3f})"
                )
            print(f"{other}: {statement}: {'; '.join(told)}", flush=True)
    print("First quartiles, their ratio, and in brackets the median of the rounds' ratios.")


if __name__ == "__main__":
    main()
