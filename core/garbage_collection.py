"""Settings of Python's garbage collector for API and worker processes, both of which run workflows."""

import gc

_THRESHOLDS = (5_000, 5, 200)
"""Instead of 700, 10, 10. A request or workflow task leaves a few hundred objects alive for a short time, so nearly
every one started a collection, and every hundredth scanned all long-lived objects: the cached workflows.

Such a scan stops the process, for a second with 10,000 holds in the cache, and finds next to nothing: a hold that
leaves the cache is freed without it (core/workflow_runner.py). An open hold has some 85 objects, so this scans once in
some 70,000 holds that stay open.
"""


def collect_garbage_rarely() -> None:
    """Exclude all present objects from collection and collect less often. Call it after all imports."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
