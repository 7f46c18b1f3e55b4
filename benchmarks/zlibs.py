"""The libraries that can deflate, and their levels, on JSON messages: `.bench-venv/bin/python benchmarks/zlibs.py`.

Ten contexts take turns, as those of ten connections do, so that none of them stays in the processor's cache.
"""

from __future__ import annotations

import sys
import time
import zlib
from collections.abc import Iterator
from random import Random
from typing import Any

import payloads
from environment import SPEED

sys.path.insert(0, str(SPEED))

from isal import isal_zlib
from zlib_ng import zlib_ng

SIZES = (256, 2048, 16384)
CONTEXTS = 10
BITS = 15
CHOICES = (
    *((zlib, level, memory) for level, memory in ((1, 8), (2, 8), (2, 6), (3, 6), (4, 7), (6, 8))),
    *((zlib_ng, level, memory) for level, memory in ((1, 8), (2, 6), (4, 7), (6, 8))),
    *((isal_zlib, level, 6) for level in (1, 2, 3)),
)


def measure(library: Any, level: int, memory: int, messages: list[bytes]) -> tuple[float, float, float]:
    """Microseconds to deflate a message and to inflate it, and the bytes of its payload."""
    senders = [library.compressobj(level, zlib.DEFLATED, -BITS, memory) for _ in range(CONTEXTS)]
    receivers = [library.decompressobj(-BITS) for _ in range(CONTEXTS)]
    deflating = inflating = size = 0.0
    for number, message in enumerate(messages):
        began = time.perf_counter()
        payload = senders[number % CONTEXTS].compress(message) + senders[number % CONTEXTS].flush(zlib.Z_SYNC_FLUSH)
        between = time.perf_counter()
        inflated = receivers[number % CONTEXTS].decompress(payload)
        inflating += time.perf_counter() - between
        deflating += between - began
        size += len(payload) - 4
        assert inflated == message
    count = len(messages)
    return deflating * 1e6 / count, inflating * 1e6 / count, size / count


def rows() -> Iterator[str]:
    yield "| library | level | memLevel | " + " | ".join(f"{size} B" for size in SIZES) + " |"
    yield "|---|--:|--:|" + "--:|" * len(SIZES)
    for library, level, memory in CHOICES:
        cells = []
        for size in SIZES:
            random = Random(size)
            messages = [payloads.message(random, size).encode() for _ in range(1_000_000 // size)]
            deflating, inflating, length = measure(library, level, memory, messages)
            cells.append(f"{deflating:.1f} + {inflating:.1f} us, {length:.0f} B")
        yield f"| {library.__name__.split('.')[-1]} | {level} | {memory} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    for row in rows():
        print(row, flush=True)
