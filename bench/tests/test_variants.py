"""What is compared with another checkout is compared fairly."""

from collections import Counter
from itertools import combinations

import pytest

from bench.variants import in_turn


@pytest.mark.parametrize("names", ["ab", "abc", "abcd"])
def test_each_runs_as_often_before_as_after_every_other_and_at_every_place(names: str) -> None:
    rounds = [in_turn(names, number) for number in range(2 * len(names))]
    assert all(sorted(order) == sorted(names) for order in rounds)
    assert set(Counter((place, name) for order in rounds for place, name in enumerate(order)).values()) == {2}
    for one, other in combinations(names, 2):
        assert sum(order.index(one) < order.index(other) for order in rounds) == len(names)
