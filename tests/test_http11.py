from __future__ import annotations

import random
from typing import Any

import pytest
from tools.wire import however_split

from geventws.exceptions import HandshakeError
from geventws.headers import Headers
from geventws.http11 import Request, RequestParser, Response, ResponseParser, http_date, refusal


def parse(parser: RequestParser | ResponseParser, pieces: list[bytes]) -> tuple[Any, bytes]:
    """The head and the bytes behind it."""
    for index, piece in enumerate(pieces):
        if (head := parser.feed(piece)) is not None:
            return head, parser.rest + b"".join(pieces[index + 1 :])
    raise EOFError


def parse_request(data: bytes, max_size: int = 16384, max_lines: int = 128) -> tuple[Request, bytes]:
    return however_split(lambda pieces: parse(RequestParser(max_size, max_lines), pieces), data)


def parse_response(data: bytes, max_size: int = 16384, max_lines: int = 128) -> tuple[Response, bytes]:
    return however_split(lambda pieces: parse(ResponseParser(max_size, max_lines), pieces), data)


def refused(data: bytes, max_size: int = 16384, max_lines: int = 128) -> tuple[int, str]:
    """The status and the text with which a server refuses this head."""

    def answer(pieces: list[bytes]) -> tuple[int, str]:
        with pytest.raises(HandshakeError) as caught:
            parse(RequestParser(max_size, max_lines), pieces)
        response = caught.value.response
        assert response is not None
        assert response.body.decode() == f"{caught.value}\n"
        return response.status, str(caught.value)

    return however_split(answer, data)


def failure(data: bytes, max_size: int = 16384, max_lines: int = 128) -> str:
    """What a client says about the head of this response."""

    def text(pieces: list[bytes]) -> str:
        with pytest.raises(HandshakeError, match="the response is not valid: ") as caught:
            parse(ResponseParser(max_size, max_lines), pieces)
        assert caught.value.response is None
        return str(caught.value)

    return however_split(text, data)


def test_a_request_is_serialized_as_it_is_sent() -> None:
    request = Request("GET", "/chat?a=1", [("Host", "example.com"), ("A", "1"), ("A", "\xe9")])
    assert request.serialize() == b"GET /chat?a=1 HTTP/1.1\r\nHost: example.com\r\nA: 1\r\nA: \xe9\r\n\r\n"


def test_a_request_has_defaults() -> None:
    request = Request()
    assert request == Request("GET", "/", Headers(), "HTTP/1.1", None, {})
    assert request.data is not Request().data
    assert (request.remote_address, request.peer_certificate) == (None, None)


@pytest.mark.parametrize(
    "remote, expected",
    [
        (None, None),
        ("", None),
        ("/run/socket", None),
        (("192.0.2.1", 5), "192.0.2.1"),
        (("2001:db8::1", 5, 0, 0), "2001:db8::1"),
        (("::ffff:192.0.2.1", 5, 0, 0), "192.0.2.1"),
        (("::ffff:1", 5, 0, 0), "::ffff:1"),
    ],
)
def test_the_client_is_the_other_end_unless_it_is_told(remote: Any, expected: str | None) -> None:
    request = Request(remote_address=remote)
    assert request.client_address == expected
    request.client_address = "192.0.2.9"
    assert request.client_address == "192.0.2.9"


def test_a_request_keeps_the_headers_and_the_data_it_is_given() -> None:
    headers, data = Headers(), {"room": 1}
    request = Request(headers=headers, user="me", data=data, remote_address="::1", peer_certificate={})
    assert request.headers is headers
    assert (request.user, request.data) == ("me", data)
    assert (request.remote_address, request.peer_certificate) == ("::1", {})


@pytest.mark.parametrize(
    "target, path, query",
    [
        ("/", "/", ""),
        ("/chat", "/chat", ""),
        ("/chat?a=1&b", "/chat", "a=1&b"),
        ("/a%2Fb?%3F?x", "/a%2Fb", "%3F?x"),
        ("/?", "/", ""),
        ("/login?next=http://h/x", "/login", "next=http://h/x"),
        ("//h/x", "//h/x", ""),
        ("http://h", "/", ""),
        ("http://h/", "/", ""),
        ("HTTPS://u@h:1/a/b?c/d?e", "/a/b", "c/d?e"),
        ("http://h?q=/x", "/", "q=/x"),
        ("*", "*", ""),
        ("h:443", "h:443", ""),
    ],
)
def test_the_path_and_the_query_are_those_of_the_target(target: str, path: str, query: str) -> None:
    request = Request(target=target)
    assert (request.path, request.query) == (path, query)


