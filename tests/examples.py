"""How many cases the randomised tests try."""

import os


def examples(count: int) -> int:
    """Return the count, times EXAMPLES_TIMES of the environment (1)."""
    return count * int(os.environ.get("EXAMPLES_TIMES", "1"))
