"""Copying both ways at once between two of these: WebSockets, sockets, and files such as a process's pipes."""

from __future__ import annotations

import io
import socket as std_socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import gevent
from gevent import socket

from .events import Message
from .exceptions import ConnectionClosedError, ConnectionClosedOK
from .files import BinaryFile
from .frames import CloseCode, CloseFrame
from .opening import receive, send_all
from .rawfile import WebSocketIO
from .websocket import WebSocket

_CHUNK = 65536
_NORMAL = CloseFrame(CloseCode.NORMAL_CLOSURE)
_NEVER_SENT = (CloseCode.NO_STATUS_RCVD, CloseCode.ABNORMAL_CLOSURE, CloseCode.TLS_HANDSHAKE)


class Relayed(NamedTuple):
    """How many bytes `relay` has copied."""

    forth: int
    back: int


def relay(one: Any, other: Any, *, half_close: bool = False) -> Relayed:
    """Copy from one end to the other and back, until both directions have ended.

    An end is a WebSocket (or a binary file that its `makefile` gave), a connected socket, a pair (reader, writer) of
    binary files, or one binary file for both. Files must not hold the hub: gevent.subprocess's pipes and
    gevent.fileobject's files do not. What arrives is written at once, and nothing is read while that takes long.

    Between two WebSockets whole messages are copied, text as text, and the close code is passed on. Between a WebSocket
    and bytes, each piece that is read becomes a binary message, and the payload of each message, text in UTF-8, is
    written as it arrives.

    Where one direction ends, the end is passed on: a socket is shut down for writing (over TLS there is no such
    thing), a writer is closed, a WebSocket is closed with 1000. That a WebSocket is closed ends the other direction
    too. At the end the WebSockets are closed or closing; sockets and readers are left for the caller to close.

    Args:
        one, other: the ends.
        half_close: between a WebSocket and bytes, where the other side does the same: an empty message says that
            nothing more comes in its direction, and the connection is closed when both directions have ended. Without
            it, what the other side has not sent when the first direction ends is lost.

    Returns:
        How many bytes of payload were written to ``other`` and to ``one``.

    Raises:
        OSError, ConnectionClosed: one end has failed. The other is ended as well: a WebSocket is closed with the
            code that the failed one was closed with or else 1011, a socket is shut down, a writer closed. So it is
            when the caller is interrupted. A reader that only wants no more (BrokenPipeError) is no failure.
        TypeError, ValueError: an argument is not valid; nothing was done.
    """
    ends = _ends_of(one, other, half_close)
    directions = (_Direction(ends[0], ends[1]), _Direction(ends[1], ends[0]))
    greenlets = {gevent.spawn(direction.run): direction for direction in directions}
    failure: BaseException | None = None
    try:
        for end in ends:
            end.enter()
        for greenlet in gevent.iwait(list(greenlets)):
            direction = greenlets[greenlet]
            if direction.error is not None:
                raise direction.error
            if isinstance(direction.source, _WebSocketEnd):
                break
    except BaseException as error:
        failure = error
        raise
    finally:
        try:
            gevent.killall(list(greenlets))
        finally:
            for end in ends:
                end.leave(failure)
    return Relayed(directions[0].copied, directions[1].copied)


class _Direction:
    """One of the two directions; ``run`` is what its greenlet does."""

    def __init__(self, source: _End, target: _End) -> None:
        self.source = source
        self.target = target
        self.copied = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._copy()
        except Exception as error:  # noqa: BLE001 (relay raises it again)
            self.error = error

    def _copy(self) -> None:
        wanted = True
        for data in self.source.pieces():
            try:
                if data is None:
                    self.target.end(self.source.farewell())
                elif wanted:
                    self.target.write(data)
                    self.copied += len(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)
            except ConnectionClosedOK:
                return  # the direction in which the target is read ends too
            except BrokenPipeError:
                if not isinstance(self.source, _WebSocketEnd):
                    return
                wanted = False  # the connection is read to its end: else that would not be noticed


class _End:
    """What `relay` copies from and to."""

    def enter(self) -> None:
        """Make it ready."""

    def pieces(self) -> Iterator[Message | None]:
        """What can be read, as it comes; None where nothing more comes."""
        raise NotImplementedError

    def farewell(self) -> CloseFrame:
        """With what a WebSocket is closed when reading has ended here."""
        return _NORMAL

    def write(self, data: Any) -> None:
        """Write all of it."""
        raise NotImplementedError

    def end(self, frame: CloseFrame) -> None:
        """Let it be known that nothing more will be written."""
        raise NotImplementedError

    def leave(self, failure: BaseException | None) -> None:
        """All is over; where something has failed, end both directions, without waiting."""
        raise NotImplementedError


class _WebSocketEnd(_End):
    """A WebSocket whose bytes matter."""

    def __init__(self, raw: WebSocketIO, writer: BinaryFile | WebSocketIO) -> None:
        self._raw = raw
        self._writer = writer
        self._websocket = raw.connection

    def enter(self) -> None:
        self._writer.flush()

    def pieces(self) -> Iterator[Message | None]:
        raw = self._raw
        while raw.unread or raw.fill():
            yield raw.take(len(raw.unread))
        yield None

    def farewell(self) -> CloseFrame:
        code, reason = self._websocket.close_code, self._websocket.close_reason
        return _NORMAL if code is None else _passed_on(CloseFrame(code, reason or "")) or _NORMAL

    def write(self, data: Any) -> None:
        self._websocket.send(data)

    def end(self, frame: CloseFrame) -> None:
        self._websocket.start_close(frame)

    def leave(self, failure: BaseException | None) -> None:
        self._raw.end(None)
        if failure is not None:
            frame = failure.rcvd if isinstance(failure, ConnectionClosedError) else None
            self._websocket.start_close(_passed_on(frame) or CloseFrame(CloseCode.INTERNAL_ERROR))


