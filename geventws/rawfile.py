"""A connection as a raw file, and what all files over it have in common.

The standard library's classes are not put around the raw one: an exception that is thrown into `io.BufferedReader`
loses what it has read, two greenlets cannot write to one `io.BufferedWriter`, and `io.TextIOWrapper` forgets what it
has read when it is written to.
"""

from __future__ import annotations

import io
import warnings
from types import TracebackType
from typing import TYPE_CHECKING

from gevent.lock import Semaphore

from .events import Fragment
from .exceptions import ConnectionClosed, ConnectionClosedOK
from .frames import CloseCode, CloseFrame

if TYPE_CHECKING:
    from typing_extensions import Buffer, Self

    from .websocket import WebSocket

_NORMAL = CloseFrame(CloseCode.NORMAL_CLOSURE)
_BROKEN_OFF = CloseFrame(CloseCode.INTERNAL_ERROR, "the stream was broken off")


class Duplex:
    """What all these files have in common: one or both directions of a connection, which they know how to end."""

    _is_text = False
    if TYPE_CHECKING:
        closed: bool

    @property
    def _base(self) -> WebSocketIO:
        raise NotImplementedError

    @property
    def websocket(self) -> WebSocket:
        """The connection."""
        return self._base.connection

    @property
    def name(self) -> str:
        """The connection's URL, on a server the address of the client."""
        websocket = self.websocket
        return websocket.url or str(websocket.remote_address)

    @property
    def mode(self) -> str:
        """Which directions it has: r, w or rw; with a b for binary."""
        base = self._base
        return "r" * base.can_read + "w" * base.can_write + "b" * (not self._is_text)

    def readable(self) -> bool:
        """Whether it can be read."""
        return self._base.can_read

    def writable(self) -> bool:
        """Whether it can be written to."""
        return self._base.can_write

    def close(self) -> None:
        raise NotImplementedError

    def abandon(self) -> None:
        """Close it without sending what has not been sent."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._base.check(True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it. On an exception, where it can be written to, what is not flushed yet is dropped and the connection
        is closed with 1011, without waiting: else the peer would take for the whole what is not."""
        if error is None:
            self.close()
        else:
            self.abandon()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} mode={self.mode!r} of {self.name}>"


class WebSocketIO(Duplex, io.RawIOBase):
    """A connection's bytes without a buffer: each write is a binary message, and reading gives what is there.

    Made by ``ws.makefile("rb", buffering=0)``; see `WebSocket.makefile`.
    """

    def __init__(self, connection: WebSocket, *, readable: bool, writable: bool) -> None:
        self.connection = connection
        self.can_read = readable
        self.can_write = writable
        self.unread = bytearray()
        self._as_stream = False
        self._inside = False
        if not writable:
            self._begin()

    @property
    def _base(self) -> WebSocketIO:
        return self

    def check(self, able: bool, word: str = "") -> None:
        """Raise unless the file is open, and able to do what is wanted of it."""
        if self.closed:
            raise ValueError("the file is closed")
        if not able:
            raise io.UnsupportedOperation(f"the file is not {word}")

    # Reading

    def _begin(self) -> None:
        """From now on the connection keeps no more than a bounded part of a message."""
        self.connection._read_as_stream(True)
        self._as_stream = True

    def receive(self) -> str | bytes | None:
        """Wait for the next piece of a message, which is never empty; None at the end.

        Raises:
            ConnectionClosedError: the connection did not end in good order.
            ConnectionClosedOK: it ended in the middle of a message.
            ConcurrencyError: another greenlet receives.
        """
        if not self._as_stream:
            self._begin()
        while True:
            try:
                item = self.connection._next_item(None, True)
            except ConnectionClosedOK:
                if self._inside:
                    raise
                return None
            data: str | bytes
            if isinstance(item, Fragment):
                data, self._inside = item.data, not item.final
            else:
                data, self._inside = item, False
            if data:
                return data

    def fill(self) -> bool:
        """Wait until there is more to read; False at the end."""
        data = self.receive()
        if data is None:
            return False
        self.unread += data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        return True

    def take(self, size: int) -> bytes:
        """So many of the bytes that are there, or all where there are fewer."""
        unread = self.unread
        if size >= len(unread):
            self.unread = bytearray()
            return bytes(unread)
        data = bytes(memoryview(unread)[:size])
        del unread[:size]
        return data

    def readinto(self, buffer: Buffer, /) -> int:
        """Read what is there into the buffer, having waited for one byte at least; 0 at the end."""
        self.check(self.can_read, "readable")
        with memoryview(buffer).cast("B") as view:
            if not view or not (self.unread or self.fill()):
                return 0
            data = self.take(len(view))
            view[: len(data)] = data
            return len(data)

    def readall(self) -> bytes:
        """All bytes up to the end."""
        self.check(self.can_read, "readable")
        while self.fill():
            pass
        return self.take(len(self.unread))

    def readline(self, size: int | None = -1, /) -> bytes:
        """The bytes up to and with the next newline, at most ``size``; what there is at the end."""
        self.check(self.can_read, "readable")
        limit = -1 if size is None else size
        searched = 0
        while True:
            end = self.unread.find(b"\n", searched) + 1
            if end or 0 <= limit <= len(self.unread):
                break
            searched = len(self.unread)
            if not self.fill():
                break
        end = end or len(self.unread)
        return self.take(end if limit < 0 else min(end, limit))

    # Writing

    def write(self, data: Buffer, /) -> int:
        """Send a binary message; nothing where there are no bytes. Waits and raises as `WebSocket.send` does."""
        self.check(self.can_write, "writable")
        with memoryview(data).cast("B") as view:
            if view:
                self.connection.send(view)
            return len(view)

    def write_eof(self) -> None:
        """Say that nothing more will be written: close the connection with 1000, but do not wait. Reading goes on."""
        self.check(self.can_write, "writable")
        self.connection.start_close(_NORMAL)

    def end(self, frame: CloseFrame | None) -> None:
        """Close the file, and begin to close the connection where there is a close frame."""
        io.RawIOBase.close(self)
        if self._as_stream:
            self._as_stream = False
            self.connection._read_as_stream(False)
        if frame is not None:
            self.connection.start_close(frame)

    def close(self) -> None:
        """Close the file; see `WebSocket.makefile` for what that means to the connection."""
        if not self.closed:
            self.end(_NORMAL if self.can_write else None)
            if self.can_write and self.can_read:
                self.connection.close()

    def abandon(self) -> None:
        """Close the file; where it can be written to, close the connection with 1011, and do not wait."""
        if not self.closed:
            self.end(_BROKEN_OFF if self.can_write else None)

    def __del__(self) -> None:
        """A file that is dropped does nothing to the connection."""


