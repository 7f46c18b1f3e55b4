"""A model of two endpoints: whatever one sends, and however the bytes are cut, the other gets it, in order, once."""

from __future__ import annotations

import os
from collections import deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from geventws.compression import Compressor, Decompressor
from geventws.deflate import Parameters, PerMessageDeflate
from geventws.exceptions import ProtocolError
from geventws.frames import FIN, RSV1, CloseFrame, Opcode, Side
from geventws.protocol import HELD_LIMIT, Ping, Pong, Protocol, State

MAX_SIZE = 20_000
SIDES = st.sampled_from([Side.CLIENT, Side.SERVER])
LENGTHS = st.integers(0, 6000)
TEXTS = st.text(max_size=300) | st.builds(lambda text, times: text * times, st.text(max_size=3), st.integers(0, 3000))
DATA = st.binary(max_size=300) | st.builds(lambda data, times: data * times, st.binary(max_size=3), LENGTHS)
CONTROL = st.binary(max_size=125)
BITS = st.integers(8, 15)
CODES = st.sampled_from([1000, 1001, 1011, 3000, 4999, 1005])
VIOLATIONS = [
    b"\x83\x80\0\0\0\0",  # a reserved opcode
    b"\x09\x80\0\0\0\0",  # a ping in fragments
    b"\xb1\x80\0\0\0\0",  # RSV2 and RSV3
    b"\x88\x81\0\0\0\0x",  # half of a close code
    b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff",  # a length of 2**63 and more
]


class Endpoint:
    """A protocol, what is on its way to it, and what it should see and has seen."""

    def __init__(self, side: Side, deflate: Parameters | None) -> None:
        common = PerMessageDeflate(threshold=0)
        self.protocol = Protocol(
            side,
            masking_keys=lambda: os.urandom(4),
            compressor=None if deflate is None else Compressor(deflate, common, side),
            decompressor=None if deflate is None else Decompressor(deflate, common, side),
            max_size=MAX_SIZE,
        )
        self.protocol.report_control = True
        self.inbox = bytearray()
        self.expected: deque[Any] = deque()
        self.events: list[Any] = []
        self.begun: list[str | bytes] = []
        """The fragments of the message that this endpoint sends at present."""

    @property
    def may_send(self) -> bool:
        return self.protocol.state is State.OPEN and self.protocol.close_rcvd is None


