"""The opening handshake spoken by hand, right or wrong, over a socket."""

from __future__ import annotations

from typing import Any

from geventws.body import BodyParser
from geventws.http11 import Response, ResponseParser

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

_HANDSHAKE = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def request(
    path: str = "/", headers: dict[str, str | None] | None = None, *, method: str = "GET", version: str = "HTTP/1.1"
) -> bytes:
    """An opening handshake's request for `KEY`; ``headers`` are set or, with None, left out."""
    fields = _HANDSHAKE | (headers or {})
    lines = [f"{name}: {value}\r\n" for name, value in fields.items() if value is not None]
    return f"{method} {path} {version}\r\n{''.join(lines)}\r\n".encode("latin-1")


def plain_request(path: str = "/", *, method: str = "GET") -> bytes:
    """A request that asks for no WebSocket."""
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def answer(key: str, *lines: str) -> bytes:
    """The 101 that accepts a request with this key."""
    from geventws.handshake import accept_key

    head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*head, f"Sec-WebSocket-Accept: {accept_key(key)}", *lines, "", ""]).encode("latin-1")


def read_response(sock: Any, timeout: float = 5) -> tuple[Response, bytes]:
    """The response with its body, and what came behind a 101."""
    sock.settimeout(timeout)
    parser = ResponseParser()
    response = None
    while response is None:
        data = sock.recv(65536)
        if not data:
            raise EOFError("the stream has ended without a response")
        response = parser.feed(data)
    if response.status == 101:
        return response, parser.rest
    body = BodyParser(response, 2**30)
    body.feed(parser.rest)
    while not body.done and (data := sock.recv(65536)):
        body.feed(data)
    response.body = body.body
    return response, b""
