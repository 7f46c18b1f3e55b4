"""The open connection without I/O: every rule of RFC 6455 sections 5 to 8 that needs more than one frame's bytes."""

from __future__ import annotations

import random
import struct
import zlib
from sys import getsizeof

import pytest
from tools.measuring import memory

from geventws.compression import Compressor, Decompressor
from geventws.deflate import Parameters, PerMessageDeflate
from geventws.events import Fragment, Ping, Pong, State
from geventws.exceptions import ProtocolError, Violation
from geventws.frames import FIN, RSV1, CloseFrame, Opcode, Side
from geventws.protocol import HELD_LIMIT, INLINE_INFLATE, JOB_INFLATE, REST_AFTER, Protocol

KEY = b"\x01\x02\x03\x04"


def new(side=Side.CLIENT, *, deflate=None, settings=None, **options):
    settings = settings or PerMessageDeflate()
    codecs = {}
    if deflate:
        codecs = {
            "compressor": Compressor(deflate, settings, side),
            "decompressor": Decompressor(deflate, settings, side),
        }
    return Protocol(side, masking_keys=lambda: KEY, **codecs, **options)


def frame(first, payload=b"", *, masked=False):
    """A frame by hand: independent of the code under test."""
    mask_bit = 0x80 if masked else 0
    length = len(payload)
    if length < 126:
        header = struct.pack("!BB", first, mask_bit | length)
    elif length < 65536:
        header = struct.pack("!BBH", first, mask_bit | 126, length)
    else:
        header = struct.pack("!BBQ", first, mask_bit | 127, length)
    if not masked:
        return header + payload
    return header + KEY + bytes(byte ^ KEY[i % 4] for i, byte in enumerate(payload))


def deflated(data, *, level=6):
    zlibber = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (zlibber.compress(data) + zlibber.flush(zlib.Z_SYNC_FLUSH))[:-4]