class TwoEndpoints(RuleBasedStateMachine):
    @initialize(deflate=st.none() | st.builds(Parameters, st.booleans(), st.booleans(), BITS, BITS))
    def connect(self, deflate: Parameters | None) -> None:
        self.endpoints = {side: Endpoint(side, deflate) for side in Side}
        self.compressed: dict[Side, bool] = {}

    def other(self, side: Side) -> Endpoint:
        return self.endpoints[Side.SERVER if side is Side.CLIENT else Side.CLIENT]

    def send_frame(self, side: Side, first: int, message: str | bytes, compress: bool) -> None:
        protocol = self.endpoints[side].protocol
        payload = message.encode() if isinstance(message, str) else message
        if compress and protocol.compressor is not None:
            payload = protocol.compressor.compress(payload, bool(first & FIN))
            first |= 0 if first & 0x0F == Opcode.CONTINUATION else RSV1
        if len(payload) % 2:
            self.other(side).inbox += protocol.encode(first, payload)
        else:
            self.other(side).inbox += b"".join(map(bytes, protocol.encode_parts(first, payload)))

    @rule(side=SIDES, message=TEXTS | DATA, compress=st.booleans())
    def send(self, side: Side, message: str | bytes, compress: bool) -> None:
        sender = self.endpoints[side]
        if not sender.may_send or sender.begun or self.is_too_big(message):
            return
        self.send_frame(side, FIN | opcode_of(message), message, compress)
        self.other(side).expected.append(message)

    @rule(side=SIDES, parts=st.lists(TEXTS, min_size=1, max_size=4) | st.lists(DATA, min_size=1, max_size=4))
    def send_fragments(self, side: Side, parts: list[Any]) -> None:
        """A message whose last fragment comes later, so that others and control frames may stand between."""
        sender = self.endpoints[side]
        if not sender.may_send or sender.begun or self.is_too_big(type(parts[0])().join(parts)):
            return
        sender.begun = parts
        self.compressed[side] = len(parts) % 2 == 0
        for number, part in enumerate(parts):
            self.send_frame(side, Opcode.CONTINUATION if number else opcode_of(part), part, self.compressed[side])

    @rule(side=SIDES)
    def finish_fragments(self, side: Side) -> None:
        sender = self.endpoints[side]
        if not sender.may_send or not sender.begun:
            return
        parts, sender.begun = sender.begun, []
        empty: Any = type(parts[0])()
        self.send_frame(side, FIN | Opcode.CONTINUATION, empty, self.compressed[side])
        self.other(side).expected.append(empty.join(parts))

    @rule(side=SIDES, data=CONTROL, ping=st.booleans())
    def send_control(self, side: Side, data: bytes, ping: bool) -> None:
        if not self.endpoints[side].may_send:
            return
        self.send_frame(side, FIN | (Opcode.PING if ping else Opcode.PONG), data, False)
        self.other(side).expected.append(Ping(data) if ping else Pong(data))

    @rule(side=SIDES, code=CODES, reason=st.text(max_size=30))
    def close(self, side: Side, code: int, reason: str) -> None:
        sender = self.endpoints[side]
        if sender.protocol.state is not State.OPEN or sender.protocol.error is not None:
            return
        frame = CloseFrame(code, "" if code == 1005 else reason)
        self.other(side).inbox += sender.protocol.close(frame)
        self.other(side).expected.append(frame)

    @rule(side=SIDES, violation=st.sampled_from(VIOLATIONS))
    def break_a_rule(self, side: Side, violation: bytes) -> None:
        """Bytes that no endpoint may send; what came before them is still received, and nothing after them."""
        sender = self.endpoints[side]
        if not sender.may_send:
            return
        mask_bit = 0x80 if side is Side.CLIENT else 0
        data = bytes((violation[0], violation[1] & 0x7F | mask_bit)) + violation[2:]
        self.other(side).inbox += data if mask_bit or violation[1] == 0xFF else data[:2] + data[6:]
        self.other(side).expected.append(ProtocolError)
        sender.protocol.state = State.CLOSED  # it says nothing more

    @rule(side=SIDES, size=st.integers(1, 200) | st.integers(1, 100_000))
    def deliver(self, side: Side, size: int) -> None:
        """So many bytes reach an endpoint, unless it is suspended, when its transport does not read."""
        receiver = self.endpoints[side]
        if receiver.protocol.is_suspended():
            return
        piece = receiver.inbox[:size]
        del receiver.inbox[:size]
        self.note(receiver, receiver.protocol.receive(piece, len(piece)))

    @rule(side=SIDES, count=st.integers(1, 20))
    def take(self, side: Side, count: int) -> None:
        receiver = self.endpoints[side]
        for _ in range(count):
            if not receiver.protocol.messages:
                break
            self.check_next(receiver, receiver.protocol.take())
        if receiver.protocol.job is None and receiver.protocol.has_tail and not receiver.protocol.is_suspended():
            self.note(receiver, receiver.protocol.go_on())

    @precondition(lambda self: any(endpoint.protocol.job for endpoint in self.endpoints.values()))
    @rule()
    def do_jobs(self) -> None:
        for endpoint in self.endpoints.values():
            if endpoint.protocol.job is not None:
                self.note(endpoint, endpoint.protocol.finish_job(endpoint.protocol.job()))

    def note(self, receiver: Endpoint, events: list[Any]) -> None:
        receiver.events += [event for event in events if not isinstance(event, Ping | Pong)]

    def check_next(self, receiver: Endpoint, item: Any) -> None:
        expected = receiver.expected.popleft()
        assert type(item) is type(expected)
        assert item == expected

    def is_too_big(self, message: str | bytes) -> bool:
        return len(message.encode() if isinstance(message, str) else message) > MAX_SIZE

    @invariant()
    def memory_is_bounded(self) -> None:
        for endpoint in getattr(self, "endpoints", {}).values():
            # One message more than the limit may be held; a str takes up to four bytes for each of UTF-8's.
            assert endpoint.protocol.held <= HELD_LIMIT + 4 * MAX_SIZE + 128

    @invariant()
    def the_last_event_is_one(self) -> None:
        for endpoint in getattr(self, "endpoints", {}).values():
            assert len(endpoint.events) <= 1

    def teardown(self) -> None:
        """All that is on its way arrives; then each endpoint has seen all that it should."""
        for side, endpoint in getattr(self, "endpoints", {}).items():
            while endpoint.inbox or endpoint.protocol.messages or endpoint.protocol.job:
                before = len(endpoint.inbox), len(endpoint.protocol.messages), endpoint.protocol.job
                self.deliver(side, 100_000)
                self.take(side, 1000)
                if endpoint.protocol.job is not None:
                    self.do_jobs()
                elif before == (len(endpoint.inbox), len(endpoint.protocol.messages), None):
                    break
            self.check_end(endpoint)

    def check_end(self, endpoint: Endpoint) -> None:
        protocol = endpoint.protocol
        assert protocol.held == 0
        left = list(endpoint.expected)
        if protocol.error is not None:
            assert left == [ProtocolError]
            assert endpoint.events == [protocol.error]
        elif protocol.close_rcvd is not None:
            # Of what comes after its own close frame an endpoint keeps so much and then nothing more.
            assert left == [protocol.close_rcvd] or (protocol.close_sent and left[-1] == protocol.close_rcvd)
            assert endpoint.events == [protocol.close_rcvd]
        elif protocol.close_sent is None:
            assert left == []
            assert not endpoint.events


def opcode_of(message: str | bytes) -> Opcode:
    return Opcode.TEXT if isinstance(message, str) else Opcode.BINARY


TestTwoEndpoints = TwoEndpoints.TestCase
TestTwoEndpoints.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
