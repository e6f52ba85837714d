"""What the API makes of a workflow's answer."""

import pytest

from holds.hold_from_workflow import hold_ended
from workflows.messages import Ended


@pytest.mark.parametrize("ended", [None, Ended("committed"), Ended("missing"), Ended("rejected")])
def test_an_end_that_does_not_tell_the_hold_is_looked_up(ended: Ended | None) -> None:
    assert hold_ended("shop-1", "h1", ended) is None
