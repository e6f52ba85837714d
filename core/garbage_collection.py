"""Python's garbage collector in a process that serves."""

import gc

# Default: 700, 10, 10. A request or a hold's step leaves some hundred objects for a while, so that nearly each of them
# had a collection of its own, every hundredth of them over all that the process keeps: the open holds.
_THRESHOLDS = (20_000, 20, 100)


def collect_rarely() -> None:
    """Leave out of every collection what was made so far, and collect less often. Call it when all is imported."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
