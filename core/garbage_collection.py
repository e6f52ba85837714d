"""Settings of Python's garbage collector for API and worker processes."""

import gc

# The default is 700, 10, 10. A request or workflow task leaves a few hundred objects alive for a short time, so nearly
# every one started a collection, and every hundredth scanned all long-lived objects: the cached workflows.
_THRESHOLDS = (20_000, 20, 100)


def collect_garbage_rarely() -> None:
    """Exclude all present objects from collection and collect less often. Call it after all imports."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