def splits(data):
    """The same bytes whole, byte by byte, and cut at random places."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    source = random.Random(6455)
    for _ in range(20):
        cuts = sorted(source.randrange(len(data) + 1) for _ in range(source.randrange(1, 6)))
        yield [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def drain(protocol):
    return [protocol.take() for _ in range(len(protocol.messages))]


def receive(protocol, data):
    return protocol.receive(bytearray(data), len(data))


def feed(protocol, pieces):
    events = []
    for piece in pieces:
        events += receive(protocol, piece)
        while protocol.job:
            events += protocol.finish_job(run(protocol.job))
    return events


def run(job):
    try:
        return job()
    except ProtocolError as error:
        return error


STREAM = b"".join(
    (
        frame(0x81, b"Hello"),
        frame(0x89, b"ping"),
        frame(0x82, bytes(range(256)) * 2),
        frame(0x01, "Grüße, ".encode()[:4]),
        frame(0x8A, b"pong"),
        frame(0x00, "Grüße, ".encode()[4:]),
        frame(0x80, "Wörld \N{GRINNING FACE}".encode()),
        frame(0x02),
        frame(0x80),
        frame(0x81),
        frame(0x88, b"\x03\xe8bye"),
    )
)
MESSAGES = ["Hello", bytes(range(256)) * 2, "Grüße, Wörld \N{GRINNING FACE}", b"", ""]
EVENTS = [Ping(b"ping"), Pong(b"pong"), CloseFrame(1000, "bye")]


@pytest.mark.parametrize("pieces", list(splits(STREAM)))
def test_a_stream_gives_the_same_messages_and_events_however_it_is_split(pieces):
    protocol = new()
    assert feed(protocol, pieces) == EVENTS
    assert drain(protocol) == MESSAGES


def test_a_client_frame_is_unmasked_at_every_split():
    frames = ((0x81, b"masked text"), (0x89, b"p"), (0x82, b"x" * 300))
    data = b"".join(frame(first, payload, masked=True) for first, payload in frames)
    for pieces in splits(data):
        protocol = new(Side.SERVER)
        assert feed(protocol, pieces) == [Ping(b"p")]
        assert drain(protocol) == ["masked text", b"x" * 300]


def test_a_received_message_is_an_object_of_its_own_and_not_a_view_of_the_input():
    buffer = bytearray(frame(0x82, b"abc"))
    protocol = new()
    protocol.receive(buffer, len(buffer))
    buffer[:] = bytes(len(buffer))
    assert drain(protocol) == [b"abc"]


VIOLATIONS = [
    (Side.SERVER, frame(0x81, b"x"), Violation.EXPECTED_MASK),
    (Side.CLIENT, frame(0x81, b"x", masked=True), Violation.UNEXPECTED_MASK),
    (Side.CLIENT, frame(0xC1, b"x"), Violation.UNEXPECTED_RSV_1),
    (Side.CLIENT, frame(0xC9, b"x"), Violation.UNEXPECTED_RSV_1),
    (Side.CLIENT, frame(0xA1, b"x"), Violation.UNEXPECTED_RSV_2_3),
    (Side.CLIENT, frame(0x91, b"x"), Violation.UNEXPECTED_RSV_2_3),
    (Side.CLIENT, frame(0x99, b"x"), Violation.UNEXPECTED_RSV_2_3),
    (Side.CLIENT, frame(0x80, b"x"), Violation.UNEXPECTED_CONTINUATION),
    (Side.CLIENT, frame(0x01, b"x") + frame(0x81, b"y"), Violation.EXPECTED_CONTINUATION),
    (Side.CLIENT, frame(0x83, b"x"), Violation.INVALID_OPCODE),
    (Side.CLIENT, frame(0x09, b"x"), Violation.EXPECTED_FIN),
    (Side.CLIENT, frame(0x88, b"\x03"), Violation.INVALID_CLOSE_PAYLOAD_LENGTH),
    (Side.CLIENT, frame(0x88, b"\x03\xed"), Violation.INVALID_CLOSE_CODE),
    (Side.CLIENT, frame(0x88, b"\x03\xe8\xff"), Violation.INVALID_CLOSE_REASON),
    (Side.CLIENT, frame(0x81, b"\xff"), Violation.INVALID_UTF8),
    (Side.CLIENT, frame(0x81, b"\xc3"), Violation.INVALID_UTF8),
    (Side.CLIENT, frame(0x01, b"\xc3") + frame(0x80), Violation.INVALID_UTF8),
]


@pytest.mark.parametrize(("side", "data", "violation"), VIOLATIONS)
def test_a_violation_is_the_last_event_and_spares_the_messages_before_it(side, data, violation):
    before = frame(0x82, b"kept", masked=side is Side.SERVER)
    for pieces in splits(before + data + frame(0x82, b"never seen")):
        protocol = new(side)
        events = feed(protocol, pieces)
        assert [error.violation for error in events] == [violation]
        assert protocol.error is events[0]
        assert drain(protocol) == [b"kept"]


@pytest.mark.parametrize("start", [b"\xed\xa0", b"\xed\xbf", b"a\xed\xb0"])
@pytest.mark.parametrize("first", [0x81, 0x01], ids=["incomplete frame", "fragment"])
def test_a_surrogate_fails_at_its_second_byte(start, first):
    protocol = new(Side.CLIENT)
    header = bytes((first, len(start) + (5 if first == 0x81 else 0)))
    assert feed(protocol, [header + start[:-1]]) == []
    assert [error.violation for error in feed(protocol, [start[-1:]])] == [Violation.INVALID_UTF8]


@pytest.mark.parametrize("character", ["\ud7ff", "\ue000", "\U0010ffff"])
def test_the_neighbours_of_the_surrogates_may_be_cut_anywhere(character):
    protocol = new(Side.CLIENT)
    payload = character.encode()
    assert feed(protocol, [bytes((0x81, len(payload))), *(payload[i : i + 1] for i in range(len(payload)))]) == []
    assert protocol.take() == character


def test_utf8_fails_at_the_first_bad_byte_of_an_incomplete_frame():
    protocol = new()
    assert feed(protocol, [frame(0x81, b"ab\xf8cdefgh")[:4]]) == []
    assert [error.violation for error in feed(protocol, [b"\xf8"])] == [Violation.INVALID_UTF8]


def test_rsv1_belongs_to_the_first_frame_of_a_message():
    protocol = new(deflate=Parameters())
    events = feed(protocol, [frame(0x41, deflated(b"x")[:2]) + frame(0xC0, deflated(b"x")[2:])])
    assert [error.violation for error in events] == [Violation.UNEXPECTED_RSV_1]


def test_a_message_of_max_size_is_received():
    protocol = new(max_size=5)
    assert feed(protocol, [frame(0x01, b"abc") + frame(0x89, b"ping") + frame(0x80, b"de")]) == [Ping(b"ping")]
    assert drain(protocol) == ["abcde"]


@pytest.mark.parametrize("data", [frame(0x82, b"abcdef")[:2], frame(0x02, b"abc") + frame(0x80, b"def")[:2]])
def test_a_longer_message_fails_at_the_header_that_shows_it(data):
    protocol = new(max_size=5)
    assert [error.violation for error in feed(protocol, [data])] == [Violation.MESSAGE_TOO_BIG]


def test_more_fragments_than_max_fragments_fail():
    protocol = new(max_fragments=2)
    data = frame(0x02) + frame(0x00) + frame(0x00)
    assert [error.violation for error in feed(protocol, [data])] == [Violation.TOO_MANY_FRAGMENTS]


@pytest.mark.parametrize("first", [0x82, 0x02, 0x81, 0x01])
def test_a_longer_fragment_than_max_fragment_size_fails_at_its_header(first):
    protocol = new(max_fragment_size=3)
    assert feed(protocol, [frame(first, b"123")]) == []
    protocol = new(max_fragment_size=3)
    assert [error.violation for error in feed(protocol, [frame(first, b"1234")[:2]])] == [Violation.FRAGMENT_TOO_BIG]


def test_a_message_may_be_longer_than_its_fragments():
    protocol = new(max_fragment_size=3)
    assert feed(protocol, [frame(0x02, b"123") + frame(0x00, b"456") + frame(0x80, b"7")]) == []
    assert protocol.take() == b"1234567"
    assert [error.violation for error in feed(protocol, [frame(0x02, b"1") + frame(0x80, b"1234")])] == [
        Violation.FRAGMENT_TOO_BIG
    ]


def test_a_fragment_is_measured_as_it_comes_over_the_wire():
    protocol = new(deflate=Parameters(), max_fragment_size=100)
    payload = Compressor(Parameters(), PerMessageDeflate(), Side.SERVER).compress(bytes(10_000))
    assert feed(protocol, [frame(0xC2, payload)]) == []
    assert protocol.take() == bytes(10_000)


def test_no_limits_at_all_can_be_chosen():
    protocol = new(max_size=None, max_fragments=None)
    assert feed(protocol, [frame(0x82, bytes(2_000_000))]) == []
    protocol.take()


def test_nothing_is_looked_at_after_the_close_frame():
    protocol = new()
    assert feed(protocol, [frame(0x88) + frame(0xFF), frame(0xFF)]) == [CloseFrame(1005, "")]
    assert protocol.state is State.OPEN, "the answer has not been sent yet"
    assert protocol.close_rcvd == CloseFrame(1005, "")


def test_a_close_frame_that_answers_ours_leaves_the_state_as_it_is():
    protocol = new(Side.SERVER)
    assert protocol.close(CloseFrame(1001, "so long")) == b"\x88\x09\x03\xe9so long"
    assert protocol.state is State.CLOSING
    assert feed(protocol, [frame(0x88, b"\x03\xe9", masked=True)]) == [CloseFrame(1001, "")]
    assert protocol.state is State.CLOSING


# Bounded memory


def test_parsing_is_suspended_while_untaken_messages_weigh_too_much():
    protocol = new()
    data = frame(0x82, b"x" * 1000) * 200
    assert feed(protocol, [data]) == []
    assert protocol.is_suspended()
    assert protocol.has_tail
    assert HELD_LIMIT < protocol.held <= HELD_LIMIT + getsizeof(b"x" * 1000)
    count = 0
    while protocol.messages:
        count += len(drain(protocol))
        assert protocol.held == 0
        protocol.go_on()
    assert count == 200
    assert not protocol.has_tail


def test_the_fragments_of_a_streamed_message_suspend_it_too():
    protocol = new()
    protocol.stream()
    data = b"x" * 40_000
    assert feed(protocol, [frame(0x02, data), frame(0x00, data), frame(0x80, data)]) == []
    assert protocol.is_suspended()
    assert drain(protocol) == [Fragment(data, False), Fragment(data, False)]
    assert protocol.held == 0
    protocol.go_on()
    assert drain(protocol) == [Fragment(data, True)]


def test_a_violation_behind_a_suspension_comes_after_the_messages_before_it():
    protocol = new()
    assert feed(protocol, [frame(0x82, b"x" * 70000) + frame(0x83)]) == []
    drain(protocol)
    assert [error.violation for error in protocol.go_on()] == [Violation.INVALID_OPCODE]


def test_after_our_close_frame_the_peers_is_found_behind_any_number_of_messages():
    protocol = new()
    feed(protocol, [frame(0x82, b"kept") + frame(0x82, b"x" * 70000) + frame(0x82, b"left in the tail")])
    protocol.close(CloseFrame(1000))
    events = feed(protocol, [frame(0x82, b"y" * 1000) * 100 + frame(0x88, b"\x03\xe8")])
    assert events == [CloseFrame(1000, "")]
    assert drain(protocol) == [b"kept", b"x" * 70000]


def test_what_is_received_after_our_close_frame_has_no_hole():
    protocol = new()
    protocol.close(CloseFrame(1000))
    data = [b"%d" % number + bytes(1000) for number in range(100)]
    feed(protocol, [b"".join(frame(0x82, payload) for payload in data)])
    received = drain(protocol)
    assert received == data[: len(received)]
    feed(protocol, [frame(0x82, b"after the hole")])
    assert drain(protocol) == []


def test_only_a_header_or_a_control_frame_is_kept_as_it_came():
    protocol = new()
    feed(protocol, [frame(0x02, b"x" * 100)[:50]])
    assert not protocol.has_tail
    feed(protocol, [frame(0x02, b"x" * 100)[50:] + frame(0x89, b"y" * 125)[:100]])
    assert protocol.has_tail


# Compression


def test_a_compressed_message_is_inflated_at_every_split():
    text = "compress me, " * 40
    data = deflated(text.encode())
    stream = frame(0x41, data[:3]) + frame(0x89) + frame(0x00) + frame(0x80, data[3:]) + frame(0x81, b"plain")
    for pieces in splits(stream):
        protocol = new(deflate=Parameters())
        assert feed(protocol, pieces) == [Ping(b"")]
        assert drain(protocol) == [text, "plain"]


@pytest.mark.parametrize("opcode", [0xC1, 0xC2])
def test_an_empty_compressed_message_is_received(opcode):
    protocol = new(deflate=Parameters())
    assert feed(protocol, [frame(opcode, b"\x00")]) == []
    assert drain(protocol) == ["" if opcode == 0xC1 else b""]


def test_what_cannot_be_inflated_is_a_violation():
    protocol = new(deflate=Parameters())
    events = feed(protocol, [frame(0xC2, b"\xff\xff\xff")])
    assert [error.violation for error in events] == [Violation.INVALID_DEFLATE_DATA]


def test_compressed_text_is_checked():
    protocol = new(deflate=Parameters())
    events = feed(protocol, [frame(0xC1, deflated(b"\xff"))])
    assert [error.violation for error in events] == [Violation.INVALID_UTF8]


def test_a_bomb_ends_within_max_size():
    protocol = new(deflate=Parameters(), max_size=10_000)
    events = feed(protocol, [frame(0xC2, deflated(bytes(10_000_000))[:5000])])
    assert [error.violation for error in events] == [Violation.MESSAGE_TOO_BIG]


def test_a_compressed_message_of_max_size_is_received_even_if_it_cannot_be_compressed():
    data = random.Random(1).randbytes(10_000)
    protocol = new(deflate=Parameters(), max_size=10_000)
    assert feed(protocol, [frame(0xC2, deflated(data, level=0))]) == []
    assert drain(protocol) == [data]


def test_compressed_data_far_longer_than_max_size_fails_at_its_header():
    protocol = new(deflate=Parameters(), max_size=1000)
    events = feed(protocol, [frame(0xC2, bytes(3000))[:4]])
    assert [error.violation for error in events] == [Violation.MESSAGE_TOO_BIG]


def test_much_to_inflate_becomes_a_job_and_what_follows_waits_for_it():
    size = 2 * INLINE_INFLATE + JOB_INFLATE + 12345
    protocol = new(deflate=Parameters(), max_size=None)
    assert receive(protocol, frame(0xC2, deflated(bytes(size))) + frame(0x89) + frame(0x81, b"after")) == []
    assert protocol.is_suspended()
    assert protocol.job is not None
    assert protocol.finish_job(protocol.job()) == []
    assert protocol.job is not None
    events = protocol.finish_job(protocol.job())
    assert protocol.job is None
    assert len(protocol.take()) == size
    assert events + protocol.go_on() == [Ping(b"")]
    assert drain(protocol) == ["after"]


def test_a_job_stops_at_max_size():
    protocol = new(deflate=Parameters(), max_size=2 * INLINE_INFLATE)
    receive(protocol, frame(0xC2, deflated(bytes(100 * INLINE_INFLATE))))
    pieces = protocol.job()
    assert INLINE_INFLATE < len(b"".join(pieces)) < INLINE_INFLATE + 32768
    assert protocol.decompressor.given == 2 * INLINE_INFLATE + 1
    assert [error.violation for error in protocol.finish_job(pieces)] == [Violation.MESSAGE_TOO_BIG]


def test_a_job_that_finds_bad_data_is_a_violation():
    data = deflated(bytes(2 * INLINE_INFLATE))[:-1] + b"\xff" * 40
    protocol = new(deflate=Parameters(), max_size=None)
    receive(protocol, frame(0xC2, data))
    while protocol.job:
        events = protocol.finish_job(run(protocol.job))
    assert [error.violation for error in events] == [Violation.INVALID_DEFLATE_DATA]


def test_another_failure_of_a_job_leaves_as_it_came():
    protocol = new(deflate=Parameters(), max_size=None)
    receive(protocol, frame(0xC2, deflated(bytes(2 * INLINE_INFLATE))))
    with pytest.raises(MemoryError):
        protocol.finish_job(MemoryError())


def test_a_job_may_find_no_more_output():
    """Behind the output there are empty blocks, more than are looked at in one go."""
    zlibber = zlib.compressobj(6, zlib.DEFLATED, -15)
    data = zlibber.compress(bytes(INLINE_INFLATE - 16384)) + zlibber.flush(zlib.Z_SYNC_FLUSH)
    protocol = new(deflate=Parameters(), max_size=None)
    assert receive(protocol, frame(0xC2, data + b"\0\0\0\xff\xff" * 100_000 + b"\0")) == []
    assert protocol.job() == []


# Memory

MIB = 2**20


def fragmented(*sizes):
    """A message in frames of these sizes and an empty last one."""
    first, *others = (bytes(size) for size in sizes)
    return frame(0x02, first) + b"".join(frame(0x00, other) for other in others) + frame(0x80)


def two_frames(first, size):
    """What its last frame announces becomes known late, when there may be room for nearly as much."""
    return frame(0x02, bytes(first)) + frame(0x80, bytes(size - first))


LARGE = {
    "one frame": (frame(0x82, bytes(MIB)), 1),
    "a part of a frame": (frame(0x82, bytes(MIB))[:-1], 0),
    "half of a frame": (frame(0x82, bytes(MIB))[: MIB // 2], 0),
    "fragments": (fragmented(*[MIB // 128] * 128), 1),
    "fragments that do not end": (fragmented(*[MIB // 128] * 128)[:-2], 0),
    "three quarters in fragments": (fragmented(*[MIB // 128] * 96), 1),
    **{
        f"{percent} % in two frames, {first} % in the first": (two_frames(MIB * first // 100, MIB * percent // 100), 1)
        for percent in (70, 75, 84, 90, 95, 100)
        for first in (60, 65, 67, 74, 80, 88, 95)
        if first < percent
    },
}


@pytest.mark.parametrize("piece", [7777, 65536, 262144])
@pytest.mark.parametrize("what", LARGE)
def test_a_message_takes_no_more_than_max_size_even_when_it_is_handed_out(what, piece):
    protocol = new(max_size=MIB)
    data, count = LARGE[what]
    pieces = [bytearray(data[start : start + piece]) for start in range(0, len(data), piece)]
    with memory() as seen:
        for part in pieces:
            protocol.receive(part, len(part))
        received = drain(protocol)
    assert len(received) == count
    assert seen.peak <= MIB + 65536


@pytest.mark.parametrize("data", [bytes(MIB), random.Random(1).randbytes(MIB)], ids=["short", "long"])
def test_what_a_job_has_inflated_is_not_held_twice(data):
    """But for a third of it, when room is made for the whole; 192 KiB are for what inflates."""
    protocol = new(deflate=Parameters(), max_size=MIB)
    whole = frame(0xC2, deflated(data))
    pieces = [bytearray(whole[start : start + 65536]) for start in range(0, len(whole), 65536)]
    with memory() as seen:
        for part in pieces:
            protocol.receive(part, len(part))
            if protocol.job is not None:
                protocol.finish_job(protocol.job())
        received = drain(protocol)
    assert received == [data]
    assert seen.peak <= MIB + MIB // 3 + 3 * 65536


# Streaming


def test_a_streamed_message_comes_in_fragments_and_the_next_one_whole():
    protocol = new()
    protocol.stream()
    feed(protocol, [frame(0x01, b"ab")[:3], b"b" + frame(0x80, b"cd") + frame(0x81, b"next")])
    assert drain(protocol) == [Fragment("a", False), Fragment("b", False), Fragment("cd", True), "next"]


def test_binary_fragments_are_bytes():
    protocol = new()
    protocol.stream()
    feed(protocol, [frame(0x02, b"ab") + frame(0x80)])
    assert drain(protocol) == [Fragment(b"ab", False), Fragment(b"", True)]


def test_streaming_begins_with_what_is_there():
    protocol = new()
    feed(protocol, [frame(0x02, b"ab")])
    protocol.stream()
    feed(protocol, [frame(0x80, b"cd")])
    assert drain(protocol) == [Fragment(b"ab", False), Fragment(b"cd", True)]


@pytest.mark.parametrize("validate", [True, False])
def test_streamed_text_is_cut_between_characters(validate):
    data = "aäb".encode()
    protocol = new(validate_utf8=validate)
    feed(protocol, [frame(0x01, data[:2])])
    protocol.stream()
    feed(protocol, [frame(0x80, data[2:])])
    assert drain(protocol) == [Fragment("a", False), Fragment("äb", True)]


def test_streaming_can_be_taken_back_before_a_message_begins_only():
    protocol = new()
    protocol.stream()
    protocol.stop_streaming()
    feed(protocol, [frame(0x82, b"whole")])
    protocol.stream()
    feed(protocol, [frame(0x02, b"part")])
    protocol.stop_streaming()
    feed(protocol, [frame(0x80, b"rest")])
    assert drain(protocol) == [b"whole", Fragment(b"part", False), Fragment(b"rest", True)]


def test_messages_that_are_read_as_a_stream_all_come_in_fragments():
    protocol = new()
    protocol.as_stream = True
    protocol.stream()
    assert feed(protocol, [frame(0x82, b"1") + frame(0x01, b"2"), frame(0x80, b"3") + frame(0x02, b"4")]) == []
    protocol.stop_streaming()
    assert feed(protocol, [frame(0x80) + frame(0x82, b"5")]) == []
    fragments = [(b"1", True), ("2", False), ("3", True), (b"4", False), (b"", True), (b"5", True)]
    assert drain(protocol) == [Fragment(*fragment) for fragment in fragments]
    protocol.as_stream = False
    protocol.stop_streaming()
    assert feed(protocol, [frame(0x82, b"6")]) == []
    assert drain(protocol) == [b"6"]


def test_none_of_them_is_dropped_after_our_close_frame():
    protocol = new()
    protocol.as_stream = True
    protocol.stream()
    protocol.close(CloseFrame(1000, ""))
    data = b"x" * 40_000
    assert feed(protocol, [frame(0x82, data) * 5 + frame(0x88)]) == []
    assert protocol.is_suspended()
    received = drain(protocol)
    while protocol.has_tail:
        protocol.go_on()
        received += drain(protocol)
    assert received == [Fragment(data, True)] * 5
    assert protocol.close_rcvd == CloseFrame(1005, "")


def test_a_streamed_message_is_still_limited_by_max_size():
    protocol = new(max_size=3)
    protocol.stream()
    events = feed(protocol, [frame(0x02, b"ab") + frame(0x80, b"cd")])
    assert [error.violation for error in events] == [Violation.MESSAGE_TOO_BIG]


# Options


def test_text_that_is_not_checked_keeps_its_bytes_as_surrogates():
    protocol = new(validate_utf8=False)
    assert feed(protocol, [frame(0x81, b"a\xff") + frame(0x01, b"\xc3") + frame(0x80, b"\xa4")]) == []
    first, second = drain(protocol)
    assert first.encode("utf-8", "surrogateescape") == b"a\xff"
    assert second == "ä"


def test_pings_and_pongs_stand_among_the_messages_when_that_is_wanted():
    protocol = new()
    protocol.report_control = True
    feed(protocol, [frame(0x82, b"1") + frame(0x89, b"p") + frame(0x8A, b"q") + frame(0x82, b"2")])
    assert drain(protocol) == [b"1", Ping(b"p"), Pong(b"q"), b"2"]


# Sending


def test_a_server_sends_the_payload_as_it_is():
    payload = b"x" * 70000
    header, sent = new(Side.SERVER).encode_parts(FIN | Opcode.BINARY, payload)
    assert header == b"\x82\x7f\x00\x00\x00\x00\x00\x01\x11\x70"
    assert sent is payload


def test_a_client_masks_what_it_sends():
    masked = bytes(byte ^ KEY[i % 4] for i, byte in enumerate(b"Hello"))
    assert new(Side.CLIENT).encode_parts(FIN | Opcode.TEXT, b"Hello") == (b"\x81\x85" + KEY, masked)
    assert new(Side.CLIENT).encode(FIN | Opcode.TEXT, b"Hello") == b"\x81\x85" + KEY + masked


def test_a_small_frame_is_one_piece():
    assert new(Side.SERVER).encode(FIN | Opcode.PING, b"data") == b"\x89\x04data"


def test_both_sides_understand_each_other_with_compression():
    parameters = Parameters()
    client, server = new(Side.CLIENT, deflate=parameters), new(Side.SERVER, deflate=parameters)
    for text in ("one " * 50, "two " * 50, "one " * 50):
        receive(server, client.encode(FIN | RSV1 | Opcode.TEXT, client.compressor.compress(text.encode())))
        assert server.take() == text


# The end


def test_the_end_gives_up_contexts_and_keeps_messages():
    protocol = new(deflate=Parameters())
    protocol.compressor.compress(b"x")
    feed(protocol, [frame(0x82, b"kept") + frame(0xC2, deflated(b"a" * 100)) + frame(0x89, b"begun")[:3]])
    protocol.discard()
    assert protocol.state is State.CLOSED
    assert not protocol.has_tail
    assert protocol.compressor._context is None
    assert protocol.decompressor._context is None
    assert drain(protocol) == [b"kept", b"a" * 100]
    protocol.discard()


def test_the_end_leaves_a_running_job_its_decompressor():
    protocol = new(deflate=Parameters(), max_size=None)
    receive(protocol, frame(0xC2, deflated(bytes(2 * INLINE_INFLATE))))
    job = protocol.job
    protocol.discard()
    assert INLINE_INFLATE <= len(b"".join(job())) < INLINE_INFLATE + 32768
    protocol.job = None
    protocol.discard()
    assert protocol.decompressor._context is None


def test_the_end_of_an_uncompressed_connection_is_simple():
    protocol = new()
    protocol.discard()
    assert protocol.state is State.CLOSED


def test_a_job_that_ends_after_a_violation_changes_nothing():
    protocol = new(deflate=Parameters(), max_size=None)
    receive(protocol, frame(0xC2, deflated(bytes(2 * INLINE_INFLATE))))
    protocol.error = ProtocolError(Violation.INVALID_OPCODE)
    assert protocol.finish_job([b"late"]) == []
    assert drain(protocol) == []


def test_a_take_that_was_broken_off_at_the_end_of_a_batch_leaves_a_list_that_goes_on():
    """What a signal's handler can raise in the middle of it, where it is plain Python."""
    protocol = new()
    receive(protocol, frame(0x81, b"a") * 3)
    protocol.messages.clear()
    protocol.taken = 2
    receive(protocol, frame(0x81, b"b") * 2)
    assert drain(protocol) == ["b", "b"]
    assert protocol.taken == 0


