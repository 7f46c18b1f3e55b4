"""Waiting without sleeping: for a fact, never for a length of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent

EARLY = 0.002
"""libuv counts in whole milliseconds: so much may be missing at the end of a wait, in seconds."""


def wait_until(predicate: Callable[[], object], timeout: float = 5) -> None:
    """Let the hub run until the predicate holds; AssertionError when it does not within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not predicate():
        assert time.monotonic() < deadline, f"it did not come true in {timeout} s"
        gevent.sleep(0.001)


def let_hub_run(times: int = 20) -> None:
    """Let everything that is ready happen: each round polls the descriptors once and runs all callbacks."""
    hub = gevent.get_hub()
    for _ in range(times):
        # Not sleep(0): the loop runs many of its rounds without polling.
        with hub.loop.timer(0) as timer:
            hub.wait(timer)


def let_time_pass(seconds: float) -> None:
    """For what measures how long something lasts."""
    hub = gevent.get_hub()
    hub.loop.update_now()  # a timer counts from the last time that the loop has looked
    with hub.loop.timer(seconds) as timer:
        hub.wait(timer)


class Stopwatch:
    seconds = 0.0


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Measure the body; ``seconds`` is set at its end."""
    watch = Stopwatch()
    start = time.perf_counter()
    try:
        yield watch
    finally:
        watch.seconds = time.perf_counter() - start


def burn(seconds: float) -> None:
    """Be busy, without letting the hub run."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