class _MessageEnd(_WebSocketEnd):
    """A WebSocket whose messages matter."""

    def pieces(self) -> Iterator[Message | None]:
        yield from self._websocket
        yield None


class _HalfClosingEnd(_WebSocketEnd):
    """A WebSocket whose bytes matter, and where an empty message ends one direction."""

    _ended = False
    _peer_ended = False

    def pieces(self) -> Iterator[Message | None]:
        for message in self._websocket:
            if self._peer_ended:
                raise ConnectionError("a message came behind the empty one that was to be the last")
            if message:
                yield message.encode("utf-8", "surrogateescape") if isinstance(message, str) else message
                continue
            self._peer_ended = True
            yield None
            if self._ended:
                self._websocket.start_close(_NORMAL)
        if not self._peer_ended:
            yield None

    def end(self, frame: CloseFrame) -> None:
        self._ended = True
        if self._peer_ended:
            self._websocket.start_close(frame)
        else:
            self._websocket.send(b"")


class _SocketEnd(_End):
    def __init__(self, sock: Any) -> None:
        self._sock = sock
        # One that knows nothing of gevent must not wait by itself.
        self._is_foreign = isinstance(sock, std_socket.socket) and not isinstance(sock, socket.socket)
        self._timeout = sock.gettimeout() if self._is_foreign else None

    def enter(self) -> None:
        if self._is_foreign:
            self._sock.settimeout(0)

    def pieces(self) -> Iterator[Message | None]:
        while data := receive(self._sock, _CHUNK):
            yield data
        yield None

    def write(self, data: Any) -> None:
        send_all(self._sock, data)

    def end(self, frame: CloseFrame) -> None:
        if not hasattr(self._sock, "unwrap"):  # TLS could not be read any more
            self._shut_down(std_socket.SHUT_WR)

    def leave(self, failure: BaseException | None) -> None:
        if failure is not None:
            self._shut_down(std_socket.SHUT_RDWR)
        if self._is_foreign and self._sock.fileno() >= 0:
            self._sock.settimeout(self._timeout)

    def _shut_down(self, how: int) -> None:
        with suppress(OSError):  # the peer was faster
            self._sock.shutdown(how)


class _FilesEnd(_End):
    def __init__(self, reader: Any, writer: Any) -> None:
        self._read = getattr(reader, "read1", None) or reader.read
        self._is_one = reader is writer
        self._writer = writer
        # Past the buffer, where there is one: what is left in it by an interruption, closing would have to wait for.
        self._raw = getattr(writer, "raw", writer)

    def enter(self) -> None:
        self._flush()

    def pieces(self) -> Iterator[Message | None]:
        while data := self._read(_CHUNK):
            yield data
        if data is None:
            raise BlockingIOError("the file that is read from does not wait for data")
        yield None

    def write(self, data: Any) -> None:
        left = memoryview(data)
        while left:
            written = self._raw.write(left)
            if written is None and isinstance(self._raw, io.RawIOBase):
                raise BlockingIOError("the file that is written to does not wait for room")
            left = left[len(left) if written is None else written :]
        if self._raw is self._writer:
            self._flush()

    def _flush(self) -> None:
        if hasattr(self._writer, "flush"):
            self._writer.flush()

    def end(self, frame: CloseFrame) -> None:
        if not self._is_one:
            self._writer.close()

    def leave(self, failure: BaseException | None) -> None:
        if failure is not None and not self._is_one:
            with suppress(OSError):
                self._writer.close()


def _ends_of(one: Any, other: Any, half_close: bool) -> list[_End]:
    websockets = [isinstance(end, WebSocket) for end in (one, other)]
    if half_close and websockets[0] is websockets[1]:
        raise ValueError("half_close is for a WebSocket and an end that is none")
    kind = _HalfClosingEnd if half_close else _MessageEnd if all(websockets) else _WebSocketEnd
    return [_end_of(end, kind) for end in (one, other)]


def _end_of(end: Any, kind: type[_WebSocketEnd]) -> _End:
    if isinstance(end, WebSocket):
        raw = WebSocketIO(end, readable=True, writable=True)
        return kind(raw, raw)
    if hasattr(end, "recv") and hasattr(end, "send"):
        return _SocketEnd(end)
    files = tuple(end) if isinstance(end, tuple | list) else (end, end)
    if len(files) != 2 or not (hasattr(files[0], "read") and hasattr(files[1], "write")):
        raise TypeError(f"an end is a WebSocket, a socket, a file or a pair (reader, writer) of files, not {end!r}")
    if any(hasattr(file, "encoding") for file in files):
        raise TypeError("bytes are copied: give the binary file, such as a text file's buffer")
    reader, writer = files
    if all(isinstance(file, BinaryFile | WebSocketIO) for file in files) and reader.websocket is writer.websocket:
        return _WebSocketEnd(reader.raw if isinstance(reader, BinaryFile) else reader, writer)
    return _FilesEnd(reader, writer)


def _passed_on(frame: CloseFrame | None) -> CloseFrame | None:
    """The close frame to send where this one was received; None where there was none, or one without a code."""
    return None if frame is None or frame.code in _NEVER_SENT else frame