def test_taken_messages_are_not_held_where_the_list_is_never_empty():
    protocol = new()
    feed(protocol, [frame(0x82, b"0")])
    for number in range(1, 2000):
        feed(protocol, [frame(0x82, b"%d" % number)])
        assert protocol.take() == b"%d" % (number - 1)
        assert len(protocol.messages) <= 258
        assert not any(protocol.messages[: protocol.taken])
    assert protocol.take() == b"1999"
    assert protocol.held == 0
    assert protocol.messages == []


@pytest.mark.parametrize("last", [frame(0x88, b"\x03\xe8"), frame(0x83)])
def test_behind_the_last_event_there_is_nothing_to_go_on_with(last):
    protocol = new()
    assert len(feed(protocol, [last + frame(0x82, b"never seen")])) == 1
    assert protocol.go_on() == []
    assert not protocol.has_tail


def test_many_messages_of_one_read_are_taken_one_by_one_without_a_copy_of_the_rest():
    protocol = new()
    stream = frame(0x82, bytes(60_000)) * 4
    assert feed(protocol, [stream]) == []
    rest = protocol._tail if hasattr(protocol, "_tail") else None
    for _ in range(4):
        assert protocol.take() == bytes(60_000)
        assert protocol.go_on() == []
        assert rest is None or not protocol.has_tail or protocol._tail is rest
    assert not protocol.has_tail