class Buffered(Duplex):
    """A file that gathers what is written until it is flushed."""

    if TYPE_CHECKING:
        closed: bool

    def __init__(self, raw: WebSocketIO, size: int) -> None:
        self._raw: WebSocketIO | None = raw
        self._size = size
        self._pending = bytearray()
        # Held while a greenlet sends, so that another one's bytes come behind.
        self._lock = Semaphore(1)

    @property
    def _base(self) -> WebSocketIO:
        if self._raw is None:
            raise ValueError("the file has been detached")
        return self._raw

    def _put(self, data: bytes | memoryview, flush: bool) -> None:
        """Send or keep; where it is interrupted, it has done neither with these bytes."""
        with self._lock:
            if len(data) > self._size - len(self._pending):
                self._send_pending()
            if not flush and len(data) <= self._size:
                self._pending += data
            else:
                self._base.connection.send(self._pending + data if self._pending else data, text=self._is_text)
                self._pending = bytearray()

    def _send_pending(self) -> None:
        if self._pending:
            self._base.connection.send(self._pending, text=self._is_text)
            self._pending = bytearray()

    def flush(self) -> None:
        """Send what was written since the last time, as one message; nothing where nothing was written.

        Waits and raises as `WebSocket.send` does. Where it is interrupted, nothing is sent and nothing lost.
        """
        base = self._base
        base.check(True)
        if base.can_write:
            with self._lock:
                self._send_pending()

    def write_eof(self) -> None:
        """Flush, and say that nothing more will be written: close the connection with 1000, but do not wait.

        Reading goes on to the end. WebSocket has no half-closed state: most peers answer the close frame at once, and
        what they had not sent by then does not come.
        """
        self._base.check(self._base.can_write, "writable")
        self.flush()
        self._base.write_eof()

    def close(self) -> None:
        """Flush and close the file; see `WebSocket.makefile` for what that means to the connection.

        Where flushing is interrupted, the file stays open and nothing is lost.
        """
        if self._raw is None or self._raw.closed:
            return
        try:
            self.flush()
        except ConnectionClosed:
            self._pending = bytearray()
            self._raw.end(None)
            raise
        self._raw.close()

    def abandon(self) -> None:
        """Drop what is not flushed and close the file; the connection too, with 1011, where it can be written to."""
        self._pending = bytearray()
        if self._raw is not None:
            self._raw.abandon()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, detached>" if self._raw is None else super().__repr__()

    def __del__(self) -> None:
        """A file that is dropped does nothing to the connection: to flush would be to wait, perhaps in the hub."""
        if getattr(self, "_pending", None):
            text = f"{len(self._pending)} bytes were written to a file of a WebSocket and never flushed"
            warnings.warn(text, ResourceWarning, source=self, stacklevel=2)
