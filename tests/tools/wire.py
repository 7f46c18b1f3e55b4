"""Frames written by hand, right or wrong (RFC 6455 section 5.2), and the ways in which they may arrive."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeVar
from zlib import crc32

from geventws.testing.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    Frame,
    close_payload,
    frame,
    random_key,
    take_frame,
    xor,
)

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "RSV1",
    "RSV2",
    "RSV3",
    "TEXT",
    "Frame",
    "close_payload",
    "frame",
    "however_split",
    "random_key",
    "split_at",
    "splits",
    "take_frame",
    "xor",
]

Outcome = TypeVar("Outcome")


def split_at(data: bytes, offsets: list[int]) -> list[bytes]:
    """Cut ``data`` at each of the offsets."""
    edges = [0, *sorted(offsets), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if start < end]


def splits(data: bytes, *, seed: int = 0, rounds: int = 10) -> Iterator[list[bytes]]:
    """The ways in which a stream may arrive: whole, byte by byte, and cut at random, always the same for one seed."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    chance = random.Random(seed)
    for _ in range(rounds if len(data) > 1 else 0):
        count = chance.randint(1, min(8, len(data) - 1))
        yield split_at(data, chance.sample(range(1, len(data)), count))


def however_split(outcome: Callable[[list[bytes]], Outcome], data: bytes) -> Outcome:
    """What comes of the data in one piece, byte by byte and in random pieces, which is always the same."""
    ways = splits(data, seed=crc32(data), rounds=2)
    expected = outcome(next(ways))
    for pieces in ways:
        assert outcome(pieces) == expected
    return expected
