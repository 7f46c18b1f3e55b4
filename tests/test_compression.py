"""Compression and decompression, by zlib and, where it is installed, by ISA-L."""

from __future__ import annotations

import array
import itertools
import os
import random
import sys
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geventws import compression
from geventws.compression import Compressor, Decompressor
from geventws.deflate import Parameters, PerMessageDeflate
from geventws.exceptions import ProtocolError, Violation
from geventws.frames import Side

LIBRARIES = ["zlib"] if compression.fast is None else ["zlib", "isal"]
BITS = range(8, 16)
DEFAULTS = PerMessageDeflate()
MUCH = 1 << 20

# RFC 7692 section 7.2.3, each a "Hello"
HELLO = bytes.fromhex("f2 48 cd c9 c9 07 00")
HELLO_AGAIN = bytes.fromhex("f2 00 11 00 00")
SHORT_AGAIN = {"zlib": HELLO_AGAIN, "isal": bytes.fromhex("02 13 00 00")}
HELLO_STORED = bytes.fromhex("00 05 00 fa ff 48 65 6c 6c 6f 00")
HELLO_FINAL = bytes.fromhex("f3 48 cd c9 c9 07 00 00")
HELLO_TWO_BLOCKS = bytes.fromhex("f2 48 05 00 00 00 ff ff ca c9 c9 07 00")


AGREED = Parameters()


@pytest.fixture(params=LIBRARIES, autouse=True)
def library(request, monkeypatch):
    """Every test runs with each library that is there."""
    if request.param == "zlib":
        monkeypatch.setattr(compression, "fast", None)
    return request.param


def receiver(parameters=AGREED, settings=DEFAULTS, side=Side.SERVER):
    return Decompressor(parameters, settings, side)


def drain(decompressor, limit=MUCH):
    pieces = []
    while decompressor.pending:
        piece = decompressor.read(limit)
        assert len(piece) <= limit
        pieces.append(piece)
    return b"".join(pieces)


def inflate(decompressor, *payloads, limit=MUCH):
    """The message that came in frames with these payloads."""
    pieces = []
    for payload in payloads[:-1]:
        decompressor.feed(payload, False)
        pieces.append(drain(decompressor, limit))
    decompressor.feed(payloads[-1], True)
    pieces.append(drain(decompressor, limit))
    return b"".join(pieces)


def raw_deflate(data, mode, wbits=15, zdict=b""):
    compressor = zlib.compressobj(wbits=-wbits, zdict=zdict)
    return compressor.compress(data) + compressor.flush(mode)


def final_block(data, zdict=b""):
    """A deflate stream whose last block has BFINAL set."""
    return raw_deflate(data, zlib.Z_FINISH, zdict=zdict)


def text(size, seed=0):
    """Something that compresses, but not to nothing."""
    chosen = random.Random(seed)
    words = [bytes(chosen.choices(b"abcdefgh", k=chosen.randint(2, 9))) for _ in range(300)]
    return b" ".join(chosen.choices(words, k=size))[:size]


def pieces_of(data, seed):
    """The data in pieces of random sizes, empty ones too."""
    chosen = random.Random(seed)
    cuts = sorted(chosen.choices(range(len(data) + 1), k=chosen.randint(0, 6)))
    return [data[start:end] for start, end in itertools.pairwise([0, *cuts, len(data)])]


# RFC 7692 section 7.2.3


def feeds(payload):
    """The payload whole, byte by byte and at random."""
    yield [payload]
    yield [payload[index : index + 1] for index in range(len(payload))]
    for seed in range(20):
        yield pieces_of(payload, seed)


@pytest.mark.parametrize("payload", [HELLO, HELLO_STORED, HELLO_FINAL, HELLO_TWO_BLOCKS])
@pytest.mark.parametrize("limit", [1, 2, 5, MUCH])
def test_examples_of_the_rfc_are_read_however_they_are_split(payload, limit):
    for split in feeds(payload):
        decompressor = receiver()
        assert inflate(decompressor, *split, limit=limit) == b"Hello"
        assert inflate(decompressor, HELLO_AGAIN, limit=limit) == b"Hello"


def test_fragmented_message_of_the_rfc_is_read():
    assert inflate(receiver(), HELLO[:3], HELLO[3:]) == b"Hello"


