"""The functions that exist twice, in C and in plain Python: the same tests for both."""

from __future__ import annotations

import random
import socket
import sys
import time
from types import ModuleType

import pytest
from tools.twins import pure

import geventws.kernels

KEY = b"\x37\xfa\x21\x3d"
KEY_NUMBER = int.from_bytes(KEY, "little")
SIZES = [*range(20), 31, 32, 33, 63, 64, 65, 125, 126, 1000, 65535, 65536, 65537]


@pytest.fixture(params=["imported", "pure"])
def kernels(request: pytest.FixtureRequest) -> ModuleType:
    return geventws.kernels if request.param == "imported" else pure(geventws.kernels)


def combined(data: bytes, phase: int = 0) -> bytes:
    return bytes(byte ^ KEY[(i + phase) % 4] for i, byte in enumerate(data))


class TestMask:
    @pytest.mark.parametrize("size", SIZES)
    def test_each_byte_is_combined_with_its_own_byte_of_the_key(self, kernels, size) -> None:
        data = random.Random(size).randbytes(size)
        assert kernels.mask(data, KEY) == combined(data)

    def test_the_rfcs_example(self, kernels) -> None:
        assert kernels.mask(b"Hello", KEY) == b"\x7f\x9f\x4d\x51\x58"

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_any_buffer_is_taken_and_left_alone(self, kernels, kind) -> None:
        data = kind(b"Hello")
        assert kernels.mask(data, KEY) == b"\x7f\x9f\x4d\x51\x58"
        assert bytes(data) == b"Hello"

    def test_a_zero_key_changes_nothing(self, kernels) -> None:
        assert kernels.mask(b"\0\x01\xff\0", bytes(4)) == b"\0\x01\xff\0"


LINES = {"Upgrade: websocket": ("upgrade", "Upgrade", "websocket")}
NAMES = {"Host": ("host", "Host"), "HOST": ("host", "Host")}
HEAD = b"GET / HTTP/1.1\r\nHOST: a:1\r\nUpgrade: websocket\r\nX-y_1:  b c \r\nEmpty:\r\n\r\n"


class TestPlainHead:
    def test_the_first_line_the_fields_and_the_size_are_told(self, kernels) -> None:
        first, fields, size = kernels.plain_head(HEAD + b"\r\n\r\n\0\xff", LINES, NAMES)
        assert (first, size) == ("GET / HTTP/1.1", len(HEAD))
        assert fields == [
            ("host", "Host", "a:1"),
            ("upgrade", "Upgrade", "websocket"),
            ("x-y_1", "X-y_1", "b c"),
            ("empty", "Empty", ""),
        ]

    def test_what_is_known_is_not_made_anew(self, kernels) -> None:
        _, fields, _ = kernels.plain_head(HEAD, LINES, NAMES)
        assert fields[0][0] is NAMES["HOST"][0]
        assert fields[1] is LINES["Upgrade: websocket"]

    def test_there_may_be_no_fields(self, kernels) -> None:
        assert kernels.plain_head(b"x\r\n\r\n", LINES, NAMES) == ("x", [], 5)

    @pytest.mark.parametrize("end", range(len(HEAD)))
    def test_a_part_of_a_head_is_left_to_others(self, kernels, end) -> None:
        assert kernels.plain_head(HEAD[:end], LINES, NAMES) is None

    @pytest.mark.parametrize(
        "head",
        [
            b"\r\nx\r\n\r\n",
            b"x\r\nA: \t\r\n\r\n",
            b"x\r\nA: \xe9\r\n\r\n",
            b"x\r\nA: \x7f\r\n\r\n",
            b"x\r\nA: b\n\r\n\r\n",
            b"x\r\nA: b\rc\r\n\r\n",
            b"x\nA: b\r\n\r\n",
            b"x\r\nA : b\r\n\r\n",
            b"x\r\n: b\r\n\r\n",
            b"x\r\nA\r\n\r\n",
            b"x\r\n A: b\r\n\r\n",
            b"x\r\nA!: b\r\n\r\n",
        ],
    )
    def test_what_is_not_plain_is_left_to_others(self, kernels, head) -> None:
        assert kernels.plain_head(head, LINES, NAMES) is None

    def test_both_agree_on_heads_that_were_damaged_at_random(self) -> None:
        chance = random.Random(1)
        twin = pure(geventws.kernels)
        for _ in range(3000):
            head = bytearray(HEAD)
            for _ in range(chance.randrange(4)):
                head[chance.randrange(len(head))] = chance.choice((*b"\r\n\t :-A\x00\x7f\xe9", chance.randrange(256)))
            args = bytes(head), LINES, NAMES
            assert geventws.kernels.plain_head(*args) == twin.plain_head(*args)


