from __future__ import annotations

import os
import random
import struct
from typing import NamedTuple

import pytest

from geventws import frames
from geventws.exceptions import ProtocolError, Violation
from geventws.frames import (
    CloseCode,
    CloseFrame,
    FrameHeader,
    MaskingKeys,
    Opcode,
    Side,
    check_control,
    is_close_code,
)

KEY = b"\x37\xfa\x21\x3d"


class Header(NamedTuple):
    first: int
    key: bytes | None
    length: int
    size: int


def decode_header(data: bytes | bytearray, offset: int, end: int) -> Header | None:
    header = FrameHeader()
    if not header.read(bytearray(data), offset, end):
        return None
    key = header.key.to_bytes(4, "little") if header.masked else None
    return Header(header.first, key, header.length, header.size)


def violation_of(data: bytes) -> Violation:
    with pytest.raises(ProtocolError) as caught:
        decode_header(data, 0, len(data))
    return caught.value.violation


class TestNames:
    def test_opcodes_have_the_values_of_the_rfc(self) -> None:
        assert {code.name: int(code) for code in Opcode} == {
            "CONTINUATION": 0,
            "TEXT": 1,
            "BINARY": 2,
            "CLOSE": 8,
            "PING": 9,
            "PONG": 10,
        }

    def test_there_are_two_sides(self) -> None:
        assert [side.value for side in Side] == ["client", "server"]


class TestCloseCodes:
    @pytest.mark.parametrize("code", [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999])
    def test_these_may_be_sent(self, code: int) -> None:
        assert is_close_code(code)

    @pytest.mark.parametrize(
        "code", [-1, 0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535, 65536]
    )
    def test_these_may_not(self, code: int) -> None:
        assert not is_close_code(code)


class TestCloseFrame:
    @pytest.mark.parametrize(
        "close, payload",
        [
            (CloseFrame(1000), b"\x03\xe8"),
            (CloseFrame(1001, "away"), b"\x03\xe9away"),
            (CloseFrame(4999, "é"), b"\x13\x87\xc3\xa9"),
            (CloseFrame(1005), b""),
        ],
    )
    def test_a_payload_is_a_code_and_a_reason(self, close: CloseFrame, payload: bytes) -> None:
        assert close.encode() == payload
        assert CloseFrame.decode(payload) == close

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_any_buffer_is_decoded(self, kind: type) -> None:
        assert CloseFrame.decode(kind(b"\x03\xe8bye")) == (1000, "bye")
        assert CloseFrame.decode(kind(b"")) == (1005, "")

    @pytest.mark.parametrize(
        "payload, violation",
        [
            (b"\x03", Violation.INVALID_CLOSE_PAYLOAD_LENGTH),
            (b"\x00\x00", Violation.INVALID_CLOSE_CODE),
            (b"\x03\xed", Violation.INVALID_CLOSE_CODE),
            (b"\x03\xeebad code first: \xff", Violation.INVALID_CLOSE_CODE),
            (b"\x03\xe8\xff", Violation.INVALID_CLOSE_REASON),
            (b"\x03\xe8caf\xc3", Violation.INVALID_CLOSE_REASON),
            (b"\x03\xe8\xed\xa0\x80", Violation.INVALID_CLOSE_REASON),
        ],
    )
    def test_a_wrong_payload_is_a_violation(self, payload: bytes, violation: Violation) -> None:
        with pytest.raises(ProtocolError) as caught:
            CloseFrame.decode(payload)
        assert caught.value.violation is violation

    def test_a_wrong_code_is_named(self) -> None:
        with pytest.raises(ProtocolError, match="1005"):
            CloseFrame.decode(struct.pack("!H", 1005))

    def test_a_callers_words_are_taken(self) -> None:
        close = CloseFrame.checked(CloseCode.GOING_AWAY, "é" * 61 + "x")
        assert close == (1001, "é" * 61 + "x")
        assert type(close.code) is int
        assert len(close.encode()) == 125

    @pytest.mark.parametrize("code", [0, 1004, 1005, 1006, 1015, 2999, 5000, True])
    def test_a_callers_code_is_checked(self, code: int) -> None:
        with pytest.raises(ValueError, match="close frame cannot carry"):
            CloseFrame.checked(code, "")

    def test_a_callers_reason_is_measured_in_bytes(self) -> None:
        with pytest.raises(ValueError, match="123 bytes"):
            CloseFrame.checked(1000, "é" * 62)

    def test_a_callers_reason_has_no_surrogates(self) -> None:
        with pytest.raises(ValueError, match="surrogates"):
            CloseFrame.checked(1000, "\ud800")

    @pytest.mark.parametrize(
        "code, reason", [("1000", ""), (1000.0, ""), (None, ""), (1000, b"bye"), (1000, None), (1000, 5)]
    )
    def test_a_callers_types_are_checked(self, code: object, reason: object) -> None:
        with pytest.raises(TypeError, match="close code is an int"):
            CloseFrame.checked(code, reason)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "close, text",
        [
            (CloseFrame(1000), "1000 (normal closure)"),
            (CloseFrame(1001, "see you"), "1001 (going away) see you"),
            (CloseFrame(1005), "1005 (no status rcvd)"),
            (CloseFrame(3000, "x"), "3000 (registered) x"),
            (CloseFrame(4000), "4000 (private use)"),
        ],
    )
    def test_it_reads_well(self, close: CloseFrame, text: str) -> None:
        assert str(close) == text


