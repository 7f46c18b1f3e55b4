"""What a process holds: memory, descriptors, greenlets, objects, contexts of zlib."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
import zlib
from typing import NamedTuple

import gevent

from geventws.compression import fast

_CONTEXTS = [
    type(made)
    for library in (zlib, fast)
    if library is not None
    for made in (library.compressobj(), library.decompressobj())
]
_OTHERS = sum(map(sys.getrefcount, _CONTEXTS))


class Holding(NamedTuple):
    """What there is; the resident memory is in bytes."""

    rss: int
    descriptors: int
    greenlets: int
    objects: int
    contexts: int


def holding() -> Holding:
    """What this process holds. What waits for the garbage collector does not count."""
    gc.collect()
    # The collector does not know contexts, but each holds its type.
    contexts = sum(map(sys.getrefcount, _CONTEXTS)) - _OTHERS
    things = gc.get_objects()
    greenlets = sum(isinstance(thing, gevent.Greenlet) and not thing.dead for thing in things)
    return Holding(resident(), len(os.listdir("/proc/self/fd")), greenlets, len(things), contexts)


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def trim() -> None:
    """Have the allocator give back what it keeps for later, where it can (glibc)."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def raise_limit() -> int:
    """Allow as many descriptors as the system does; how many that are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