def test_whole_messages_and_their_uncompressed_bytes_are_counted():
    protocol = new(deflate=Parameters())
    stream = frame(FIN | Opcode.TEXT, "ü".encode()) + frame(FIN | Opcode.PING, b"1")
    stream += frame(Opcode.BINARY, b"ab") + frame(FIN | Opcode.CONTINUATION, b"c")
    receive(protocol, stream + frame(FIN | RSV1 | Opcode.BINARY, deflated(b"x" * 1000)))
    assert (protocol.messages_received, protocol.payload_received) == (3, 2 + 3 + 1000)
    receive(protocol, frame(Opcode.TEXT, b"not whole"))
    assert (protocol.messages_received, protocol.payload_received) == (3, 1005)


def test_a_message_that_breaks_a_rule_is_not_counted():
    protocol = new()
    receive(protocol, frame(FIN | Opcode.TEXT, b"\xff"))
    assert (protocol.messages_received, protocol.payload_received) == (0, 0)


@pytest.mark.parametrize("first", [FIN | Opcode.PING, FIN | Opcode.PONG, Opcode.CONTINUATION])
def test_parsing_rests_after_many_frames_that_bring_little(first):
    protocol = new()
    data = frame(Opcode.BINARY, b"begun") + frame(first) * 2 * REST_AFTER + frame(FIN, b" and ended")
    data = bytearray(data)
    events = protocol.receive(data, len(data))
    assert protocol.resting
    assert protocol.is_suspended()
    while protocol.resting:
        assert protocol.messages == []
        more = protocol.go_on()
        assert len(more) <= REST_AFTER
        events += more
    assert drain(protocol) == [b"begun and ended"]
    assert len(events) == (0 if first == Opcode.CONTINUATION else 2 * REST_AFTER)


def test_a_rest_at_the_very_end_of_what_was_received_ends_too():
    protocol = new()
    data = bytearray(frame(FIN | Opcode.PONG) * REST_AFTER)
    assert len(protocol.receive(data, len(data))) == REST_AFTER
    assert protocol.go_on() == []
    assert not protocol.is_suspended()
    assert receive(protocol, frame(FIN | Opcode.PING)) == [Ping(b"")]