HEADERS = [
    (b"\x81\x00", Header(0x81, None, 0, 2)),
    (b"\x01\x05", Header(0x01, None, 5, 2)),
    (b"\x82\x7d", Header(0x82, None, 125, 2)),
    (b"\x82\x7e\x00\x7e", Header(0x82, None, 126, 4)),
    (b"\x82\x7e\x01\x00", Header(0x82, None, 256, 4)),
    (b"\x82\x7e\xff\xff", Header(0x82, None, 65535, 4)),
    (b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", Header(0x82, None, 65536, 10)),
    (b"\x82\x7f\x7f" + b"\xff" * 7, Header(0x82, None, 2**63 - 1, 10)),
    (b"\x80\x00", Header(0x80, None, 0, 2)),
    (b"\xc1\x03", Header(0xC1, None, 3, 2)),
    (b"\xf2\x03", Header(0xF2, None, 3, 2)),
    (b"\x88\x02", Header(0x88, None, 2, 2)),
    (b"\x89\x7d", Header(0x89, None, 125, 2)),
    (b"\x8a\x00", Header(0x8A, None, 0, 2)),
    (b"\x81\x85" + KEY, Header(0x81, KEY, 5, 6)),
    (b"\x82\xfe\x01\x00" + KEY, Header(0x82, KEY, 256, 8)),
    (b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00" + KEY, Header(0x82, KEY, 65536, 14)),
]


class TestDecodeHeader:
    @pytest.mark.parametrize("data, header", HEADERS)
    def test_a_whole_header_is_read(self, data: bytes, header: Header) -> None:
        assert decode_header(data + b"payload", 0, len(data) + 7) == header

    @pytest.mark.parametrize("data, header", HEADERS)
    def test_it_is_read_in_the_middle_of_a_buffer(self, data: bytes, header: Header) -> None:
        assert decode_header(b"\xff\xff\xff" + data + b"\xff", 3, 3 + len(data)) == header

    @pytest.mark.parametrize("data, header", HEADERS)
    def test_an_incomplete_header_is_none_at_every_length(self, data: bytes, header: Header) -> None:
        for end in range(len(data)):
            # What lies behind the end does not count.
            assert decode_header(data, 0, end) is None

    @pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
    def test_reserved_opcodes_are_refused(self, opcode: int) -> None:
        for first in (opcode, 0x80 | opcode):
            assert violation_of(bytes((first, 0))) is Violation.INVALID_OPCODE

    @pytest.mark.parametrize("opcode", [8, 9, 10])
    def test_control_frames_are_whole_and_short(self, opcode: int) -> None:
        assert violation_of(bytes((opcode, 0))) is Violation.EXPECTED_FIN
        for length in (126, 127, 254, 255):
            # Two bytes show it: the length itself need not have come.
            assert violation_of(bytes((0x80 | opcode, length))) is Violation.INVALID_CONTROL_PAYLOAD_LENGTH

    @pytest.mark.parametrize("second", [0x7E, 0xFE])
    def test_sixteen_bits_hold_at_least_126(self, second: int) -> None:
        for length in (0, 1, 125):
            assert violation_of(struct.pack("!BBH", 0x82, second, length)) is Violation.NON_MINIMAL_PAYLOAD_LENGTH

    @pytest.mark.parametrize("second", [0x7F, 0xFF])
    def test_sixty_four_bits_hold_at_least_65536(self, second: int) -> None:
        for length in (0, 125, 65535):
            assert violation_of(struct.pack("!BBQ", 0x82, second, length)) is Violation.NON_MINIMAL_PAYLOAD_LENGTH

    @pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**63 + 1])
    def test_the_top_bit_of_a_length_is_zero(self, length: int) -> None:
        assert violation_of(struct.pack("!BBQ", 0x82, 0x7F, length)) is Violation.INVALID_PAYLOAD_LENGTH

    @pytest.mark.parametrize("start", [b"\x82\xfe\x00\x7d", struct.pack("!BBQ", 0x82, 0xFF, 2**63)])
    def test_a_wrong_length_is_refused_before_the_masking_key_has_come(self, start: bytes) -> None:
        violation_of(start)

    def test_a_control_frame_of_125_bytes_passes(self) -> None:
        check_control(0x8A, 125)


class TestMaskingKeys:
    def test_keys_are_four_bytes_and_differ(self) -> None:
        keys = MaskingKeys()
        drawn = [keys() for _ in range(3000)]
        assert {len(key) for key in drawn} == {4}
        # Of 3000 random keys out of 2**32 it would be strange if even two pairs were equal.
        assert len(set(drawn)) > 2997

    def test_they_come_from_the_operating_system_in_order_and_none_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        source = random.Random(1)
        given = bytearray()

        def urandom(size: int) -> bytes:
            data = source.randbytes(size)
            given.extend(data)
            return data

        monkeypatch.setattr(frames.os, "urandom", urandom)
        keys = MaskingKeys()
        drawn = b"".join(keys() for _ in range(1200))
        assert given.startswith(drawn)
        assert len(given) < len(drawn) + 4096

    def test_a_forked_child_draws_keys_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        keys = MaskingKeys()
        keys()
        state = dict(vars(keys))
        expected_in_the_parent = keys()
        vars(keys).update(state)
        child = os.getpid() + 1
        monkeypatch.setattr(frames.os, "getpid", lambda: child)
        assert keys() != expected_in_the_parent

    def test_nothing_is_drawn_before_the_first_key_is_wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(frames.os, "urandom", lambda size: pytest.fail("drawn"))
        MaskingKeys()
