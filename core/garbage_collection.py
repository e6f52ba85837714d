"""Settings of Python's garbage collector for API and worker processes, both of which run workflows."""

import gc

_YOUNG, _MIDDLE = 5_000, 5
"""Instead of 700 and 10. A request or workflow task leaves a few hundred objects alive for a short time, so nearly
every one started a collection, and every hundredth scanned all long-lived objects: the cached workflows."""
_OF_A_HOLD = 400
"""An open hold has some 85 objects. The others are the memory that core/worker_cache.py leaves for garbage."""


def collect_garbage_rarely(cached: int) -> None:
    """Exclude all present objects from collection and collect less often. Call it after all imports.

    A scan of everything stops the process: for 1.3 s with the 600,000 objects of some 7,000 holds, on two busy cores.
    It comes once so many objects have become long-lived as `cached` holds have, four times over: while the cache fills
    there is none. It would find next to nothing: a hold that leaves the cache is freed without it
    (core/workflow_runner.py).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, max(_MIDDLE, cached * _OF_A_HOLD // (_YOUNG * (_MIDDLE + 1))))