def test_shared_window_of_the_rfc_is_read_and_written(library):
    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    assert [compressor.compress(b"Hello"), compressor.compress(b"Hello")] == [HELLO, SHORT_AGAIN[library]]
    decompressor = receiver()
    for again in SHORT_AGAIN.values():
        assert [inflate(decompressor, HELLO), inflate(decompressor, again)] == [b"Hello"] * 2


def test_empty_message_is_one_zero_byte(library):
    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    assert compressor.compress(b"") == b"\x00"
    assert compressor.compress(b"Hello") == HELLO
    assert compressor.compress(b"") == b"\x00"
    assert compressor.compress(b"Hello") == SHORT_AGAIN[library]


# Compressor


@pytest.mark.parametrize("fragment", [True, False])
@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("bits", BITS)
def test_plain_zlib_reads_what_is_compressed_in_every_window(bits, takeover, side, fragment):
    parameters = Parameters(not takeover, not takeover, bits, bits)
    compressor = Compressor(parameters, DEFAULTS, side)
    decoder = zlib.decompressobj(-bits)
    for seed in range(8):
        message = text(3000, seed % 3)
        payload = compressor.compress(message[:1200], False) if fragment else b""
        payload += compressor.compress(message[1200:] if fragment else message)
        if not takeover:
            decoder = zlib.decompressobj(-bits)
        assert decoder.decompress(payload + b"\x00\x00\xff\xff") == message


@pytest.mark.parametrize("level", range(-1, 10))
@pytest.mark.parametrize("memory_level", [1, 5, 9])
def test_window_of_8_bits_is_kept_with_every_option(level, memory_level):
    # Repetitions at all distances around 256: a reference that goes back further would not be decoded.
    message = b"".join(os.urandom(distance) * 3 for distance in range(240, 300))
    for strategy in range(5):
        options = {"level": level, "memLevel": memory_level, "strategy": strategy}
        settings = PerMessageDeflate(compress_options=options)
        compressor = Compressor(Parameters(server_max_window_bits=8), settings, Side.SERVER)
        payloads = [compressor.compress(message), compressor.compress(message)]
        decoder = zlib.decompressobj(-8)
        assert [decoder.decompress(payload + b"\x00\x00\xff\xff") for payload in payloads] == [message, message]


def test_without_context_takeover_equal_messages_have_equal_payloads():
    compressor = Compressor(Parameters(client_no_context_takeover=True), DEFAULTS, Side.CLIENT)
    assert [compressor.compress(b"Hello"), compressor.compress(b"Hello")] == [HELLO, HELLO]


@pytest.mark.parametrize("side", Side)
def test_each_side_compresses_by_its_own_parameters(side, library):
    mine = Parameters(server_no_context_takeover=side is Side.SERVER, client_no_context_takeover=side is Side.CLIENT)
    compressor = Compressor(mine, DEFAULTS, side)
    assert [compressor.compress(b"Hello"), compressor.compress(b"Hello")] == [HELLO, HELLO]
    compressor = Compressor(mine, DEFAULTS, Side.SERVER if side is Side.CLIENT else Side.CLIENT)
    assert [compressor.compress(b"Hello"), compressor.compress(b"Hello")] == [HELLO, SHORT_AGAIN[library]]


@pytest.mark.parametrize(
    "message",
    [
        bytearray(b"12345678"),
        memoryview(b"12345678"),
        memoryview(b"1.2.3.4.5.6.7.8.")[::2],
        memoryview(b"12345678").cast("H", (2, 2)),
        array.array("H", b"12345678"),
    ],
)
def test_every_kind_of_buffer_is_compressed(message):
    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    assert inflate(receiver(), compressor.compress(message)) == b"12345678"


@pytest.mark.parametrize(
    "fragments", [[b"", b""], [b"", b"", b"Hello"], [b"Hello", b""], [b"He", b"", b"llo", b"", b""]]
)
@pytest.mark.parametrize("takeover", [True, False])
def test_empty_fragments_are_compressed(fragments, takeover):
    parameters = Parameters(client_no_context_takeover=not takeover)
    compressor = Compressor(parameters, DEFAULTS, Side.CLIENT)
    decompressor = receiver(parameters)
    for _ in range(3):
        payloads = [compressor.compress(fragment, False) for fragment in fragments[:-1]]
        payloads.append(compressor.compress(fragments[-1]))
        assert inflate(decompressor, *payloads) == b"".join(fragments)


