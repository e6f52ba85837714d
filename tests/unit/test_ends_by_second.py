"""A hold's end has a second of its own where many have the same deadline."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from activities.ends_by_second import ENDS_PER_SECOND, LATEST_SECONDS, EndsBySecond

DEADLINE = datetime(2026, 12, 24, 12, 0, 0, 250_000, UTC)


def test_ends_of_one_second_follow_one_another_at_the_rate_of_a_process() -> None:
    ends = EndsBySecond()
    placed = [ends.place(DEADLINE) for _ in range(3 * ENDS_PER_SECOND)]
    assert placed[0] == DEADLINE == min(placed)
    assert max(placed) < DEADLINE.replace(microsecond=0) + timedelta(seconds=3)
    assert max(Counter(end.replace(microsecond=0) for end in placed).values()) == ENDS_PER_SECOND
    later = [end for end in placed if end > DEADLINE]
    assert len(set(later)) == len(later)
    assert min(b - a for a, b in pairwise(later)) > timedelta(seconds=0.9 / ENDS_PER_SECOND)


def test_an_end_in_a_second_of_its_own_stays_at_its_deadline() -> None:
    ends = EndsBySecond()
    deadlines = [DEADLINE + timedelta(seconds=number) for number in range(-3, 4)]
    assert [ends.place(deadline) for deadline in deadlines] == deadlines


def test_no_end_is_moved_out_of_sight() -> None:
    ends = EndsBySecond()
    placed = [ends.place(DEADLINE) for _ in range(LATEST_SECONDS * ENDS_PER_SECOND + 5)]
    assert max(placed) < DEADLINE + timedelta(seconds=LATEST_SECONDS)
    assert placed[-1] == DEADLINE
