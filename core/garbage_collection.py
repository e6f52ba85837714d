"""Settings of Python's garbage collector for API and worker processes, both of which run workflows."""

import gc

_THRESHOLDS = (20_000, 5, 3)
"""Instead of 700, 10, 10. A request or workflow task leaves a few hundred objects alive for a short time, so nearly
every one started a collection, and every hundredth scanned all long-lived objects: the cached workflows.

A workflow that was open for a while, then ended or left the cache, is freed only by a scan of everything, since its
objects refer to each other. It leaves some 90 objects, so this scans once in some 5,000 holds, which keep 150 MB until
then. A scan stops the process: 0.4 s with 3,000 holds in the cache, 1.1 to 1.7 s with 8,000 (two busy cores).
"""


def collect_garbage_rarely() -> None:
    """Exclude all present objects from collection and collect less often. Call it after all imports."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