def test_fragment_can_be_decoded_before_the_next_one_comes():
    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    decompressor = receiver()
    decompressor.feed(compressor.compress(b"Hello", False), False)
    assert drain(decompressor) == b"Hello"


def test_after_a_reset_nothing_refers_to_what_was_lost():
    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    decompressor = receiver()
    assert inflate(decompressor, compressor.compress(b"first")) == b"first"
    compressor.compress(text(500))
    compressor.reset()
    assert inflate(decompressor, compressor.compress(text(500))) == text(500)


def test_reset_inside_a_message_keeps_the_message_whole():
    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    first = compressor.compress(text(500), False)
    compressor.reset()
    assert inflate(receiver(), first, compressor.compress(text(500))) == text(500) * 2


def test_failure_while_compressing_gives_up_the_context(monkeypatch):
    class Failing:
        def compress(self, data):
            raise MemoryError

    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(compression.fast or zlib, "compressobj", lambda *arguments: Failing())
        compressor.compress(b"Hello")
    assert compressor.compress(b"Hello") == HELLO


def test_reset_during_compression_in_a_thread_leaves_the_next_context_alone(monkeypatch, library):
    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    made = (compression.fast or zlib).compressobj(2, zlib.DEFLATED, -15, 6)
    payloads = []

    with monkeypatch.context() as patch:

        class Interrupted:
            def compress(self, data):
                compressor.reset()
                patch.undo()
                payloads.append(compressor.compress(b"Hello"))
                return made.compress(data)

            def flush(self, mode):
                return made.flush(mode)

        patch.setattr(compression.fast or zlib, "compressobj", lambda *arguments: Interrupted())
        compressor.compress(b"lost")
    payloads.append(compressor.compress(b"Hello"))
    assert payloads == [HELLO, SHORT_AGAIN[library]]


def recorded_compressobj(monkeypatch, parameters, settings, side=Side.SERVER):
    """The arguments with which a context was made."""
    calls = []
    for library in filter(None, (zlib, compression.fast)):
        make = library.compressobj
        monkeypatch.setattr(
            library, "compressobj", lambda *arguments, make=make: calls.append(arguments) or make(*arguments)
        )
    compressor = Compressor(parameters, settings, side)
    assert calls == []  # an idle connection has no context
    compressor.compress(b"Hello")
    compressor.compress(b"Hello")
    (call,) = calls
    return call


def test_compress_options_reach_zlib(monkeypatch):
    settings = PerMessageDeflate(compress_options={"level": 9, "memLevel": 3, "strategy": 2, "wbits": 11})
    call = recorded_compressobj(monkeypatch, Parameters(), settings)
    assert call == (9, zlib.DEFLATED, -11, 3, 2)


def test_default_compress_options(monkeypatch):
    call = recorded_compressobj(monkeypatch, Parameters(), DEFAULTS)
    assert call == (1, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY)


def test_what_begins_with_an_empty_window_comes_out_alike_by_the_same_method(library):
    one, other = (Compressor(AGREED, DEFAULTS, side) for side in Side)
    assert one.method == other.method
    data = text(5000)
    assert one.compress(data) == other.compress(data)


@pytest.mark.parametrize("setting", [{"compress_options": {"level": 9}}, {"library": zlib}])
def test_method_tells_apart_what_may_come_out_otherwise(setting):
    one, other = (Compressor(AGREED, settings, Side.SERVER) for settings in (DEFAULTS, PerMessageDeflate(**setting)))
    assert one.method != other.method


@pytest.mark.parametrize("agreed, option, used", [(8, 15, 9), (8, 8, 9), (12, 15, 12), (15, 8, 9), (15, 12, 12)])
def test_window_is_the_smaller_of_agreement_and_option(monkeypatch, agreed, option, used):
    settings = PerMessageDeflate(compress_options={"wbits": option})
    call = recorded_compressobj(monkeypatch, Parameters(server_max_window_bits=agreed), settings)
    assert call[2] == -used


