"""A message that is made ready to be sent many times."""

from __future__ import annotations

import array
import zlib

import pytest
from tools import wire
from tools.wire import BINARY, RSV1, TEXT

from geventws.compression import Compressor
from geventws.deflate import Parameters, PerMessageDeflate
from geventws.frames import Side
from geventws.messages import PreparedMessage, check_undecided, payload_in, payload_of, prepared

WORDS = b"again and again " * 100


def compressor(bits: int = 15, **options: int) -> Compressor:
    return Compressor(Parameters(server_max_window_bits=bits), PerMessageDeflate(compress_options=options), Side.SERVER)


def inflated(frame: bytes, bits: int = 15) -> bytes:
    assert frame[0] >> 4 == 0x8 | RSV1
    return zlib.decompressobj(-bits).decompress(payload_in(frame) + b"\0\0\xff\xff")


class Text(str): ...


class TestPayload:
    @pytest.mark.parametrize(
        ("message", "payload"),
        [
            (b"ab", b"ab"),
            ("é", b"\xc3\xa9"),
            (Text("é"), b"\xc3\xa9"),
            (bytearray(b"ab"), b"ab"),
            (memoryview(b"a-b-")[::2], b"ab"),
            (array.array("H", b"abcd"), b"abcd"),
            ([b"ab"], None),
            (iter("ab"), None),
        ],
        ids=repr,
    )
    def test_text_and_buffers_have_one_and_an_iterable_has_none(self, message, payload):
        assert payload_of(message) == payload

    def test_what_is_prepared_has_none_of_its_own(self):
        assert payload_of(PreparedMessage("ab")) is None

    @pytest.mark.parametrize("wrong", [5, None, {"a": 1}, object()], ids=repr)
    def test_anything_else_is_a_type_error(self, wrong):
        with pytest.raises(TypeError, match="a message is text, a buffer"):
            payload_of(wrong)

    @pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
    def test_a_frame_has_its_payload_behind_the_header(self, size):
        payload = WORDS[:3] * (size // 3) + WORDS[: size % 3]
        assert payload_in(wire.frame(BINARY, payload)) == payload


class TestPrepared:
    @pytest.mark.parametrize(
        ("message", "text", "opcode"),
        [
            ("ab", None, TEXT),
            (b"ab", None, BINARY),
            (bytearray(b"ab"), None, BINARY),
            (b"ab", True, TEXT),
            ("ab", True, TEXT),
            ("ab", False, BINARY),
        ],
    )
    def test_it_is_framed_as_a_server_does_it(self, message, text, opcode):
        ready = PreparedMessage(message, text=text)
        assert ready.frame == wire.frame(opcode, b"ab")
        assert ready.text is (opcode == TEXT)
        assert ready.size == 2

    def test_it_is_a_copy(self):
        data = bytearray(b"before")
        ready = PreparedMessage(data)
        data[:] = b"behind"
        assert payload_in(ready.frame) == b"before"

    def test_it_tells_what_it_is(self):
        assert repr(PreparedMessage("abc")) == "<PreparedMessage text, 3 bytes>"
        assert repr(PreparedMessage(b"")) == "<PreparedMessage binary, 0 bytes>"

    @pytest.mark.parametrize("wrong", [["a", "b"], iter("ab"), PreparedMessage("a")], ids=["list", "iterator", "own"])
    def test_what_has_no_payload_cannot_be_prepared(self, wrong):
        with pytest.raises(TypeError, match="no iterable and not prepared already"):
            PreparedMessage(wrong)

    def test_text_that_is_not_utf8_is_refused(self):
        with pytest.raises(UnicodeDecodeError):
            PreparedMessage(b"\xff", text=True)
        with pytest.raises(UnicodeEncodeError):
            PreparedMessage("\ud800")

    def test_a_message_is_prepared_where_it_is_not_yet(self):
        ready = PreparedMessage("a")
        assert prepared(ready, None) is ready
        assert prepared(b"a", True).frame == ready.frame

    @pytest.mark.parametrize("text", [True, False])
    def test_what_it_is_cannot_be_said_twice(self, text):
        with pytest.raises(ValueError, match="text or binary already"):
            prepared(PreparedMessage("a"), text)
        check_undecided(None)


class TestDeflated:
    @pytest.mark.parametrize("bits", range(8, 16))
    @pytest.mark.parametrize("payload", [b"", b"a", WORDS, bytes(range(256)) * 300], ids=len)
    def test_it_can_be_inflated_with_the_window_that_was_agreed_on(self, bits, payload):
        ready = PreparedMessage(payload)
        frame = ready.deflated(compressor(bits))
        if bits > 8:
            assert inflated(frame, bits) == payload
        assert inflated(frame) == payload

    def test_it_refers_to_nothing_that_was_compressed_before(self):
        used = compressor()
        used.compress(WORDS)
        assert inflated(PreparedMessage(WORDS).deflated(used)) == WORDS

    def test_it_is_compressed_once_for_all_who_do_it_alike(self, monkeypatch):
        ready = PreparedMessage(WORDS)
        assert not ready.was_deflated
        assert not ready.is_deflated(compressor())
        frame = ready.deflated(compressor())
        assert ready.was_deflated
        assert ready.is_deflated(compressor())
        monkeypatch.delattr(Compressor, "compress")
        assert ready.deflated(compressor()) is frame

    @pytest.mark.parametrize("options", [{"bits": 9}, {"level": 9}, {"memLevel": 1}, {"strategy": 2}], ids=str)
    def test_what_makes_a_difference_is_compressed_anew(self, options):
        ready = PreparedMessage(WORDS)
        frame = ready.deflated(compressor())
        assert not ready.is_deflated(compressor(**options))
        other = ready.deflated(compressor(**options))
        assert other is not frame
        assert inflated(other) == WORDS

    def test_the_sender_begins_its_next_message_with_an_empty_window(self):
        ready = PreparedMessage(WORDS)
        for _ in range(2):  # where it is compressed, and where it has been
            used = compressor()
            used.compress(WORDS)
            ready.deflated(used)
            own = used.compress(WORDS)
            assert zlib.decompressobj(-15).decompress(own + b"\0\0\xff\xff") == WORDS
