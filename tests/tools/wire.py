"""Frames written by hand, right or wrong (RFC 6455 section 5.2)."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple, TypeVar
from zlib import crc32

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
RSV1, RSV2, RSV3 = 4, 2, 1

Outcome = TypeVar("Outcome")

_XOR = [bytes(byte ^ key for byte in range(256)) for key in range(256)]


class Frame(NamedTuple):
    """A frame as it was seen, with its payload unmasked."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0
    key: bytes | None = None


def xor(data: bytes, key: bytes) -> bytes:
    """Mask or unmask (RFC 6455 section 5.3)."""
    result = bytearray(data)
    for position in range(4):
        result[position::4] = result[position::4].translate(_XOR[key[position]])
    return bytes(result)


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = None,
    width: int | None = None,
    length: int | None = None,
) -> bytes:
    """The bytes of a frame with any bits at all.

    ``width`` (7, 16 or 64) forces a form of the length, ``length`` announces another length than the payload has.
    """
    size = len(payload) if length is None else length
    if width is None:
        width = 7 if size < 126 else 16 if size < 0x10000 else 64
    first = fin << 7 | rsv << 4 | opcode
    masked = 0 if key is None else 0x80
    if width == 7:
        head = bytes((first, masked | size))
    elif width == 16:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    return head + payload if key is None else head + key + xor(payload, key)


def close_payload(code: int | None = None, reason: str = "") -> bytes:
    return b"" if code is None else struct.pack("!H", code) + reason.encode()


def random_key() -> bytes:
    return random.randbytes(4)


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