@pytest.mark.parametrize("options", [{"level": 6}, {"level": 0}, {"level": -1}, {"strategy": 4}, {"wbits": 8}])
def test_what_only_zlib_can_do_is_left_to_it(monkeypatch, options):
    monkeypatch.setattr(compression, "fast", None)
    settings = PerMessageDeflate(compress_options=options)
    expected = [Compressor(Parameters(), settings, Side.SERVER).compress(text(3000))]
    monkeypatch.undo()
    assert [Compressor(Parameters(), settings, Side.SERVER).compress(text(3000))] == expected


def test_without_the_package_there_is_no_faster_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "isal", None)
    assert compression._find_fast() is None


def test_closed_compressor_holds_no_context():
    compressor = Compressor(Parameters(), DEFAULTS, Side.CLIENT)
    compressor.compress(b"Hello")
    compressor.close()
    assert compressor._context is None


# A library that the settings name


class OtherError(Exception):
    """What the library of `OtherLibrary` raises."""


class OtherLibrary:
    """It does what zlib does, under an error of its own, and counts its contexts."""

    error = OtherError

    def __init__(self):
        self.compressors = self.decompressors = 0

    def compressobj(self, *arguments):
        self.compressors += 1
        return zlib.compressobj(*arguments)

    def decompressobj(self, *arguments, **options):
        self.decompressors += 1
        return self.Inflating(zlib.decompressobj(*arguments, **options))

    class Inflating:
        def __init__(self, context):
            self.context = context

        def __getattr__(self, name):
            return getattr(self.context, name)

        def decompress(self, data, limit):
            try:
                return self.context.decompress(data, limit)
            except zlib.error as error:
                raise OtherError(str(error)) from None


@pytest.mark.parametrize("level", [1, 6])
def test_library_of_the_settings_is_used_in_both_directions(level):
    other = OtherLibrary()
    settings = PerMessageDeflate(library=other, compress_options={"level": level})
    payload = Compressor(AGREED, settings, Side.CLIENT).compress(b"Hello")
    assert inflate(receiver(settings=settings), payload) == b"Hello"
    assert (other.compressors, other.decompressors) == (1, 1)


@pytest.mark.parametrize("bits, compressors", [(8, 0), (9, 1), (14, 1)])
def test_windows_that_not_every_library_keeps_are_left_to_zlib(bits, compressors):
    other = OtherLibrary()
    settings = PerMessageDeflate(library=other)
    agreed = Parameters(False, False, bits, bits)
    payload = Compressor(agreed, settings, Side.CLIENT).compress(b"Hello")
    assert inflate(receiver(agreed, settings), payload) == b"Hello"
    assert (other.compressors, other.decompressors) == (compressors, 0)


@pytest.mark.parametrize("data", [b"\xff", b"\x00\x05\x00\xfa\xff\x48"])
def test_error_of_the_library_is_a_violation(data):
    with pytest.raises(ProtocolError) as caught:
        inflate(receiver(settings=PerMessageDeflate(library=OtherLibrary())), data)
    assert caught.value.violation is Violation.INVALID_DEFLATE_DATA


# Decompressor


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("bits", BITS)
def test_what_plain_zlib_compresses_in_every_window_is_read(bits, takeover, side):
    decompressor = receiver(Parameters(not takeover, not takeover, bits, bits), side=side)
    encoder = zlib.compressobj(wbits=-max(bits, 9))
    for seed in range(8):
        message = text(3000, seed % 3)
        if not takeover:
            encoder = zlib.compressobj(wbits=-max(bits, 9))
        payload = (encoder.compress(message) + encoder.flush(zlib.Z_SYNC_FLUSH))[:-4]
        assert inflate(decompressor, *pieces_of(payload, seed), limit=1000) == message


@pytest.mark.parametrize("side", Side)
def test_each_side_decompresses_by_the_other_sides_parameters(side):
    sender = Side.CLIENT if side is Side.SERVER else Side.SERVER
    theirs = Parameters(sender is Side.SERVER, sender is Side.CLIENT)
    decompressor = receiver(theirs, side=side)
    assert inflate(decompressor, HELLO) == b"Hello"
    with pytest.raises(ProtocolError):
        inflate(decompressor, HELLO_AGAIN)
    decompressor = receiver(theirs, side=sender)
    assert [inflate(decompressor, HELLO), inflate(decompressor, HELLO_AGAIN)] == [b"Hello", b"Hello"]


