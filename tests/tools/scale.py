"""How long the fault tests run, and how much they have done: GEVENTWS_FAULTS=100 repeats what can be repeated."""

from __future__ import annotations

import os
from collections import Counter

SCALE = int(os.environ.get("GEVENTWS_FAULTS", "1"))

DONE: Counter[str] = Counter()
"""How many faults of each kind there have been, for the summary of a long run."""


def times(count: int) -> int:
    """``count`` in the ordinary run, and a multiple of it in a long one."""
    return count * SCALE
