"""A scripted peer: one end of a connection that does what a test tells it to, right or wrong, and no more."""

from __future__ import annotations

import json
import struct
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import gevent
from gevent import socket, ssl

from ..dial import dial, dial_unix, resolve
from ..handshake import ClientHandshake, accept_key
from ..headers import Headers, HeadersLike
from ..http11 import Request, RequestParser, Response, ResponseParser
from ..url import parse_url
from . import wire
from .wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame

if TYPE_CHECKING:
    from typing_extensions import Self


class ScriptedPeer:
    """One end of a connection whose other end is under test.

    It answers nothing by itself, neither pings nor a close frame. What waits does so for ``timeout`` seconds at most,
    then raises TimeoutError; what was to be expected and did not come raises AssertionError.

    Args:
        sock: a connected socket of gevent's. The opening handshake is done on it by `accept` or `open`, or has been.
        client: whether this is the client's side, which masks its frames.
        timeout: in seconds.

    Attributes:
        request: the request that `accept` or `read_request` has read; None before.
        response: the response that `open` has read; None before.
    """

    def __init__(self, sock: Any, *, client: bool, timeout: float = 5) -> None:
        self.sock = sock
        self.client = client
        self.timeout = timeout
        self.request: Request | None = None
        self.response: Response | None = None
        self._frames: deque[Frame] = deque()
        self._buffer = bytearray()
        self._ended = False
        sock.settimeout(timeout)

    @classmethod
    def connect(cls, url: str, *, headers: HeadersLike = None, timeout: float = 5) -> Self:
        """Connect to a server, and do the opening handshake; raises as `open` does, and OSError.

        Args:
            url: ``ws://host:port/path`` or ``ws+unix:/path/of/a/socket:/path``.
            headers: further headers of the request.
            timeout: in seconds, from now on for each step.
        """
        target = parse_url(url)
        if target.secure:
            raise ValueError("a scripted peer speaks no TLS: give it a socket that does")
        sock = (
            dial(resolve(target.host, target.port), None) if target.unix_path is None else dial_unix(target.unix_path)
        )
        peer = cls(sock, client=True, timeout=timeout)
        try:
            peer.open(url, headers=headers)
        except BaseException:
            peer.close()
            raise
        return peer

    # The opening handshake

    def open(self, url: str = "ws://localhost/", *, headers: HeadersLike = None) -> Response:
        """Do the client's part of the opening handshake; raises HandshakeError where it is refused."""
        handshake = ClientHandshake(parse_url(url), headers=headers)
        self.send_bytes(handshake.serialize())
        self.response = self._read_head(ResponseParser())
        handshake.finish(self.response)
        return self.response

    def accept(self, *, headers: HeadersLike = None) -> Request:
        """Do the server's part of the opening handshake, whatever the request is; returns the request.

        ``headers`` are added to those that the answer needs, or replace them.
        """
        request = self.read_request()
        key = accept_key(request.headers.get("Sec-WebSocket-Key") or "")
        fields = Headers({"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": key})
        for name, value in Headers(headers).items():
            fields[name] = value
        self.answer(Response(101, headers=fields))
        return request

    def read_request(self) -> Request:
        """Read the head of a request; raises HandshakeError where it is none."""
        self.request = self._read_head(RequestParser())
        return self.request

    def answer(self, response: Response) -> None:
        """Send a response, to a request that `read_request` has read."""
        self.send_bytes(response.serialize())

    def _read_head(self, parser: Any) -> Any:
        while data := self.sock.recv(65536):
            head = parser.feed(data)
            if head is not None:
                self._frames += self._look_at(parser.rest)
                return head
        raise EOFError("the stream has ended inside of the opening handshake")

    # Sending

    def send_bytes(self, data: bytes) -> None:
        """Send exactly these bytes."""
        self.sock.sendall(data)

    def send_pieces(self, pieces: list[bytes]) -> None:
        """Send piece by piece, and let the other side read each one on its own."""
        for piece in pieces:
            self.sock.sendall(piece)
            gevent.sleep(0)
            gevent.sleep(0)

    def send_bytewise(self, data: bytes) -> None:
        """Send byte by byte."""
        self.send_pieces([data[i : i + 1] for i in range(len(data))])

    def frame(self, opcode: int, payload: bytes = b"", **bits: Any) -> bytes:
        """The bytes of a frame, masked as this side must; ``bits`` are those of `wire.frame` and may break any rule."""
        bits.setdefault("key", wire.random_key() if self.client else None)
        return wire.frame(opcode, payload, **bits)

    def send(self, opcode: int, payload: bytes = b"", **bits: Any) -> None:
        """Send a frame; see `frame`."""
        self.send_bytes(self.frame(opcode, payload, **bits))

    def text(self, text: str, **bits: Any) -> None:
        self.send(TEXT, text.encode(), **bits)

    def binary(self, data: bytes, **bits: Any) -> None:
        self.send(BINARY, data, **bits)

    def json(self, value: Any) -> None:
        self.text(json.dumps(value))

    def message_frames(self, opcode: int, parts: list[bytes]) -> bytes:
        """The bytes of one message, a frame for each part."""
        last = len(parts) - 1
        return b"".join(
            self.frame(CONTINUATION if index else opcode, part, fin=index == last) for index, part in enumerate(parts)
        )

    def ping(self, payload: bytes = b"") -> None:
        self.send(PING, payload)

    def pong(self, payload: bytes = b"") -> None:
        self.send(PONG, payload)

    def send_close(self, code: int | None = 1000, reason: str = "") -> None:
        self.send(CLOSE, wire.close_payload(code, reason))

    # Receiving

    def read_some(self, size: int = 65536) -> bytes:
        """One read of the socket; b"" at the end of the stream."""
        if self._ended:
            return b""
        try:
            data: bytes = self.sock.recv(size)
        except ssl.SSLZeroReturnError:  # how older versions of gevent tell the end of a stream over TLS
            data = b""
        self._ended = not data
        self._frames += self._look_at(data)
        return data

    def read_frame(self) -> Frame:
        """The next frame; EOFError at the end of the stream."""
        while not self._frames:
            self._read_more()
        return self._frames.popleft()

    def read_message(self) -> str | bytes:
        """The next whole message, of frames that are not compressed; control frames before its end are passed over."""
        opcode, parts = 0, b""
        while True:
            frame = self.read_frame()
            if frame.opcode < CLOSE:
                opcode, parts = opcode or frame.opcode, parts + frame.payload
                if frame.fin:
                    return parts.decode() if opcode == TEXT else parts

    def read_close(self) -> tuple[int, str]:
        """Read up to the close frame; its code, 1005 where it has none, and its reason."""
        while True:
            frame = self.read_frame()
            if frame.opcode == CLOSE:
                return wire.read_close_payload(frame.payload)

    def read_eof(self) -> None:
        """Read to the end of the stream, which must come and be in order."""
        while self.read_some():
            pass

    def read_reset(self) -> None:
        """Read until the connection breaks, in order or by a reset."""
        try:
            while self.read_some():
                pass
        except ConnectionError:
            self._ended = True

    def expect(self, opcode: int, payload: bytes | None = None) -> Frame:
        """The next frame, which must be one of this kind, with this payload where one is given."""
        frame = self.read_frame()
        assert frame.opcode == opcode, f"expected a frame with the opcode {opcode:#x}, not {frame}"
        assert payload is None or frame.payload == payload, f"expected {payload!r}, not {frame}"
        return frame

    def expect_message(self, message: str | bytes) -> None:
        """The next message must be this one."""
        found = self.read_message()
        assert found == message, f"expected {message!r}, not {found!r}"

    def expect_close(self, code: int, reason: str | None = None) -> None:
        """The next frame must be a close frame with this code, and with this reason where one is given."""
        frame = self.expect(CLOSE)
        found = wire.read_close_payload(frame.payload)
        assert found == (code, found[1] if reason is None else reason), f"expected {code} {reason or ''}, not {found}"

    def _read_more(self) -> None:
        if not self.read_some():
            raise EOFError("the stream has ended")

    def _look_at(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete."""
        self._buffer += data
        frames = []
        while (frame := wire.take_frame(self._buffer)) is not None:
            frames.append(frame)
        return frames

    # The end

    def finish_close(self, code: int | None = 1000, reason: str = "") -> tuple[int, str]:
        """Answer the other side's close frame, as an endpoint must; its code and reason."""
        seen = self.read_close()
        self.send_close(code, reason)
        return seen

    def half_close(self) -> None:
        """End this direction, over TLS with a close_notify, and stay able to read."""
        half_close(self.sock)

    def truncate(self) -> None:
        """End this direction of the TCP connection, over TLS without the close_notify that should come before."""
        truncate(self.sock)

    def reset(self) -> None:
        """Close with a TCP reset; what the kernel still holds is thrown away."""
        reset(self.sock)

    def close(self) -> None:
        """Close; it is a reset when something was left unread, which may be a TLS client's session tickets."""
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def half_close(sock: Any) -> None:
    """End this direction, over TLS with a close_notify, and stay able to read."""
    if isinstance(sock, ssl.SSLSocket):
        with suppress(ssl.SSLError):  # it is sent; then the other side's close_notify should come next
            sock._sslobj.shutdown()  # type: ignore[attr-defined]
    truncate(sock)


def truncate(sock: Any) -> None:
    """End this direction of the TCP connection, over TLS without the close_notify that should come before."""
    socket.socket.shutdown(sock, socket.SHUT_WR)


def reset(sock: Any) -> None:
    """Close with a TCP reset; what the kernel still holds is thrown away."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