def two_payloads(message):
    """Two messages of which the second refers back to the start of the first."""
    encoder = zlib.compressobj(wbits=-15)
    return [(encoder.compress(message) + encoder.flush(zlib.Z_SYNC_FLUSH))[:-4] for _ in range(2)]


def test_reference_beyond_the_agreed_window_is_refused():
    message = os.urandom(600)
    first, second = two_payloads(message)
    decompressor = receiver(Parameters(client_max_window_bits=9))
    assert inflate(decompressor, first) == message
    with pytest.raises(ProtocolError):
        inflate(decompressor, second)


@pytest.mark.parametrize("agreed, option", [(9, 11), (15, 8), (10, 10)])
def test_window_is_the_larger_of_agreement_and_option(agreed, option):
    message = os.urandom(600)
    settings = PerMessageDeflate(decompress_options={"wbits": option})
    decompressor = receiver(Parameters(client_max_window_bits=agreed), settings)
    assert [inflate(decompressor, payload) for payload in two_payloads(message)] == [message, message]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_input_is_taken_over_at_once(kind):
    received = bytearray(HELLO)
    fragment = kind(received)
    decompressor = receiver()
    decompressor.feed(fragment[:4], False)
    decompressor.feed(fragment[4:], True)
    received[:] = bytes(len(received))
    assert drain(decompressor) == b"Hello"


def test_read_gives_nothing_when_nothing_is_pending():
    decompressor = receiver()
    assert decompressor.read(100) == b""
    inflate(decompressor, HELLO)
    assert decompressor.read(100) == b""


@pytest.mark.parametrize("limit", [0, -1])
def test_read_has_a_limit(limit):
    with pytest.raises(ValueError, match="limit"):
        receiver().read(limit)


def test_context_is_made_at_first_use_and_dropped_by_close():
    decompressor = receiver()
    assert decompressor._context is None
    inflate(decompressor, HELLO)
    assert decompressor._context is not None
    decompressor.feed(HELLO, False)
    decompressor.close()
    assert not decompressor.pending
    assert decompressor._context is None


def test_without_context_takeover_nothing_is_held_between_messages():
    decompressor = receiver(Parameters(client_no_context_takeover=True))
    inflate(decompressor, HELLO)
    assert decompressor._context is None
    assert not decompressor._recent


def test_output_at_the_limit_leaves_the_rest_for_the_next_read():
    decompressor = receiver()
    decompressor.feed(raw_deflate(bytes(1000), zlib.Z_SYNC_FLUSH)[:-4], True)
    assert decompressor.read(1000) == bytes(1000)
    assert decompressor.pending
    assert decompressor.read(1) == b""
    assert not decompressor.pending


def test_output_that_zlib_holds_back_after_all_input_is_read():
    # One length of 258 bytes is the last thing in the data: zlib has read everything long before it is all out.
    decompressor = receiver()
    decompressor.feed(raw_deflate(bytes(259), zlib.Z_SYNC_FLUSH)[:-4], False)
    assert [decompressor.read(100) for _ in range(3)] == [bytes(100), bytes(100), bytes(59)]
    assert not decompressor.pending


def test_bomb_is_inflated_no_further_than_it_is_read():
    bomb = raw_deflate(bytes(200 << 20), zlib.Z_SYNC_FLUSH)[:-4]
    decompressor = receiver()
    tracemalloc.start()
    try:
        decompressor.feed(bomb, True)
        assert sum(len(decompressor.read(65536)) for _ in range(10)) == 655360
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert decompressor.pending
    assert peak < 1 << 20


