"""Frames written and read by hand, right or wrong (RFC 6455 section 5.2)."""

from __future__ import annotations

import random
import struct
from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
RSV1, RSV2, RSV3 = 4, 2, 1

_XOR = [bytes(byte ^ key for byte in range(256)) for key in range(256)]


class Frame(NamedTuple):
    """A frame as it was seen, with its payload unmasked.

    Attributes:
        opcode: what it is, a number such as TEXT.
        payload: its bytes.
        fin: whether it is its message's last.
        rsv: the three reserved bits as a number, of which RSV1 is 4.
        key: its masking key; None where it was not masked.
    """

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


def take_frame(buffer: bytearray) -> Frame | None:
    """Take a whole frame, right or wrong, from the buffer's beginning; None where there is none yet."""
    if len(buffer) < 2:
        return None
    first, second = buffer[0], buffer[1]
    size, length = 2, second & 0x7F
    if length > 125:
        size = 4 if length == 126 else 10
        if len(buffer) < size:
            return None
        length = int.from_bytes(buffer[2:size], "big")
    key = bytes(buffer[size : size + 4]) if second & 0x80 else None
    size += 0 if key is None else 4
    if len(buffer) < size + length:
        return None
    payload = bytes(memoryview(buffer)[size : size + length])
    del buffer[: size + length]
    return Frame(
        opcode=first & 0x0F,
        payload=payload if key is None else xor(payload, key),
        fin=bool(first & 0x80),
        rsv=first >> 4 & 7,
        key=key,
    )


def close_payload(code: int | None = None, reason: str = "") -> bytes:
    """A close frame's payload; empty without a code."""
    return b"" if code is None else struct.pack("!H", code) + reason.encode()


def read_close_payload(payload: bytes) -> tuple[int, str]:
    """The code, 1005 where there is none, and the reason."""
    return int.from_bytes(payload[:2], "big") if payload else 1005, payload[2:].decode()


def random_key() -> bytes:
    """A masking key."""
    return random.randbytes(4)
