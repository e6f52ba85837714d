"""Settings of Python's garbage collector for API and worker processes."""

import gc

# The default is 700, 10, 10. A request or workflow task leaves a few hundred objects alive for a short time, so nearly
# every one started a collection, and every hundredth scanned all long-lived objects: the cached workflows.
_THRESHOLDS = (20_000, 20)

FULL_IN_A_WORKER = 3
"""After how many collections of the middle generation a worker scans everything.

A workflow that ended, or left the cache, is freed only by such a scan, since its objects refer to each other: 3 is once
in some 6,000 holds, so that at most some 200 MB are kept by ended ones. With 100 it was once in 200,000.
"""


def collect_garbage_rarely(full_after: int = 100) -> None:
    """Exclude all present objects from collection and collect less often. Call it after all imports.

    `full_after`: the threshold of the oldest generation. An API has few objects that live long.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS, full_after)