def test_large_payload_is_read_in_linear_time():
    # zlib copies the input that it leaves; were it given all at once, this would copy a thousand times 4 MiB.
    message = os.urandom(4 << 20)
    decompressor = receiver()
    decompressor.feed(raw_deflate(message, zlib.Z_SYNC_FLUSH)[:-4], True)
    tracemalloc.start()
    try:
        copied = 0
        while decompressor.pending:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            decompressor.read(4096)
            copied = max(copied, tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    assert copied < 1 << 17


# Blocks with BFINAL set (RFC 7692 section 7.2.3.4)


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("limit", [1, 7, MUCH])
@pytest.mark.parametrize("ending", [b"\x00", b"\x01", b""])
def test_message_that_ends_with_a_final_block_is_read_and_so_are_the_next_ones(takeover, limit, ending):
    # An empty block behind it, as the RFC wants it; an empty final block; or nothing, which some senders do.
    parameters = Parameters(client_no_context_takeover=not takeover)
    decompressor = receiver(parameters)
    compressor = Compressor(parameters, DEFAULTS, Side.CLIENT)
    for seed in range(3):
        message = text(300, seed)
        payload = final_block(message) + ending
        for split in feeds(payload):
            assert inflate(decompressor, *split, limit=limit) == message
        compressor.reset()
        assert inflate(decompressor, compressor.compress(message), limit=limit) == message


def test_final_blocks_inside_a_message_are_read():
    parts = [text(200, seed) for seed in range(6)]
    payload = b"".join(map(final_block, parts[:5])) + raw_deflate(parts[5], zlib.Z_SYNC_FLUSH)[:-4]
    for split in feeds(payload):
        for limit in (1, 100, MUCH):
            assert inflate(receiver(), *split, limit=limit) == b"".join(parts)


def test_final_block_is_read_at_every_place_of_a_large_payload():
    # Also where the block ends where a slice of the input does.
    for size in range(16370, 16400):
        payload = final_block(b"") + b"\x00" + (size - 3).to_bytes(2, "little")
        payload += (0xFFFF - (size - 3)).to_bytes(2, "little") + bytes(size - 3) + final_block(b"")
        decompressor = receiver()
        assert inflate(decompressor, payload) == bytes(size - 3)
        assert inflate(decompressor, HELLO) == b"Hello"


@pytest.mark.parametrize("takeover", [True, False])
def test_window_is_kept_across_a_final_block(takeover):
    first, second = os.urandom(20000), os.urandom(20000)
    history = (first + second)[-32000:]
    payload = final_block(first) + final_block(second, zdict=first)
    referring = raw_deflate(history, zlib.Z_SYNC_FLUSH, zdict=history)[:-4]
    assert len(referring) < 1000  # it does refer back
    decompressor = receiver(Parameters(client_no_context_takeover=not takeover))
    assert inflate(decompressor, payload, referring) == first + second + history


def test_window_is_kept_from_message_to_message_across_final_blocks():
    history = os.urandom(32000)
    decompressor = receiver()
    assert inflate(decompressor, final_block(history) + b"\x00") == history
    for _ in range(3):
        payload = final_block(history, zdict=history)
        assert len(payload) < 1000
        assert inflate(decompressor, payload + b"\x00", limit=1000) == history


def test_window_is_not_kept_from_message_to_message_without_context_takeover():
    history = os.urandom(1000)
    decompressor = receiver(Parameters(client_no_context_takeover=True))
    inflate(decompressor, final_block(history) + b"\x00")
    with pytest.raises(ProtocolError):
        inflate(decompressor, final_block(history, zdict=history) + b"\x00")


@pytest.mark.parametrize("bits", BITS)
def test_remembered_output_is_about_as_long_as_the_window(bits):
    decompressor = receiver(Parameters(client_max_window_bits=bits))
    for size in (100, 100000, 1, 300):
        inflate(decompressor, raw_deflate(os.urandom(size), zlib.Z_SYNC_FLUSH)[:-4], limit=5000)
    assert 1 << bits <= len(decompressor._recent) <= 1.5 * (1 << bits)


def test_remembered_output_takes_little_more_memory_than_the_window():
    decompressor = receiver()
    for byte in range(256):
        for _ in range(200):
            inflate(decompressor, raw_deflate(bytes([byte]), zlib.Z_SYNC_FLUSH)[:-4])
    assert len(decompressor._recent) >= 1 << 15
    assert sys.getsizeof(decompressor._recent) <= 2 << 15


# Data that is not valid


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("payload", [b"\xff", b"\x07", b"\x05\x00", HELLO + b"\xff", b"\x00\x05\x00\x00\x00Hello"])
def test_garbage_is_refused(payload, takeover):
    decompressor = receiver(Parameters(client_no_context_takeover=not takeover))
    assert inflate(decompressor, HELLO) == b"Hello"
    with pytest.raises(ProtocolError) as caught:
        inflate(decompressor, payload)
    assert caught.value.violation is Violation.INVALID_DEFLATE_DATA


DYNAMIC = raw_deflate(text(2000), zlib.Z_SYNC_FLUSH)[:-4]


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("payload", [HELLO, HELLO_STORED, HELLO_FINAL[:-1], DYNAMIC])
def test_message_that_is_cut_short_is_refused_at_every_place(payload, takeover):
    for size in range(2 if payload is HELLO_STORED else 1, len(payload)):  # one zero byte is an empty message
        decompressor = receiver(Parameters(client_no_context_takeover=not takeover))
        with pytest.raises(ProtocolError) as caught:
            inflate(decompressor, payload[:size])
        assert caught.value.violation is Violation.INVALID_DEFLATE_DATA


def test_reference_to_before_the_first_message_is_refused():
    with pytest.raises(ProtocolError):
        inflate(receiver(), HELLO_AGAIN)


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize(
    "fragments", [[b""], [b"", b""], [b"", b"", b""], [b"", b"\x00"], [b"\x00", b"\x00\x00\xff\xff\x00"]]
)
def test_empty_messages_are_read(fragments, takeover):
    decompressor = receiver(Parameters(client_no_context_takeover=not takeover))
    for _ in range(3):
        assert inflate(decompressor, *fragments) == b""
        assert inflate(decompressor, HELLO) == b"Hello"


def test_fragment_that_looks_like_the_end_of_a_message_is_read_as_data():
    stored = b"\x00\x04\x00\xfb\xff\x00\x00\xff\xff"
    decompressor = receiver()
    decompressor.feed(stored[:5], False)
    decompressor.feed(stored[5:], False)
    decompressor.feed(b"\x00", True)
    assert drain(decompressor) == b"\x00\x00\xff\xff"


@given(st.binary(max_size=200), st.booleans())
def test_any_input_is_read_or_refused_with_a_violation(payload, takeover):
    decompressor = receiver(Parameters(client_no_context_takeover=not takeover))
    try:
        inflate(decompressor, HELLO)
        inflate(decompressor, payload, limit=1000)
        inflate(decompressor, HELLO)
    except ProtocolError as error:
        assert error.violation is Violation.INVALID_DEFLATE_DATA


# Both together

PARAMETERS = st.builds(Parameters, st.booleans(), st.booleans(), st.sampled_from(BITS), st.sampled_from(BITS))
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "level": st.integers(-1, 9),
        "memLevel": st.integers(1, 9),
        "strategy": st.integers(0, 4),
        "wbits": st.sampled_from(BITS),
    },
)
MESSAGES = st.lists(
    st.one_of(
        st.binary(max_size=100),
        st.builds(text, st.integers(0, 3000), st.integers(0, 3)),
        st.builds(bytes, st.integers(0, 100000)),
    ),
    max_size=8,
)


