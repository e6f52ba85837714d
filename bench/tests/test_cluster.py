"""`make cluster` where it cannot run, and the pure parts of what it says."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench.cluster.claims import of_kills, of_load
from bench.cluster.kills import Strike
from bench.cluster.report import limit
from bench.cluster.throughput import Size, database_of
from bench.load import Result
from dev.harness.reconciliation import OVERDUE_SECONDS, Reconciliation

ALL_IS_WELL = Reconciliation({"a": "committed", "b": "expired"}, longest_lag=0.2, violations=[])


def test_where_no_temporal_server_can_be_had_it_says_so_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.cluster"]
    ran = subprocess.run(command, cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert line.startswith("make cluster: the Temporal server is not installed")


@pytest.mark.parametrize(
    ("used", "said"),
    [
        ({"worker": 1.9, "api": 0.2, "postgres": 0.3}, "each worker process, at 95% of a core"),
        ({"worker": 0.4, "api": 0.95, "postgres": 0.3}, "each api process, at 95% of a core"),
        ({"worker": 0.5, "api": 0.5, "postgres": 2.8}, "the machine: 4 cores, 95% in use"),
        ({"worker": 0.5, "api": 0.5, "postgres": 1.0}, "waiting: of 4 cores 50% in use"),
    ],
)
def test_what_limits_is_a_full_process_of_python_or_else_a_full_machine(used: dict[str, float], said: str) -> None:
    assert limit(Size(apis=1, workers=2), used, cores=4) == said


@pytest.mark.parametrize(
    ("title", "database"),
    [
        ("postgres: holdfast_owner holdfast 127.0.0.1(33412) idle", "holdfast"),
        ("postgres: postgres temporal_visibility 127.0.0.1(33412) INSERT", "temporal_visibility"),
        ("postgres: checkpointer ", "its own processes"),
        ("postgres: io worker 0", "its own processes"),
    ],
)
def test_a_process_of_postgres_says_which_database_it_is_for(title: str, database: str) -> None:
    assert database_of(title) == database


def test_an_unexpected_answer_refutes_what_is_claimed_of_the_load() -> None:
    assert of_load("", [Result(done=5), Result(done=6)]).held
    refuted = of_load("", [Result(done=5), Result(done=6, errors={"503": 2})])
    assert not refuted.held
    assert refuted.seen == "11 lifecycles, 2 x 503"
    assert not of_load("", [Result(done=0)]).held


def test_a_lost_or_stuck_hold_or_an_outage_that_lasts_refutes_what_is_claimed_of_the_kills() -> None:
    strikes = [Strike("Postgres", recovered=True, silence=4.0, answers=Counter())]
    assert all(claim.held for claim in of_kills(strikes, ALL_IS_WELL))
    for_ever = [*strikes, Strike("the API", recovered=False, silence=60.0, answers=Counter())]
    assert [claim.seen for claim in of_kills(for_ever, ALL_IS_WELL) if not claim.held] == ["the API"]
    lost = Reconciliation(ALL_IS_WELL.ends, 0.2, ["acknowledged but missing: c"])
    assert [claim.seen for claim in of_kills(strikes, lost) if not claim.held] == [
        "1 violations, such as: acknowledged but missing: c"
    ]
    late = Reconciliation(ALL_IS_WELL.ends, OVERDUE_SECONDS + 1, [])
    assert [claim.held for claim in of_kills(strikes, late)].count(False) == 1
