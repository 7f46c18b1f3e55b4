"""What one endpoint makes of a stream, told in plain values, so that two implementations can be compared."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any, NamedTuple

MAX_SIZE = 4096
MAX_FRAGMENTS = 16
HELD_LIMIT = 65536


class Settings(NamedTuple):
    """What a fuzzer's first three bytes choose."""

    server: bool
    deflate: bool
    takeover: bool
    validate: bool
    streaming: bool
    control: bool
    limited: bool
    window_bits: int
    seed: int

    @classmethod
    def read(cls, data: bytes) -> Settings:
        first, second, third = data[:3].ljust(3, b"\0")
        return cls(*(bool(first & 1 << bit) for bit in range(7)), 8 + second % 8, third)


class Outcome(NamedTuple):
    """Control frames and the violation, what was taken, and the close frame."""

    events: list[Any]
    taken: list[Any]
    close: tuple[int, str] | None

    @property
    def failed(self) -> bool:
        return any(name == "ProtocolError" for name, _ in self.events)

    @property
    def bad_deflate_data(self) -> bool:
        return ("ProtocolError", "INVALID_DEFLATE_DATA") in self.events

    def without_cuts(self, deflate: bool) -> Outcome:
        """What does not depend on how the stream arrived: messages without the cuts between fragments, and not what was
        given out of one that ended badly. Where several things are wrong in deflate data, any of them may be told."""
        events = [(name, None if deflate and name == "ProtocolError" else value) for name, value in self.events]
        taken: list[Any] = []
        begun: Any = None
        for name, value in self.taken:
            if name != "Fragment":
                taken.append((name, value))
                continue
            begun = value[0] if begun is None else begun + value[0]
            if value[1]:
                taken.append((type(begun).__name__, begun))
                begun = None
        return Outcome(events, taken, self.close)


def outcome(modules: dict[str, Any], settings: Settings, stream: bytes, *, split: bool) -> Outcome:
    """All that a protocol says of a stream, whole or in pieces, until it has no more to say."""
    protocol = _protocol(modules, settings)
    said = Outcome([], [], None)
    if settings.streaming:
        protocol.stream()
    for piece in _pieces(stream, settings.seed) if split else [stream]:
        buffer = bytearray(piece)
        _go_through(protocol, protocol.receive(buffer, len(buffer)), settings, said)
    assert protocol.held == 0
    assert said.failed is (protocol.error is not None)
    close = protocol.close_rcvd
    return said._replace(close=None if close is None else tuple(close))


def _protocol(modules: dict[str, Any], settings: Settings) -> Any:
    side = modules["frames"].Side.SERVER if settings.server else modules["frames"].Side.CLIENT
    decompressor = None
    if settings.deflate:
        bits, restart = settings.window_bits, not settings.takeover
        parameters = modules["deflate"].Parameters(restart, restart, bits, bits)
        decompressor = modules["compression"].Decompressor(parameters, modules["deflate"].PerMessageDeflate(), side)
    protocol = modules["protocol"].Protocol(
        side,
        masking_keys=lambda: b"\1\2\3\4",
        decompressor=decompressor,
        max_size=MAX_SIZE if settings.limited else 1 << 22,
        max_fragments=MAX_FRAGMENTS if settings.limited else None,
        validate_utf8=settings.validate,
    )
    protocol.report_control = settings.control
    return protocol


def _go_through(protocol: Any, events: list[Any], settings: Settings, said: Outcome) -> None:
    """Take events and messages, and do what a suspension waits for, until the protocol wants more bytes."""
    while True:
        said.events.extend(map(_told, events))
        if settings.limited:
            # Parsing is suspended while more is held than this and one message.
            assert protocol.held <= HELD_LIMIT + 4 * MAX_SIZE
        progress = bool(events or protocol.messages or protocol.job)
        while protocol.messages:
            said.taken.append(_told(protocol.take()))
        if settings.streaming and not protocol.streaming:
            protocol.stream()
        if protocol.error is not None or not progress:
            return
        events = protocol.go_on() if protocol.job is None else protocol.finish_job(_result(protocol.job))


def _result(job: Any) -> list[bytes] | BaseException:
    """As `offload` does it: what a job raises is its result."""
    try:
        data: list[bytes] = job()
    except Exception as error:  # noqa: BLE001
        return error
    return data


def _told(thing: Any) -> tuple[str, Any]:
    """An event or a message in words that do not depend on whose class it is."""
    violation = getattr(thing, "violation", None)
    return type(thing).__name__, thing if violation is None else violation.name


def _pieces(stream: bytes, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    cuts = chance.sample(range(len(stream) + 1), min(len(stream), chance.choice([1, 3, 10, 1000])))
    return [stream[start:stop] for start, stop in pairwise([0, *sorted(cuts), len(stream)])]
