"""A scripted peer: speaks frames by hand over a socket, and has everything it reads judged."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import gevent

from . import wire
from .checker import Deflate, StreamChecker
from .links import half_close, reset, truncate
from .wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame


class Peer:
    """One end of a connection whose other end is under test.

    Everything waits at most ``timeout`` seconds, then raises TimeoutError. What arrives goes through a
    `StreamChecker`, so each test also checks the stream.
    """

    def __init__(self, sock: Any, *, client: bool, deflate: Deflate | None = None, timeout: float = 5) -> None:
        self.sock = sock
        self.client = client
        self.checker = StreamChecker(masked=not client, deflate=deflate)
        self.timeout = timeout
        self._frames: deque[Frame] = deque()
        self._messages_read = 0
        self._ended = False
        sock.settimeout(timeout)

    # sending

    def send_bytes(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_pieces(self, pieces: list[bytes]) -> None:
        """Send piece by piece, and let the other side read each one on its own."""
        for piece in pieces:
            self.sock.sendall(piece)
            gevent.sleep(0)
            gevent.sleep(0)

    def send_bytewise(self, data: bytes) -> None:
        self.send_pieces([data[i : i + 1] for i in range(len(data))])

    def frame(self, opcode: int, payload: bytes = b"", **bits: Any) -> bytes:
        """The bytes of a frame, masked as this side must; ``bits`` are those of `wire.frame` and may break any rule."""
        bits.setdefault("key", wire.random_key() if self.client else None)
        return wire.frame(opcode, payload, **bits)

    def send(self, opcode: int, payload: bytes = b"", **bits: Any) -> None:
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

    # receiving

    def read_some(self, size: int = 65536) -> bytes:
        """One read of the socket; b"" at the end of the stream."""
        if self._ended:
            return b""
        data: bytes = self.sock.recv(size)
        self._ended = not data
        self._frames += self.checker.feed(data)
        return data

    def read_frame(self) -> Frame:
        """The next frame; EOFError at the end of the stream."""
        while not self._frames:
            if not self.read_some():
                self.checker.finish()
                raise EOFError("the stream has ended")
        return self._frames.popleft()

    def read_message(self) -> str | bytes:
        """The next whole message; frames are not left behind for `read_frame`."""
        while self._messages_read == len(self.checker.messages):
            if not self.read_some():
                self.checker.finish()
                raise EOFError("the stream has ended")
        self._frames.clear()
        self._messages_read += 1
        return self.checker.messages[self._messages_read - 1]

    def read_close(self) -> tuple[int, str]:
        """Read up to the close frame; its (code, reason)."""
        while self.checker.closed is None:
            if not self.read_some():
                self.checker.finish()
                raise EOFError("the stream has ended without a close frame")
        return self.checker.closed

    def read_eof(self) -> None:
        """Read to the end of the stream, which must come and be in order."""
        while self.read_some():
            pass
        self.checker.finish()

    def read_reset(self) -> None:
        """Read until the connection breaks, in order or by a reset; what came before must be in order."""
        try:
            while self.read_some():
                pass
        except ConnectionError:
            self._ended = True

    # the end

    def finish_close(self, code: int | None = 1000, reason: str = "") -> tuple[int, str]:
        """Answer the other side's close frame, as an endpoint must; its (code, reason)."""
        seen = self.read_close()
        self.send_close(code, reason)
        return seen

    def half_close(self) -> None:
        half_close(self.sock)

    def truncate(self) -> None:
        truncate(self.sock)

    def reset(self) -> None:
        reset(self.sock)

    def close(self) -> None:
        """Close; it is a reset when something was left unread, which may be a TLS client's session tickets."""
        self.sock.close()
