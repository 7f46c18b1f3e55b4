from __future__ import annotations

import pytest
from tools.wire import however_split

from geventws.body import MAX_CHUNK_LINE, BodyParser
from geventws.headers import HeadersLike
from geventws.http11 import Response

CHUNKED = {"Transfer-Encoding": "chunked"}


def read_body(data: bytes, headers: HeadersLike = None, max_size: int = 1000, status: int = 400) -> tuple[bytes, bool]:
    """The body, and whether it was complete before the end of the stream."""

    def outcome(pieces: list[bytes]) -> tuple[bytes, bool]:
        parser = BodyParser(Response(status, headers=headers), max_size)
        complete = [parser.feed(piece) for piece in (b"", *pieces)][-1]
        assert complete is parser.done
        parser.feed_eof()
        assert parser.done
        return parser.body, complete

    return however_split(outcome, data)


@pytest.mark.parametrize("length", ["5", "005", "5, 5", "5 ,\t5"])
def test_a_body_has_the_length_that_is_announced(length: str) -> None:
    assert read_body(b"hello there", {"Content-Length": length}) == (b"hello", True)
    assert read_body(b"hell", {"Content-Length": length}) == (b"hell", False)


@pytest.mark.parametrize("length", ["", "0", "-5", "+5", "5x", "0x5", "5, 6", "5,", "\xb2", "5_0", "9" * 5000])
def test_a_length_that_is_nothing_or_not_valid_ends_the_body_at_once(length: str) -> None:
    assert read_body(b"hello", {"Content-Length": length}) == (b"", True)


def test_a_body_without_a_length_goes_on_until_the_end_of_the_stream() -> None:
    assert read_body(b"hello there") == (b"hello there", False)


@pytest.mark.parametrize("status", [101, 204, 304])
def test_a_status_without_a_body_ends_at_once(status: int) -> None:
    assert read_body(b"hello", status=status) == (b"", True)


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "gzip, chunked", "gzip,\tchunked "])
def test_a_chunked_body_is_decoded(coding: str) -> None:
    data = b"5\r\nhello\r\n00a;name=value\r\n\r\nthere\r\n.\r\n1 \r\n!\r\n0\r\nTrailer: x\r\n\r\n"
    assert read_body(data, {"Transfer-Encoding": coding}) == (b"hello\r\nthere\r\n.!", True)


def test_a_chunked_body_counts_more_than_a_length() -> None:
    assert read_body(b"2\r\nab\r\n0\r\n\r\n", {**CHUNKED, "Content-Length": "1"}) == (b"ab", True)


@pytest.mark.parametrize("coding", ["gzip", "chunked, gzip", "identity"])
def test_a_coding_other_than_chunked_goes_on_until_the_end_of_the_stream(coding: str) -> None:
    data = b"2\r\nab\r\n0\r\n\r\n"
    assert read_body(data, {"Transfer-Encoding": coding, "Content-Length": "1"}) == (data, False)


def test_a_chunked_body_may_end_too_early() -> None:
    assert read_body(b"5\r\nhello\r\n5\r\nth", CHUNKED) == (b"helloth", False)
    assert read_body(b"5\r\nhello\r\n5\r", CHUNKED) == (b"hello", False)


@pytest.mark.parametrize(
    "line",
    [b"\r", b"x\r", b"-1\r", b"+1\r", b"0x1\r", b"1_0\r", b"1", b";x\r", b"1 1\r", b"f" * 16 + b"\r", b"\xb2\r"],
)
def test_a_chunk_with_a_malformed_size_ends_the_body(line: bytes) -> None:
    assert read_body(b"2\r\nab\r\n" + line + b"\ncd\r\n", CHUNKED) == (b"ab", True)


@pytest.mark.parametrize("line", [b"\n", b"x\r\n", b"cd\r\n", b"\r\r\n"])
def test_a_chunk_that_is_longer_than_its_size_ends_the_body(line: bytes) -> None:
    assert read_body(b"2\r\nab" + line + b"2\r\ncd\r\n", CHUNKED) == (b"ab", True)


def test_a_chunk_line_that_is_too_long_ends_the_body() -> None:
    longest = b"2;" + b"x" * (MAX_CHUNK_LINE - 4) + b"\r\n"
    assert read_body(longest + b"ab\r\n0\r\n", CHUNKED) == (b"ab", True)
    assert read_body(b"x" + longest + b"ab", CHUNKED) == (b"", True)
    assert read_body(b"0" * 2 * MAX_CHUNK_LINE, CHUNKED) == (b"", True)


@pytest.mark.parametrize(
    "data, headers",
    [
        (b"hello there", {}),
        (b"hello there", {"Content-Length": "11"}),
        (b"2\r\nhe\r\n9\r\nllo there\r\n0\r\n\r\n", CHUNKED),
    ],
)
def test_a_body_is_read_up_to_the_cap(data: bytes, headers: dict[str, str]) -> None:
    assert read_body(data, headers, 5) == (b"hello", True)
    assert read_body(data, headers, 2) == (b"he", True)
    assert read_body(data, headers, 0) == (b"", True)