@pytest.mark.parametrize(
    "attribute, value, fault",
    [
        ("method", "", "method"),
        ("method", "GE T", "method"),
        ("method", "GET\r\n", "method"),
        ("target", "", "target"),
        ("target", "/a b", "target"),
        ("target", "/a\r\nX: 1", "target"),
        ("target", "/\0", "target"),
        ("target", "/\x7f", "target"),
        ("target", "/\xe9", "target"),
        ("target", "/a#b", "target"),
        ("version", "", "version"),
        ("version", "HTTP/2.0", "version"),
        ("version", "HTTP/1.1\r\n", "version"),
        ("version", "HTTP/1.\u0661", "version"),
    ],
)
def test_a_malformed_request_is_neither_made_nor_sent(attribute: str, value: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Request(**{attribute: value})  # type: ignore[arg-type]
    request = Request()
    setattr(request, attribute, value)
    with pytest.raises(ValueError, match=fault):
        request.serialize()


def test_a_response_has_the_usual_reason_unless_it_is_given_one() -> None:
    assert Response(101).reason == "Switching Protocols"
    assert Response(404, "Gone Fishing").reason == "Gone Fishing"
    assert Response(404, "").reason == ""
    assert Response(599).reason == ""


def test_a_response_is_serialized_with_the_length_of_its_body() -> None:
    response = Response(200, headers={"X": "1"}, body=b"hello")
    assert response.serialize() == b"HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 5\r\n\r\nhello"


def test_an_empty_body_has_a_length_too() -> None:
    assert Response(403).serialize() == b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("status", [100, 101, 199, 204, 304])
def test_a_status_without_a_body_has_no_length(status: int) -> None:
    assert b"Content-Length" not in Response(status).serialize()
    with pytest.raises(ValueError, match="has no body"):
        Response(status, body=b"x")


def test_a_length_that_is_given_is_not_repeated() -> None:
    response = Response(200, headers={"content-length": "5"}, body=b"hello")
    assert response.serialize() == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


def test_the_answer_to_a_head_request_may_have_a_length_without_a_body() -> None:
    assert Response(200, headers={"Content-Length": "5"}).serialize().endswith(b"\r\nContent-Length: 5\r\n\r\n")


def test_a_length_that_is_wrong_is_refused() -> None:
    with pytest.raises(ValueError, match="Content-Length is 4, but the body has 5 bytes"):
        Response(200, headers={"Content-Length": "4"}, body=b"hello").serialize()


def test_a_body_with_a_transfer_coding_has_no_length() -> None:
    response = Response(200, headers={"Transfer-Encoding": "chunked"}, body=b"0\r\n\r\n")
    assert response.serialize() == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "attribute, value, error",
    [
        ("status", 99, ValueError),
        ("status", 1000, ValueError),
        ("status", "200", ValueError),
        ("status", True, ValueError),
        ("reason", "a\r\nb", ValueError),
        ("reason", "caf\u0113", ValueError),
        ("reason", b"OK", TypeError),
        ("body", "hello", TypeError),
    ],
)
def test_a_malformed_response_is_neither_made_nor_sent(attribute: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        Response(**{"status": 200, attribute: value})  # type: ignore[arg-type]
    response = Response(200)
    setattr(response, attribute, value)
    with pytest.raises(error):
        response.serialize()


def test_a_refusal_is_one_line_of_plain_text_and_ends_the_connection() -> None:
    response = refusal(405, "only GET opens a WebSocket", [("Allow", "GET")])
    assert (response.status, response.body) == (405, b"only GET opens a WebSocket\n")
    assert response.headers["Connection"] == "close"
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Content-Length"] == "27"
    assert response.headers["Date"].endswith(" GMT")
    assert response.headers["Allow"] == "GET"
    assert response.serialize().count(b"Content-Length") == 1


def test_a_refusal_that_asks_for_an_upgrade_names_it_in_connection() -> None:
    assert refusal(426, "no", {"Upgrade": "websocket"}).headers["Connection"] == "Upgrade, close"


def test_a_date_is_in_the_format_of_http() -> None:
    assert http_date(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert http_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert http_date(1735689599.9) == "Tue, 31 Dec 2024 23:59:59 GMT"


def test_a_request_is_parsed_however_it_is_split() -> None:
    head = b"GET /chat?a HTTP/1.1\r\nHost: example.com\r\nX:\r\nx: \t\xe9 b\t \r\nY:a:b\r\n\r\n"
    request, rest = parse_request(head + b"\x81\x85\r\n\0")
    fields = [("Host", "example.com"), ("X", ""), ("x", "\xe9 b"), ("Y", "a:b")]
    assert request == Request("GET", "/chat?a", fields)
    assert request.headers.items() == fields
    assert rest == b"\x81\x85\r\n\0"


@pytest.mark.parametrize("data", [bytearray(b"GET / HTTP/1.1\r\n\r\n"), memoryview(b"GET / HTTP/1.1\r\n\r\n")])
def test_a_request_is_parsed_from_any_buffer(data: bytearray | memoryview) -> None:
    assert RequestParser().feed(data) == Request()


def test_what_comes_behind_the_head_is_kept_as_it_is() -> None:
    parser = RequestParser(max_size=18)
    assert parser.feed(b"GET / HTTP/1.1\r\n\r") is None
    assert parser.rest == b""
    assert parser.feed(b"\n" + bytes(range(256)) * 100) is not None
    assert parser.rest == bytes(range(256)) * 100


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1", "HTTP/1.2"])
def test_every_version_1_is_parsed(version: str) -> None:
    assert parse_request(f"GET / {version}\r\n\r\n".encode())[0].version == version


def test_empty_lines_in_front_of_a_request_are_skipped() -> None:
    assert parse_request(b"\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\nrest") == (Request(), b"rest")


CONTROL = (400, "the head has a control character or a line that does not end with CR LF")
REQUEST_LINE = (400, "the request line is not a method, a target and an HTTP version")


@pytest.mark.parametrize(
    "head, answer",
    [
        (b"\n", CONTROL),
        (b"\r\r\n", CONTROL),
        (b"\0", CONTROL),
        (b"\x16\x03\x01\x02\x00\x01\x00", CONTROL),  # a TLS ClientHello
        (b"GET / HTTP/1.1\n", CONTROL),
        (b"GET / HTTP/1.1\r\nHost: x\n\r\n", CONTROL),
        (b"GET / HTTP/1.1\rHost: x\r\n\r\n", CONTROL),
        (b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", CONTROL),
        (b"GET / HTTP/1.1\r\nA: b\r\r\n\r\n", CONTROL),
        (b"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", CONTROL),
        (b"GET / HTTP/1.1\r\nA: \x7f\r\n\r\n", CONTROL),
        (b"GET / HTTP/1.1\r\nA: \x0b\r\n\r\n", CONTROL),
        (b"GET / HTTP/1.1\r\n\r\r\n", CONTROL),
        (b"GET /\r\n", REQUEST_LINE),
        (b"GET\r\n", REQUEST_LINE),
        (b"hello there\r\n", REQUEST_LINE),
        (b" GET / HTTP/1.1\r\n", REQUEST_LINE),
        (b"GET  / HTTP/1.1\r\n", REQUEST_LINE),
        (b"GET / HTTP/1.1 \r\n", REQUEST_LINE),
        (b"GET /a b HTTP/1.1\r\n", REQUEST_LINE),
        (b"G(T / HTTP/1.1\r\n", (400, "the method is not a token")),
        (b"GET\t/ / HTTP/1.1\r\n", (400, "the method is not a token")),
        (b"\xc9 / HTTP/1.1\r\n", (400, "the method is not a token")),
        (b"GET /\xe9 HTTP/1.1\r\n", (400, "the request target is not valid")),
        (b"GET /a\tb HTTP/1.1\r\n", (400, "the request target is not valid")),
        (b"GET /#a HTTP/1.1\r\n", (400, "the request target is not valid")),
        (b"GET  HTTP/1.1\r\n", (400, "the request target is not valid")),
        (b"GET / http/1.1\r\n", (400, "the HTTP version is not valid")),
        (b"GET / HTTP/1\r\n", (400, "the HTTP version is not valid")),
        (b"GET / HTTP/1.11\r\n", (400, "the HTTP version is not valid")),
        (b"GET / HTTP/1.x\r\n", (400, "the HTTP version is not valid")),
        (b"GET / HTTP/1.\xb2\r\n", (400, "the HTTP version is not valid")),
        (b"GET / HTTP/11.\r\n", (400, "the HTTP version is not valid")),
        (b"GET / RTSP/1.0\r\n", (400, "the HTTP version is not valid")),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (505, "only HTTP/1.1 is spoken here")),
        (b"GET / HTTP/0.9\r\n", (505, "only HTTP/1.1 is spoken here")),
        (b"GET / HTTP/1.1\r\n A: b\r\n\r\n", (400, "a header line begins with a space or a tab")),
        (b"GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n", (400, "a header line begins with a space or a tab")),
        (b"GET / HTTP/1.1\r\nA: b\r\n \r\n\r\n", (400, "a header line begins with a space or a tab")),
        (b"GET / HTTP/1.1\r\nA\r\n\r\n", (400, "a header line has no colon")),
        (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", (400, "a header's name is not a token")),
        (b"GET / HTTP/1.1\r\n: b\r\n\r\n", (400, "a header's name is not a token")),
        (b"GET / HTTP/1.1\r\nA B: c\r\n\r\n", (400, "a header's name is not a token")),
        (b"GET / HTTP/1.1\r\n\xc9: c\r\n\r\n", (400, "a header's name is not a token")),
    ],
)
def test_a_malformed_request_is_refused_with_its_fault(head: bytes, answer: tuple[int, str]) -> None:
    assert refused(head) == answer


def test_a_fault_is_found_before_the_line_is_complete() -> None:
    parser = RequestParser()
    assert parser.feed(b"GET / HTTP/1.1\r") is None
    with pytest.raises(HandshakeError, match="control character"):
        parser.feed(b"H")


def test_a_head_may_have_as_many_bytes_as_max_size() -> None:
    head = b"GET / HTTP/1.1\r\nA: " + b"a" * 100 + b"\r\n\r\n"
    request, rest = parse_request(head + b"rest", max_size=len(head))
    assert request.headers["A"] == "a" * 100
    assert rest == b"rest"
    limit = len(head) - 1
    assert refused(head + b"rest", max_size=limit) == (431, f"the head is longer than {limit} bytes")


@pytest.mark.parametrize("head", [b"a" * 31, b"\r\n" * 16, b"GET / HTTP/1.1\r\n" + b"A:b\r\n" * 10])
def test_a_head_that_never_ends_is_refused_at_max_size(head: bytes) -> None:
    assert refused(head, max_size=30) == (431, "the head is longer than 30 bytes")


def test_what_comes_behind_max_size_is_not_looked_at() -> None:
    assert refused(b"GET / HTTP/1.1\r\nA: b\0", max_size=20) == (431, "the head is longer than 20 bytes")
    assert refused(b"GET / HTTP/1.1\r\nA: b\0", max_size=21) == CONTROL
    assert refused(b"GET / HTTP/1.1\r\n\r\n", max_size=17) == (431, "the head is longer than 17 bytes")


def test_a_head_may_have_as_many_lines_as_max_lines() -> None:
    head = b"GET / HTTP/1.1\r\nA: 1\r\nA: 2\r\n"
    assert parse_request(head + b"\r\n", max_lines=3)[0].headers.get_all("A") == ["1", "2"]
    assert refused(head + b"A: 3\r\n\r\n", max_lines=3) == (431, "the head has more than 3 lines")


def test_empty_lines_in_front_count_as_lines() -> None:
    assert parse_request(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", max_lines=3)[0] == Request()
    assert refused(b"\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", max_lines=3)[0] == 431


def test_the_default_limits_are_16_kib_and_128_lines() -> None:
    start = b"GET / HTTP/1.1\r\n"
    assert parse_request(start + b"A: b\r\n" * 127 + b"\r\n")[0].headers.get_all("A") == ["b"] * 127
    assert refused(start + b"A: b\r\n" * 128 + b"\r\n") == (431, "the head has more than 128 lines")
    filler = b"A: " + b"b" * (16384 - len(start) - 7) + b"\r\n\r\n"
    assert parse_request(start + filler)[1] == b""
    assert refused(start + b"A" + filler) == (431, "the head is longer than 16384 bytes")


@pytest.mark.parametrize("size", [1, 7, 16384])
def test_each_byte_is_looked_at_a_bounded_number_of_times(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0
    check_bytes = RequestParser._check_bytes

    def count(self: RequestParser, text: bytes) -> None:
        nonlocal looked_at
        looked_at += len(text)
        check_bytes(self, text)

    monkeypatch.setattr(RequestParser, "_check_bytes", count)
    head = b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 8000 + b"\r\nC: " + b"\r\nD: e" * 100 + b"\r\n\r\n"
    pieces = [head[start : start + size] for start in range(0, len(head), size)]
    assert parse(RequestParser(), pieces)[0].headers["A"] == "b" * 8000
    assert looked_at <= 2 * len(head)


def verdict(pieces: list[bytes]) -> tuple[object, ...]:
    try:
        request, rest = parse(RequestParser(max_size=60, max_lines=4), pieces)
    except HandshakeError as error:
        return ("refused", str(error))
    except EOFError:
        return ("more",)
    return request.serialize(), rest


def test_the_verdict_does_not_depend_on_how_the_bytes_are_split() -> None:
    source = random.Random(1)
    lines = [b"GET / HTTP/1.1\r\n", b"GET / HTTP/2.0\r\n", b"A: b\r\n", b"\r\n"]
    words = [*lines, b"A:b", b"\r", b"\n", b" ", b"\0", b"xy", b":"]
    weights = [9, 1, 9, 9, 3, 1, 1, 1, 1, 3, 1]
    seen = set()
    for _ in range(2000):
        data = b"".join(source.choices(words, weights, k=source.randrange(1, 14)))
        seen.add(however_split(verdict, data)[-1])
    assert {"the head is longer than 60 bytes", "the head has more than 4 lines", "a header line has no colon"} < seen


def test_a_response_is_parsed_however_it_is_split() -> None:
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX: \xe9\r\n\r\n"
    response, rest = parse_response(head + b"\x81\x00")
    assert response == Response(101, "Switching Protocols", [("Upgrade", "websocket"), ("X", "\xe9")])
    assert rest == b"\x81\x00"


@pytest.mark.parametrize(
    "line, status, reason",
    [
        (b"HTTP/1.1 200 OK", 200, "OK"),
        (b"HTTP/1.0 200 Connection established", 200, "Connection established"),
        (b"HTTP/1.1 200 ", 200, ""),
        (b"HTTP/1.1 200", 200, ""),
        (b"HTTP/1.1 404 Pas trouv\xe9\t!", 404, "Pas trouv\xe9\t!"),
        (b"HTTP/1.1 999 Denied", 999, "Denied"),
    ],
)
def test_a_status_line_is_read(line: bytes, status: int, reason: str) -> None:
    response, _ = parse_response(line + b"\r\n\r\n")
    assert (response.status, response.reason) == (status, reason)


def test_interim_responses_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    response, rest = parse_response(interim + b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\nrest")
    assert response == Response(101, headers={"A": "b"})
    assert rest == b"rest"


def test_interim_responses_count_for_the_limits() -> None:
    data = b"HTTP/1.1 100 \r\n\r\n" * 10
    assert failure(data, max_size=100) == "the response is not valid: the head is longer than 100 bytes"
    assert failure(data, max_lines=9) == "the response is not valid: the head has more than 9 lines"


@pytest.mark.parametrize(
    "head, fault",
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not begin with HTTP/1"),
        (b"HTTP/2 200 OK\r\n", "does not begin with HTTP/1"),
        (b"HTTP/2.0 200 OK\r\n", "does not begin with HTTP/1"),
        (b"ICY 200 OK\r\n", "does not begin with HTTP/1"),
        (b" HTTP/1.1 200 OK\r\n", "does not begin with HTTP/1"),
        (b"HTTP/1.1\r\n", "status"),
        (b"HTTP/1.1  200 OK\r\n", "status"),
        (b"HTTP/1.1 20 OK\r\n", "status"),
        (b"HTTP/1.1 2000 OK\r\n", "status"),
        (b"HTTP/1.1 099 OK\r\n", "status"),
        (b"HTTP/1.1 +20 OK\r\n", "status"),
        (b"HTTP/1.1 2\xb20 OK\r\n", "status"),
        (b"HTTP/1.1 OK\r\n", "status"),
        (b"HTTP/1.0 101 Switching Protocols\r\n", "HTTP/1.0 has no status 101"),
        (b"HTTP/1.0 100 Continue\r\n", "HTTP/1.0 has no status 100"),
        (b"HTTP/1.1 200 OK\n", "control character"),
        (b"HTTP/1.1 200 \0\r\n", "control character"),
        (b"HTTP/1.1 200 OK\r\nA\r\n", "no colon"),
        (b"HTTP/1.1 200 OK\r\n\tA: b\r\n", "space or a tab"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "control character"),  # a TLS alert
    ],
)
def test_a_malformed_response_is_refused_with_its_fault(head: bytes, fault: str) -> None:
    assert fault in failure(head)


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1", "HTTP/1.2"])
def test_a_responses_version_is_told_by_its_parser(version: str) -> None:
    parser = ResponseParser()
    assert parser.version == ""
    parser.feed(f"{version} 200 OK\r\n\r\n".encode())
    assert parser.version == version