class TestUnmask:
    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("phase", range(5))
    def test_a_part_of_the_buffer_is_unmasked_in_place(self, kernels, size, phase) -> None:
        data = random.Random(size).randbytes(size)
        buffer = bytearray(b"before" + data + b"behind")
        assert kernels.unmask(buffer, 6, 6 + size, KEY_NUMBER, phase) is None
        assert buffer == b"before" + combined(data, phase) + b"behind"

    @pytest.mark.parametrize("size", SIZES)
    def test_an_unmasked_copy_leaves_the_buffer_alone(self, kernels, size) -> None:
        data = random.Random(size).randbytes(size)
        buffer = bytearray(b"before" + data + b"behind")
        copy = kernels.unmasked(buffer, 6, 6 + size, KEY_NUMBER)
        assert type(copy) is bytes
        assert copy == combined(data)
        assert buffer == b"before" + data + b"behind"

    def test_pieces_give_the_same_as_the_whole(self, kernels) -> None:
        chance = random.Random(7)
        data = chance.randbytes(300)
        for _ in range(50):
            cut = chance.randint(0, 300)
            buffer = bytearray(data)
            kernels.unmask(buffer, 0, cut, KEY_NUMBER, 0)
            kernels.unmask(buffer, cut, 300, KEY_NUMBER, cut & 3)
            assert buffer == combined(data)


class TestEncode:
    @pytest.mark.parametrize(
        "length, header",
        [
            (0, "82 00"),
            (5, "82 05"),
            (125, "82 7d"),
            (126, "82 7e 00 7e"),
            (256, "82 7e 01 00"),
            (65535, "82 7e ff ff"),
            (65536, "82 7f 00 00 00 00 00 01 00 00"),
            (2**40, "82 7f 00 00 01 00 00 00 00 00"),
        ],
    )
    def test_a_header_has_the_shortest_form(self, kernels, length, header) -> None:
        plain = bytes.fromhex(header)
        assert kernels.encode_header(0x82, length, None) == plain
        masked = bytes((plain[0], plain[1] | 0x80)) + plain[2:] + KEY
        assert kernels.encode_header(0x82, length, KEY) == masked

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_a_frame_is_its_header_and_its_payload(self, kernels, size, kind) -> None:
        data = random.Random(size).randbytes(size)
        header = kernels.encode_header(0x81, size, None)
        assert kernels.encode_frame(0x81, kind(data), None) == header + data
        header = kernels.encode_header(0x81, size, KEY)
        assert kernels.encode_frame(0x81, kind(data), KEY) == header + combined(data)


class TestCopies:
    def test_bytes_are_a_copy(self, kernels) -> None:
        buffer = bytearray(b"0123456789")
        part = kernels.to_bytes(buffer, 3, 7)
        buffer[:] = bytes(10)
        assert part == b"3456"
        assert type(part) is bytes

    def test_text_is_decoded(self, kernels) -> None:
        buffer = bytearray(b"ab" + "Gr\u00fc\u00dfe \U0001f600".encode() + b"\xff")
        assert kernels.to_str(buffer, 2, len(buffer) - 1, "strict") == "Gr\u00fc\u00dfe \U0001f600"

    def test_what_is_not_utf8_is_an_error(self, kernels) -> None:
        with pytest.raises(UnicodeDecodeError):
            kernels.to_str(bytearray(b"a\xff"), 0, 2, "strict")

    def test_or_comes_as_surrogates(self, kernels) -> None:
        assert kernels.to_str(bytearray(b"a\xff"), 0, 2, "surrogateescape") == "a\udcff"


