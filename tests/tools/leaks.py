"""What a test leaves behind: greenlets that live on, watchers that are still active, open descriptors."""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from typing import Any

import gevent
import greenlet
from gevent import get_hub

from .timing import wait_until


class Snapshot:
    """Everything that lives now. Later `leftovers` tells what has been added and is still there."""

    def __init__(self) -> None:
        # What is remembered is kept alive by this list, so that no identity is used twice.
        self._known = _living()
        self._known_ids = {id(thing) for thing in self._known}
        self._descriptors = _descriptors()

    def leftovers(self) -> list[Any]:
        new = [thing for thing in _living() if id(thing) not in self._known_ids]
        now = _descriptors()
        return new + [f"fd {fd}: {now[fd]}" for fd in now if self._descriptors.get(fd) != now[fd]]

    def settle(self, timeout: float = 1) -> list[Any]:
        """The leftovers once what was about to end has ended; waits no longer than needed."""
        try:
            wait_until(lambda: not self.leftovers(), timeout)
        except AssertionError:
            return self.leftovers()
        return []


def kill_greenlets(things: list[Any]) -> None:
    """Keep the leftovers of one test from disturbing the next."""
    gevent.killall([thing for thing in things if isinstance(thing, gevent.Greenlet)], timeout=1)


def _living() -> list[Any]:
    me = gevent.getcurrent()
    top = _top(me)
    loop = get_hub().loop
    watchers = _watcher_types(loop)
    living: list[Any] = []
    for thing in gc.get_objects():
        if isinstance(thing, greenlet.greenlet):
            if thing is not me and not _ended(thing) and _top(thing) is top:
                living.append(thing)
        elif isinstance(thing, watchers) and thing.active:
            living.append(thing)
    return living


def _ended(thing: greenlet.greenlet) -> bool:
    if isinstance(thing, gevent.Greenlet):
        return thing.dead
    return thing.dead or not thing  # a bare greenlet that was never started is no more than an object


def _top(thing: greenlet.greenlet) -> greenlet.greenlet:
    while thing.parent is not None:
        thing = thing.parent
    return thing


def _watcher_types(loop: Any) -> tuple[type, ...]:
    if loop not in _WATCHER_TYPES:
        reading, writing = os.pipe()  # libuv watches no plain file, which standard input may be
        watchers = loop.io(reading, 1), loop.timer(1)
        _WATCHER_TYPES[loop] = tuple(map(type, watchers))
        for watcher in watchers:
            watcher.close()
        os.close(reading)
        os.close(writing)
    return _WATCHER_TYPES[loop]


_WATCHER_TYPES: dict[Any, tuple[type, ...]] = {}


def _descriptors() -> dict[int, str]:
    found: dict[int, str] = {}
    if not os.path.isdir("/proc/self/fd"):
        return found
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own descriptor
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found
