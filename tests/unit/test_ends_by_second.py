"""A hold's end has a second of its own where many have the same deadline."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from activities.ends_by_second import ENDS_PER_SECOND, LATEST_SECONDS, EndsBySecond

DEADLINE = datetime(2026, 12, 24, 12, 0, 0, 250_000, UTC)


def test_ends_of_one_second_are_moved_only_as_far_as_their_number_needs() -> None:
    ends = EndsBySecond()
    placed = [ends.place(DEADLINE) for _ in range(2 * ENDS_PER_SECOND + 1)]
    assert set(placed[:ENDS_PER_SECOND]) == {DEADLINE}
    assert max(placed) < DEADLINE + timedelta(seconds=2)
    assert max(Counter(end.replace(microsecond=0) for end in placed).values()) == ENDS_PER_SECOND
    assert ends.place(DEADLINE - timedelta(seconds=1)) == DEADLINE - timedelta(seconds=1)


def test_no_end_is_moved_out_of_sight() -> None:
    ends = EndsBySecond()
    placed = [ends.place(DEADLINE) for _ in range(LATEST_SECONDS * ENDS_PER_SECOND + 5)]
    assert max(placed) < DEADLINE + timedelta(seconds=LATEST_SECONDS)
    assert placed[-1] == DEADLINE
