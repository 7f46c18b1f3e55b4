"""The work that is done for every byte or for every frame, in plain Python.

kernels.pyx has the same functions for C; where it was compiled, it is imported in place of this file. The two agree on
every input, and the same tests run for both.

A masking key is bytes where it is sent, and, where it was received, an int of those four bytes in little-endian order.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from sys import getsizeof
from time import monotonic
from typing import Any

Buffer = bytes | bytearray | memoryview
Field = tuple[str, str, str]
"""A header field: its name in lower case, its name and its value."""

_MASKED = 0x80
_MAX_IOVECS = 64
_MANY = 768
_PLAIN_NAME = re.compile("[A-Za-z0-9_-]+")
_ONES = [int.from_bytes(b"\1\0\0\0" * words, "little") for words in range(_MANY // 4 + 1)]
"""A key times one of these is the key so many times in a row."""

now = monotonic
"""The time in seconds, from a clock that is never set."""


def unmask(data: bytearray, start: int, stop: int, key: int, phase: int) -> None:
    """Unmask a part of the buffer in place (RFC 6455 section 5.3); ``phase`` is how much of the payload came before."""
    shift = 8 * (phase & 3)
    data[start:stop] = _combined(data[start:stop], (key >> shift | key << 32 - shift) & 0xFFFFFFFF)


def unmasked(data: bytearray, start: int, stop: int, key: int) -> bytes:
    """An unmasked copy of a part of the buffer."""
    return _combined(data[start:stop], key)


def mask(payload: Buffer, key: bytes) -> bytes:
    """A masked copy of the payload (RFC 6455 section 5.3)."""
    return _combined(bytes(payload), int.from_bytes(key, "little"))


def _combined(data: bytes | bytearray, key: int) -> bytes:
    """The data with each byte combined with its own byte of the key, as one number or, which takes less time from some
    length on, as four strings of characters that are replaced."""
    size = len(data)
    if size < _MANY:
        words = size + 3 >> 2
        whole = (int.from_bytes(data, "little") ^ key * _ONES[words]).to_bytes(4 * words, "little")
        return whole[:size] if size & 3 else whole
    combined = bytearray(size)
    for i in range(4):
        combined[i::4] = data[i::4].translate(_replacements(key >> 8 * i & 0xFF))
    return bytes(combined)


@lru_cache(maxsize=256)
def _replacements(key: int) -> bytes:
    return bytes(byte ^ key for byte in range(256))


def encode_header(first: int, length: int, key: bytes | None) -> bytes:
    """A frame's header with the length in its shortest form (RFC 6455 section 5.2); ``first`` is its first byte."""
    mask_bit = 0 if key is None else _MASKED
    if length < 126:
        header = bytes((first, mask_bit | length))
    elif length < 0x10000:
        header = struct.pack("!BBH", first, mask_bit | 126, length)
    else:
        header = struct.pack("!BBQ", first, mask_bit | 127, length)
    return header if key is None else header + key


def encode_frame(first: int, payload: Buffer, key: bytes | None) -> bytes:
    """A whole frame in one piece; masked where there is a key."""
    header = encode_header(first, len(payload), key)
    return header + (payload if key is None else mask(payload, key))


def encode_into(target: bytearray, offset: int, first: int, payload: Buffer, key: bytes | None) -> int:
    """Put a whole frame into the target, which has room for it, at the offset; returns where it ends."""
    length = len(payload)
    frame = bytes((first, length)) + payload if key is None and length < 126 else encode_frame(first, payload, key)
    end = offset + len(frame)
    if offset < 0 or end > len(target):
        raise IndexError("there is no room for the frame")
    target[offset:end] = frame
    return end


def to_bytes(data: bytearray, start: int, stop: int) -> bytes:
    """A copy of a part of the buffer."""
    return bytes(memoryview(data)[start:stop])


def to_str(data: bytearray, start: int, stop: int, errors: str) -> str:
    """A part of the buffer as text; raises UnicodeDecodeError."""
    return str(memoryview(data)[start:stop], "utf-8", errors)


def plain_head(
    data: bytes, lines: dict[str, Field], names: dict[str, tuple[str, str]]
) -> tuple[str, list[Field], int] | None:
    """The first line, the fields and the size of an HTTP head, where it is whole and plain; else None.

    Plain is a head of visible ASCII characters and spaces without an empty line in front, whose fields have names of
    letters, digits, "-" and "_". ``lines`` has fields that are known, by their lines; ``names`` has names that are
    known, each in lower case and as it is to be spelled.
    """
    head, end, _ = data.partition(b"\r\n\r\n")
    first, *others = head.decode("latin-1").split("\r\n")
    if not end or not first or not head.isascii() or not "".join((first, *others)).isprintable():
        return None
    fields = []
    for line in others:
        field = lines.get(line)
        if field is None:
            name, colon, value = line.partition(":")
            if not colon or not _PLAIN_NAME.fullmatch(name):
                return None
            field = (*(names.get(name) or (name.lower(), name)), value.strip(" "))
        fields.append(field)
    return first, fields, len(head) + len(end)


weight = getsizeof
"""About how many bytes of memory an object takes."""


def receive(sock: Any, fd: int, buffer: bytearray) -> int:
    """Read once from a non-blocking socket; 0 at the end of the stream, -1 where nothing is there. Raises OSError."""
    try:
        size: int = sock.recv_into(buffer)
        return size
    except BlockingIOError:
        return -1


def transmit(sock: Any, fd: int, chunk: Buffer) -> int:
    """Write once to a non-blocking socket; returns how much it took, -1 where nothing. Raises OSError."""
    try:
        size: int = sock.send(chunk)
        return size
    except BlockingIOError:
        return -1


def transmit_part(sock: Any, fd: int, buffer: bytearray, size: int) -> int:
    """The same for the first ``size`` bytes of a buffer."""
    try:
        sent: int = sock.send(memoryview(buffer)[:size])
        return sent
    except BlockingIOError:
        return -1


def transmit_many(sock: Any, fd: int, chunks: list[Buffer]) -> int:
    """The same for several chunks, the first 64 of them, in one gathered write."""
    try:
        return int(sock.sendmsg(chunks[:_MAX_IOVECS]))
    except BlockingIOError:
        return -1