class TestWeight:
    @pytest.mark.parametrize("item", [b"", b"x" * 1000, "", "x" * 1000, "\u00fc" * 1000, "\U0001f600" * 1000])
    def test_it_is_about_what_the_object_takes(self, kernels, item) -> None:
        assert abs(kernels.weight(item) - sys.getsizeof(item)) < 100

    def test_anything_can_be_weighed(self, kernels) -> None:
        assert kernels.weight(("a", 1)) == sys.getsizeof(("a", 1))


class TestSockets:
    @pytest.fixture
    def sockets(self):
        left, right = socket.socketpair()
        left.setblocking(False)
        yield left, right
        left.close()
        right.close()

    def test_what_is_there_is_read(self, kernels, sockets) -> None:
        left, right = sockets
        buffer = bytearray(10)
        assert kernels.receive(left, left.fileno(), buffer) == -1
        right.sendall(b"abc")
        assert kernels.receive(left, left.fileno(), buffer) == 3
        assert buffer == b"abc" + bytes(7)
        right.close()
        assert kernels.receive(left, left.fileno(), buffer) == 0

    def test_a_chunk_is_written_as_far_as_there_is_room(self, kernels, sockets) -> None:
        left, right = sockets
        assert kernels.transmit(left, left.fileno(), b"abc") == 3
        assert right.recv(10) == b"abc"
        assert 0 < kernels.transmit(left, left.fileno(), bytes(10_000_000)) < 10_000_000
        assert kernels.transmit(left, left.fileno(), b"abc") == -1
        assert kernels.transmit_part(left, left.fileno(), bytearray(b"abc"), 2) == -1

    def test_a_part_of_a_buffer_is_written(self, kernels, sockets) -> None:
        left, right = sockets
        assert kernels.transmit_part(left, left.fileno(), bytearray(b"abcdef"), 4) == 4
        assert right.recv(100) == b"abcd"

    def test_chunks_are_written_in_one_go(self, kernels, sockets) -> None:
        left, right = sockets
        chunks = [b"a", bytearray(b"bc"), memoryview(b"def")]
        assert kernels.transmit_many(left, left.fileno(), chunks) == 6
        assert right.recv(10) == b"abcdef"
        assert kernels.transmit_many(left, left.fileno(), [b"x"] * 100) == 64
        kernels.transmit(left, left.fileno(), bytes(10_000_000))
        assert kernels.transmit_many(left, left.fileno(), chunks) == -1

    def test_a_broken_socket_is_an_oserror(self, kernels, sockets) -> None:
        left, right = sockets
        right.close()
        with pytest.raises(OSError):
            kernels.transmit(left, left.fileno(), b"abc")
        with pytest.raises(OSError):
            kernels.transmit_many(left, left.fileno(), [b"a", b"b"])


def test_the_clock_is_the_one_that_is_never_set(kernels) -> None:
    before = time.monotonic()
    assert before <= kernels.now() <= time.monotonic()


class TestEncodeInto:
    @pytest.mark.parametrize("size", [0, 1, 125, 126, 4096, 65535, 65536])
    @pytest.mark.parametrize("key", [None, KEY])
    def test_it_puts_the_same_frame_at_the_offset(self, kernels, size, key) -> None:
        payload = random.Random(size).randbytes(size)
        frame = kernels.encode_frame(0x82, payload, key)
        target = bytearray(len(frame) + 20)
        assert kernels.encode_into(target, 7, 0x82, payload, key) == 7 + len(frame)
        assert target == bytes(7) + frame + bytes(13)

    @pytest.mark.parametrize("offset", [1, 100, -1])
    def test_it_never_writes_beyond_the_target(self, kernels, offset) -> None:
        target = bytearray(12)
        with pytest.raises(IndexError):
            kernels.encode_into(target, offset, 0x82, b"1234567890", None)
        assert target == bytes(12)
