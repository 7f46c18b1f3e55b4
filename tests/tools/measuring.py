"""Bytes that are held, and how long the hub is held; both are counted, so that a busy machine does not matter."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

from gevent import get_hub


class Memory:
    """What `memory` saw: the most bytes that the body held at once, and what it still holds at its end."""

    peak = 0
    held = 0


@contextmanager
def memory() -> Iterator[Memory]:
    """Measure what the body allocates, by tracemalloc."""
    seen = Memory()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield seen
        now, peak = tracemalloc.get_traced_memory()
        seen.held, seen.peak = now - before, peak - before
    finally:
        tracemalloc.stop()


class HubHeld:
    """Measures, as a context manager, how long the hub's thread computes before the hub looks at its timers again.

    It is CPU time of the thread that counts. The garbage collector, which may come to anybody, rests meanwhile.

    Attributes:
        longest: the longest time, in seconds.
        turns: how many times the hub looked.
    """

    _EVERY = 0.001

    def __init__(self) -> None:
        self.longest = 0.0
        self.turns = 0
        self._last = 0.0

    def __enter__(self) -> HubHeld:
        gc.collect()
        gc.disable()
        self._last = time.thread_time()
        self._timer = get_hub().loop.timer(self._EVERY, self._EVERY)
        self._timer.start(self._look)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._look()
        self._timer.stop()
        self._timer.close()
        gc.enable()

    def _look(self) -> None:
        now = time.thread_time()
        self.longest = max(self.longest, now - self._last)
        self._last = now
        self.turns += 1
