"""Streams of frames as a peer sends them, in each role, compressed or not, and what takes them apart."""

from __future__ import annotations

import random
import zlib
from functools import partial

from tools import wire
from tools.wire import BINARY, CONTINUATION, PING, PONG, RSV1, TEXT

from geventws.compression import Decompressor
from geventws.deflate import Parameters, PerMessageDeflate
from geventws.frames import Side
from geventws.protocol import Protocol

MESSAGES = ["Grüße, 世界", bytes(range(200)), "", "in three parts: \U0001f600", b"x" * 3300, "last"]


def deflated(data):
    deflater = zlib.compressobj(wbits=-15)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


def frames_of(side):
    """What makes frames for an endpoint that has this role."""
    return partial(wire.frame, key=b"\x37\xfa\x21\x3d" if side is Side.SERVER else None)


def stream_of(side, compressed=False):
    """More than 4 KiB of frames of all kinds."""
    frame = frames_of(side)
    frames = []
    for message in MESSAGES:
        payload = message.encode() if isinstance(message, str) else message
        opcode = TEXT if isinstance(message, str) else BINARY
        bits = {"rsv": RSV1} if compressed else {}
        if compressed:
            payload = deflated(payload)
        if message == MESSAGES[3]:
            frames += [frame(opcode, payload[:7], fin=False, **bits), frame(PING, b"ping")]
            frames += [frame(CONTINUATION, payload[7:9], fin=False), frame(CONTINUATION, payload[9:])]
        else:
            frames.append(frame(opcode, payload, **bits))
    # Payload that does not get shorter makes the stream long enough where it is compressed.
    frames.append(frame(BINARY, random.Random(1).randbytes(4000)))
    return b"".join(frames)


def one_of_each(side, compressed=False):
    """Five messages in few bytes: one frame, three with a ping and a pong between, none, a long one, a last one."""
    frame = frames_of(side)
    bits = {"rsv": RSV1} if compressed else {}
    pack = deflated if compressed else bytes
    text = pack("Grüße, 世界".encode())
    return b"".join(
        [
            frame(TEXT, text, **bits),
            frame(TEXT, text[:4], fin=False, **bits),
            frame(PING, b"ping"),
            frame(CONTINUATION, text[4:9], fin=False),
            frame(PONG),
            frame(CONTINUATION, text[9:]),
            frame(BINARY, pack(b""), **bits),
            frame(BINARY, pack(random.Random(1).randbytes(130)), **bits),
            frame(TEXT, pack(b"last"), **bits),
            frame(wire.CLOSE, wire.close_payload(1000, "bye")),
        ]
    )


def decoding(side, compressed=False):
    """An endpoint's protocol, which answers nothing by itself."""
    parameters = Parameters() if compressed else None
    decompressor = Decompressor(parameters, PerMessageDeflate(), side) if parameters else None
    return Protocol(side, masking_keys=lambda: b"abcd", decompressor=decompressor)
