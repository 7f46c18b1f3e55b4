"""Prints what comes of pseudo-random input, a line for each seed: run compiled and pure, it must print the same.

Arguments: the first seed and how many.
"""

from __future__ import annotations

import hashlib
import random
import sys
import zlib

from geventws import kernels
from geventws.compression import Compressor, Decompressor
from geventws.deflate import Parameters, PerMessageDeflate
from geventws.frames import Side
from geventws.protocol import Protocol

OPCODES = [0, 1, 2, 1, 2, 0, 8, 9, 10, 3, 11]
LENGTHS = [0, 1, 5, 125, 126, 127, 200, 65535, 65536, 70_000]
TEXTS = ["", "plain", "Grüße", "世界" * 50, "\U0001f600" * 40]


def frame(chance: random.Random, side: Side, compressed: bool) -> bytes:
    """A frame that is right in most respects most of the time."""
    opcode = chance.choice(OPCODES[:9] if chance.random() < 0.98 else OPCODES)
    fin = chance.random() < 0.7 or opcode >= 8
    rsv = chance.choice([0, 0, 0, 4 if compressed else 0, chance.randrange(8) if chance.random() < 0.05 else 0])
    payload = chance.choice(TEXTS).encode() if opcode == 1 else chance.randbytes(chance.choice(LENGTHS))
    if opcode >= 8 and chance.random() < 0.98:
        payload = payload[: chance.randrange(126)]
    if opcode == 8 and chance.random() < 0.8:
        payload = chance.choice([1000, 1001, 1005, 1015, 3000, 5000]).to_bytes(2, "big") + b"reason"
    if rsv == 4 and chance.random() < 0.9:
        deflater = zlib.compressobj(wbits=-15)
        payload = (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
    if chance.random() < 0.02:
        payload = payload[:-1] + bytes((chance.randrange(256),))
    masked = (side is Side.SERVER) is (chance.random() < 0.99)
    length = len(payload) if chance.random() < 0.995 else chance.choice([2**63, 2**63 - 1, 2**31, 2**32, 2**20 + 1])
    head = bytearray([fin << 7 | rsv << 4 | opcode])
    if length < 126 and chance.random() < 0.99:
        head.append(masked << 7 | length)
    elif length < 65536 and chance.random() < 0.99:
        head += bytes([masked << 7 | 126]) + length.to_bytes(2, "big")
    else:
        head += bytes([masked << 7 | 127]) + length.to_bytes(8, "big")
    if not masked:
        return bytes(head) + payload
    key = chance.randbytes(4)
    return bytes(head) + key + bytes(byte ^ key[index & 3] for index, byte in enumerate(payload))


def received(chance: random.Random, side: Side, compressed: bool) -> list[str]:
    """What an endpoint makes of random frames, cut at random places."""
    parameters = Parameters() if compressed else None
    protocol = Protocol(
        side,
        masking_keys=lambda: b"\1\2\3\4",
        decompressor=Decompressor(parameters, PerMessageDeflate(), side) if parameters else None,
        max_size=chance.choice([None, 100, 66_000, 2**20]),
        max_fragments=chance.choice([None, 3, 1000]),
        validate_utf8=chance.random() < 0.8,
    )
    protocol.report_control = chance.random() < 0.5
    stream = b"".join(frame(chance, side, compressed) for _ in range(chance.randint(1, 12)))
    step = chance.choice([1, 2, 7, 100, 5000, 1_000_000]) if len(stream) < 5000 else chance.choice([997, 40_000])
    seen: list[str] = []

    def settle(events: list[object]) -> None:
        seen.extend(repr(event) for event in events)
        while protocol.job is not None or protocol.messages:
            if protocol.messages:
                seen.append(repr(protocol.take()))
            else:
                try:
                    result: list[bytes] | BaseException = protocol.job()
                except Exception as error:  # noqa: BLE001 (as the threads do)
                    result = error
                seen.extend(repr(event) for event in protocol.finish_job(result))

    for start in range(0, len(stream), step):
        piece = bytearray(stream[start : start + step])
        if chance.random() < 0.02 and protocol.job is None:
            protocol.stream()
        settle(protocol.receive(piece, len(piece)))
        settle(protocol.go_on())
    seen.append(f"{protocol.state} {protocol.close_rcvd} {protocol.error!r} {protocol.held} {protocol.has_tail}")
    return seen


def sent(chance: random.Random, side: Side, compressed: bool) -> list[str]:
    """The frames that an endpoint makes."""
    parameters = Parameters() if compressed else None
    settings = PerMessageDeflate()
    protocol = Protocol(side, masking_keys=lambda: chance.randbytes(4))
    made = []
    for _ in range(5):
        payload = chance.randbytes(chance.choice(LENGTHS))
        if parameters is not None:
            payload = zlib.decompress(
                Compressor(parameters, settings, side).compress(payload) + b"\0\0\xff\xff\3\0", wbits=-15
            )
        first = chance.choice([0x81, 0x82, 0x01, 0x80, 0x89])
        if chance.random() < 0.5 or first == 0x89:
            made.append(protocol.encode(first, payload[:125] if first == 0x89 else payload).hex())
        else:
            made.append(b"".join(bytes(part) for part in protocol.encode_parts(first, payload)).hex())
    data = bytearray(chance.randbytes(chance.randrange(300)))
    key, phase = chance.randrange(2**32), chance.randrange(4)
    kernels.unmask(data, min(3, len(data)), len(data), key, phase)
    return [*made, data.hex()]


def main(first: int, count: int) -> None:
    for seed in range(first, first + count):
        chance = random.Random(seed)
        side = chance.choice([Side.CLIENT, Side.SERVER])
        outcome = [*received(chance, side, seed % 3 == 0), *sent(chance, side, seed % 5 == 0)]
        print(seed, hashlib.sha256("\n".join(outcome).encode("utf-8", "surrogateescape")).hexdigest())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