@settings(deadline=None)
@given(PARAMETERS, OPTIONS, st.sampled_from(Side), MESSAGES, st.integers(1, 70000), st.integers(0, 1 << 32))
def test_what_one_side_compresses_the_other_reads(parameters, options, sender, messages, limit, seed):
    compressor = Compressor(parameters, PerMessageDeflate(compress_options=options), sender)
    decompressor = receiver(parameters, side=Side.CLIENT if sender is Side.SERVER else Side.SERVER)
    for number, message in enumerate(messages):
        *fragments, last = pieces_of(message, seed + number)
        payloads = [compressor.compress(fragment, False) for fragment in fragments]
        payloads.append(compressor.compress(last))
        read = [piece for payload in payloads for piece in pieces_of(payload, seed)]
        assert inflate(decompressor, *read, limit=max(limit, len(message) // 50, 1)) == message


def test_what_goes_in_and_comes_out_is_counted(library):
    compressor, decompressor = Compressor(AGREED, DEFAULTS, Side.CLIENT), receiver()
    payloads = [compressor.compress(b"again " * 100), compressor.compress(b"ab", False), compressor.compress(b"")]
    assert compressor.taken == 602
    assert compressor.given == sum(map(len, payloads))
    assert inflate(decompressor, payloads[0]) == b"again " * 100
    assert inflate(decompressor, *payloads[1:]) == b"ab"
    assert decompressor.taken == compressor.given
    assert decompressor.given == 602
