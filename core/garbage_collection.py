"""Settings of Python's garbage collector for API and worker processes, both of which run workflows."""

import gc

_THRESHOLDS = (5_000, 5, 3)
"""Instead of 700, 10, 10. A request or workflow task leaves a few hundred objects alive for a short time, so nearly
every one started a collection, and every hundredth scanned all long-lived objects: the cached workflows.

A workflow that was open for a while, then ended or left the cache, is freed only by a scan of everything, since its
objects refer to each other. It leaves some 90 objects, so this scans once in some 1,000 holds, which keep 30 MB until
then. A scan stops the process: for 0.1 to 0.4 s with 1,000 holds in the cache, on two busy cores.
"""


def collect_garbage_rarely() -> None:
    """Exclude all present objects from collection and collect less often. Call it after all imports."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
