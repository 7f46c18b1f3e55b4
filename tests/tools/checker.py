"""A strict judge of one direction of a connection: it accepts only what an excellent endpoint would send.

It has its own parser, shares nothing with the library, and never forgives: a stream that this accepts is a correct
one (RFC 6455 sections 5 to 8, RFC 7692).
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

from .wire import BINARY, CLOSE, CONTINUATION, PING, PONG, RSV1, TEXT, Frame, take_frame

_CLOSE_CODES = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014}


class StreamError(AssertionError):
    """The stream breaks a rule."""


class Deflate(NamedTuple):
    """What was agreed about permessage-deflate for the direction that is judged."""

    window_bits: int = 15
    no_context_takeover: bool = False


class StreamChecker:
    """Reads what one endpoint sends; raises StreamError at the first thing that endpoint must not do.

    Attributes:
        messages: the whole messages, str or bytes, in order.
        frames: every frame, in order.
        closed: the close frame's (code, reason), code 1005 where it had none; None as long as there is none.
    """

    def __init__(self, *, masked: bool, deflate: Deflate | None = None) -> None:
        self.masked = masked
        self.deflate = deflate
        self.messages: list[str | bytes] = []
        self.frames: list[Frame] = []
        self.closed: tuple[int, str] | None = None
        self._buffer = bytearray()
        self._opcode: int | None = None  # of the message that has begun and not ended
        self._compressed = False
        self._parts = bytearray()
        self._inflater: Any = None

    def feed(self, data: bytes) -> list[Frame]:
        """Judge more bytes; gives the frames that they complete."""
        self._require(not (data and self.closed), f"{len(data)} bytes after the close frame: {bytes(data[:20])!r}")
        self._buffer += data
        seen = len(self.frames)
        while (frame := self._take_frame()) is not None:
            self._judge(frame)
            self.frames.append(frame)
        return self.frames[seen:]

    def finish(self) -> None:
        """The stream has ended: it must end behind a whole frame, and outside a message unless a close frame cut it."""
        self._require(not self._buffer, f"the stream ends inside a frame: {bytes(self._buffer[:20])!r}")
        self._require(self.closed is not None or self._opcode is None, "the stream ends inside a message")

    @property
    def in_frame(self) -> bool:
        """Whether the last frame is not complete."""
        return bool(self._buffer)

    def _take_frame(self) -> Frame | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        self._judge_head(buffer[0], buffer[1])
        self._judge_length(buffer[1] & 0x7F)
        return take_frame(buffer)

    def _judge_length(self, length: int) -> None:
        """As soon as all of an extended length is there."""
        if length < 126:
            return
        size, shortest = (4, 126) if length == 126 else (10, 0x10000)
        if len(self._buffer) >= size:
            length = int.from_bytes(self._buffer[2:size], "big")
            self._require(length >= shortest, f"the length {length} is not in its shortest form")
            self._require(length < 1 << 63, f"the length {length} is too large")

    def _judge_head(self, first: int, second: int) -> None:
        opcode, rsv = first & 0x0F, first >> 4 & 7
        self._require(opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG), f"the opcode {opcode:#x} is reserved")
        self._require(bool(second & 0x80) == self.masked, f"masked is {bool(second & 0x80)}, not {self.masked}")
        if opcode >= CLOSE:
            self._require(bool(first & 0x80), "a control frame is fragmented")
            self._require(second & 0x7F <= 125, "a control frame is too long")
            self._require(rsv == 0, "RSV is set on a control frame")
        elif opcode == CONTINUATION:
            self._require(rsv == 0, "RSV is set on a continuation frame")
        else:
            self._require(rsv in ((0, RSV1) if self.deflate else (0,)), f"RSV is {rsv:03b}")

    def _judge(self, frame: Frame) -> None:
        self._require(self.closed is None, f"a frame after the close frame: {frame}")
        if frame.opcode == CLOSE:
            self._close(frame.payload)
        elif frame.opcode < CLOSE:
            self._data(frame)

    def _close(self, payload: bytes) -> None:
        if not payload:
            self.closed = (1005, "")
            return
        self._require(len(payload) > 1, "the close code is cut off")
        code = int.from_bytes(payload[:2], "big")
        self._require(code in _CLOSE_CODES or 3000 <= code <= 4999, f"the close code {code} is not allowed")
        self.closed = (code, self._text(payload[2:]))

    def _data(self, frame: Frame) -> None:
        if frame.opcode == CONTINUATION:
            self._require(self._opcode is not None, "a continuation frame continues nothing")
        else:
            self._require(self._opcode is None, "a message begins inside another one")
            self._opcode = frame.opcode
            self._compressed = frame.rsv == RSV1
        self._parts += frame.payload
        if frame.fin:
            payload = self._inflate(bytes(self._parts)) if self._compressed else bytes(self._parts)
            self.messages.append(self._text(payload) if self._opcode == TEXT else payload)
            self._parts.clear()
            self._opcode = None

    def _inflate(self, data: bytes) -> bytes:
        """One message (RFC 7692 section 7.2.2), with a window no larger than the one agreed on."""
        assert self.deflate is not None
        self._require(not data.endswith(b"\0\0\xff\xff"), "the tail of the last deflate block was not removed")
        self._require(bool(data), "a compressed message has no deflate block")
        if self._inflater is None or self.deflate.no_context_takeover:
            self._inflater = zlib.decompressobj(-self.deflate.window_bits)
        data += b"\0\0\xff\xff"
        result = bytearray()
        # zlib lets a reference reach as far back as the call's own output goes, whatever the window: small steps.
        step = 256 if self.deflate.window_bits < 15 else 0
        try:
            while data:
                result += self._inflater.decompress(data, step)
                data = self._inflater.unconsumed_tail
        except zlib.error as error:
            raise StreamError(f"a message cannot be inflated: {error}") from error
        self._require(not self._inflater.eof, "the deflate stream was ended")
        return bytes(result)

    @staticmethod
    def _text(payload: bytes) -> str:
        try:
            return payload.decode()
        except UnicodeDecodeError as error:
            raise StreamError(f"not UTF-8: {error}") from error

    @staticmethod
    def _require(holds: bool, problem: str) -> None:
        if not holds:
            raise StreamError(problem)
