"""An upgrade cannot smuggle: one with a body is refused, and no byte behind a request is read as HTTP.

This is the library's own server; under WSGI servers `tests/hosts` shows the same.
"""

from __future__ import annotations

import pytest
from serving import echo
from tools import raw_http
from tools.timing import wait_until
from tools.wire import however_split

from geventws.http11 import RequestParser

SMUGGLED = raw_http.plain_request("/admin")


@pytest.fixture
def asked(serving):
    """A server that remembers each request that it has seen."""
    seen = []

    def remember(request):
        seen.append(request.target)

    return serving.start(echo, process_request=remember), seen


def converse(serving, server, data):
    """All that the server answers to these bytes, up to its end of the stream."""
    sock = serving.dial(server)
    sock.sendall(data)
    answer = b""
    while piece := sock.recv(65536):
        answer += piece
    return answer


BODIES = {
    "Content-Length": ({"Content-Length": "11"}, b"hello world"),
    "Content-Length of nothing that comes": ({"Content-Length": "5"}, b""),
    "Content-Length that covers a request": ({"Content-Length": str(len(SMUGGLED))}, SMUGGLED),
    "Content-Length with a sign": ({"Content-Length": "+0"}, b""),
    "Content-Length twice": ({"Content-Length": "0\r\nContent-Length: 5"}, b"hello"),
    "Content-Length in a list": ({"Content-Length": "0, 5"}, b"hello"),
    "chunked": ({"Transfer-Encoding": "chunked"}, b"0\r\n\r\n"),
    "chunked and Content-Length": ({"Transfer-Encoding": "chunked", "Content-Length": "0"}, b"0\r\n\r\n"),
    "identity": ({"Transfer-Encoding": "identity"}, b""),
    "an unknown coding": ({"Transfer-Encoding": "xchunked"}, b"0\r\n\r\n"),
    "a coding behind a tab": ({"Transfer-Encoding": "\tchunked"}, b"0\r\n\r\n"),
}


@pytest.mark.parametrize("body", BODIES)
def test_a_request_with_a_body_is_refused(serving, asked, body):
    server, seen = asked
    fields, data = BODIES[body]
    answer = converse(serving, server, raw_http.request(headers=fields) + data + SMUGGLED)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"\r\nConnection: close\r\n" in answer
    assert "/admin" not in seen


def test_a_request_with_an_empty_body_is_none_with_a_body(serving, asked):
    server, _ = asked
    peer = serving.open(server, raw_http.request(headers={"Content-Length": "0"}))
    peer.text("hello")
    assert peer.read_message() == "hello"
    peer.close()


REFUSED = {
    "wrong version": raw_http.request(headers={"Sec-WebSocket-Version": "99"}),
    "no key": raw_http.request(headers={"Sec-WebSocket-Key": None}),
    "another origin": raw_http.request(headers={"Origin": "http://elsewhere.example"}),
    "no upgrade": raw_http.plain_request(),
    "another method": raw_http.request(method="POST"),
    "malformed": b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    "obsolete folding": b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n",
    "a bare line feed": b"GET / HTTP/1.1\nHost: x\n\n",
}


@pytest.mark.parametrize("refused", REFUSED)
def test_nothing_is_read_as_http_after_a_refusal(serving, asked, refused):
    server, seen = asked
    answer = converse(serving, server, REFUSED[refused] + SMUGGLED + raw_http.request("/admin"))
    assert answer.startswith(b"HTTP/1.1 4")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"\r\nConnection: close\r\n" in answer or b"\r\nConnection: upgrade, close\r\n" in answer
    assert "/admin" not in seen


def test_nothing_is_read_as_http_after_an_acceptance(serving, asked):
    """What follows is a frame, and this is none: its first byte is "G", with RSV1 and a reserved opcode."""
    server, seen = asked
    sock = serving.dial(server)
    sock.sendall(raw_http.request("/first") + SMUGGLED)
    response, rest = raw_http.read_response(sock)
    assert response.status == 101
    while piece := sock.recv(65536):
        rest += piece
    assert b"HTTP" not in rest
    assert rest[:4] == b"\x88" + rest[1:2] + b"\x03\xea"  # a close frame with 1002
    assert seen == ["/first"]


def test_nothing_is_read_as_http_after_an_answer_of_the_program(serving):
    from geventws.http11 import Response

    seen = []

    def answer(request):
        seen.append(request.target)
        return Response(200, body=b"hello")

    server = serving.start(echo, process_request=answer)
    got = converse(serving, server, raw_http.plain_request("/first") + SMUGGLED)
    assert got.count(b"HTTP/1.1") == 1
    assert seen == ["/first"]


def test_nothing_is_read_as_http_after_the_handler_has_returned(serving):
    server = serving.start(lambda ws: None)
    peer = serving.open(server)
    assert peer.read_close() == (1000, "")
    peer.send_bytes(SMUGGLED)
    peer.read_reset()
    peer.close()
    wait_until(lambda: not server.clients)


@pytest.mark.parametrize("body", BODIES)
def test_the_outcome_is_the_same_however_the_bytes_are_split(body):
    from geventws.exceptions import HandshakeError

    fields, _data = BODIES[body]

    def parse(pieces):
        parser = RequestParser()
        try:
            for piece in pieces:
                request = parser.feed(piece)
                if request is not None:
                    return dict(request.headers.items())
        except HandshakeError as error:
            return str(error)
        return None

    however_split(parse, raw_http.request(headers=fields))
