"""Files over a WebSocket: what `WebSocket.makefile` returns.

The bytes of all messages in a row, and the text of all messages in a row, are what is read; where a message ends is not
to be seen. What is written leaves in messages that end where the program flushes. The classes of the standard library
are not put on top of one another here: an exception that is thrown into `io.BufferedReader` loses what it has read,
two greenlets cannot write to one `io.BufferedWriter`, and `io.TextIOWrapper` forgets what it has read when it is
written to.
"""

from __future__ import annotations

import io
import re
import warnings
from codecs import IncrementalDecoder, getincrementaldecoder, lookup_error
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gevent.lock import Semaphore

from .exceptions import ConnectionClosed, ConnectionClosedOK
from .frames import CloseCode, CloseFrame
from .protocol import Fragment

if TYPE_CHECKING:
    from typing_extensions import Buffer, Self

    from .websocket import WebSocket

_NORMAL = CloseFrame(CloseCode.NORMAL_CLOSURE)
_BROKEN_OFF = CloseFrame(CloseCode.INTERNAL_ERROR, "the stream was broken off")
_LINE_ENDS = {None: ("\n",), "": ("\n", "\r"), "\n": ("\n",), "\r": ("\r",), "\r\n": ("\r\n",)}
_LINES = {
    None: re.compile("[^\n]*\n|[^\n]+"),
    "": re.compile("[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+"),
    "\n": re.compile("[^\n]*\n|[^\n]+"),
    "\r": re.compile("[^\r]*\r|[^\r]+"),
    "\r\n": re.compile("(?s:.*?\r\n|.+)"),
}


def open_file(
    websocket: WebSocket,
    mode: str,
    buffering: int | None,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
) -> WebSocketIO | BinaryFile | TextFile:
    """The file that `WebSocket.makefile` documents."""
    if not set(mode) <= set("rwb") or len(set(mode)) != len(mode):
        raise ValueError(f"a mode consists of r, w and b, not {mode!r}")
    if newline not in _LINES:
        raise ValueError(f"newline is None, '', '\\n', '\\r' or '\\r\\n', not {newline!r}")
    raw = WebSocketIO(websocket, readable="r" in mode or "w" not in mode, writable="w" in mode)
    size = io.DEFAULT_BUFFER_SIZE if buffering is None or buffering < 0 else buffering
    if "b" not in mode:
        if not size:
            raise ValueError("text needs a buffer: buffering=1 sends each line at once")
        by_line = buffering == 1
        return TextFile(raw, io.DEFAULT_BUFFER_SIZE if by_line else size, by_line, encoding, errors, newline)
    if (encoding, errors, newline) != (None, None, None):
        raise ValueError("encoding, errors and newline are for text, and the mode is binary")
    return BinaryFile(raw, size) if size else raw


class _Duplex:
    """What all these files have in common: one or both directions of a connection, which they know how to end."""

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
        binary = "" if isinstance(self, TextFile) else "b"
        return "r" * base.readable() + "w" * base.writable() + binary

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


class WebSocketIO(_Duplex, io.RawIOBase):
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


class _Buffered(_Duplex):
    """A file that gathers what is written until it is flushed."""

    if TYPE_CHECKING:
        closed: bool

    def __init__(self, raw: WebSocketIO, size: int, text: bool) -> None:
        self._raw: WebSocketIO | None = raw
        self._size = size
        self._is_text = text
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


class BinaryFile(_Buffered, io.BufferedIOBase):
    """A connection's bytes with a buffer: ``ws.makefile("rwb")``; see `WebSocket.makefile`."""

    def __init__(self, raw: WebSocketIO, size: int) -> None:
        super().__init__(raw, size, False)

    @property
    def raw(self) -> WebSocketIO:
        """The same without a buffer. What was read too early lies there; what is not flushed does not."""
        return self._base

    @property
    def closed(self) -> bool:  # type: ignore[override]
        """Whether it is closed."""
        return self._base.closed

    def detach(self) -> WebSocketIO:
        """Flush, and give up the file without closing it; returns `raw`, which goes on where this has stopped."""
        self.flush()
        base = self._base
        self._raw = None
        return base

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes, or fewer at the end; all up to the end by default."""
        base = self._base
        if size is None or size < 0:
            return base.readall()
        base.check(base.can_read, "readable")
        while len(base.unread) < size and base.fill():
            pass
        return base.take(size)

    def read1(self, size: int = -1, /) -> bytes:
        """What is there, having waited for one byte at least, up to so many bytes; b"" at the end."""
        data = self.peek() if size else b""
        return self._base.take(len(data) if size < 0 else size)

    def peek(self, size: int = 0, /) -> bytes:
        """What `read1` would give, which stays where it is."""
        base = self._base
        base.check(base.can_read, "readable")
        if not base.unread:
            base.fill()
        return bytes(base.unread)

    def readline(self, size: int | None = -1, /) -> bytes:
        """The bytes up to and with the next newline, at most ``size``; what there is at the end."""
        return self._base.readline(size)

    def write(self, data: Buffer, /) -> int:
        """Keep the bytes for the next message, or send them where they are more than the buffer takes."""
        self._base.check(self._base.can_write, "writable")
        with memoryview(data).cast("B") as view:
            self._put(view, False)
            return len(view)


class TextFile(_Buffered, io.TextIOBase):
    """A connection's text: ``ws.makefile("rw")``; see `WebSocket.makefile`."""

    def __init__(
        self,
        raw: WebSocketIO,
        size: int,
        by_line: bool,
        encoding: str | None,
        errors: str | None,
        newline: str | None,
    ) -> None:
        self._encoding = encoding or "utf-8"
        self._errors = errors or "strict"
        decoder = getincrementaldecoder(self._encoding)
        lookup_error(self._errors)
        super().__init__(raw, size, True)
        self._by_line = by_line
        self._newline = newline
        self._decoder: IncrementalDecoder = decoder(self._errors)
        # It keeps a carriage return back until it is known what follows, so that no line end is ever cut in two.
        self._line_ends: Any = None if newline in ("\n", "\r") else io.IncrementalNewlineDecoder(None, newline is None)
        self._lines: deque[str] = deque()  # what is not read yet; of a line, the end is the end of an item
        self._length = 0

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """How received binary messages are decoded. Text messages need no such thing, and only these are sent."""
        return self._encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        """What becomes of bytes that cannot be decoded."""
        return self._errors

    @property
    def line_buffering(self) -> bool:
        """Whether each line is sent at once."""
        return self._by_line

    @property
    def closed(self) -> bool:  # type: ignore[override]
        """Whether it is closed."""
        return self._base.closed

    # Reading

    def _fill(self) -> bool:
        """Wait until there is more to read; False at the end."""
        data = self._base.receive()
        try:
            text = self._decoder.decode(data) if isinstance(data, bytes) else self._decoder.decode(b"", True)
        except UnicodeDecodeError:
            self._decoder.reset()
            raise
        if isinstance(data, str):
            text += data
        if self._line_ends is not None:
            text = self._line_ends.decode(text, data is None)
        self._lines.extend(_LINES[self._newline].findall(text))
        self._length += len(text)
        return data is not None or text != ""

    def _take(self, parts: list[str]) -> str:
        text = parts[0] if len(parts) == 1 else "".join(parts)
        self._length -= len(text)
        return text

    def read(self, size: int | None = -1, /) -> str:
        """So many characters, or fewer at the end; all up to the end by default."""
        self._base.check(self._base.can_read, "readable")
        everything = size is None or size < 0
        while (everything or self._length < size) and self._fill():  # type: ignore[operator]
            pass
        lines = self._lines
        parts = []
        left = self._length if everything else size
        while lines and left > 0:  # type: ignore[operator]
            part = lines.popleft()
            if len(part) > left:  # type: ignore[operator]
                lines.appendleft(part[left:])
                part = part[:left]
            parts.append(part)
            left -= len(part)  # type: ignore[operator]
        return self._take(parts)

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        """The text up to and with the next line end, at most ``size`` characters; what there is at the end."""
        self._base.check(self._base.can_read, "readable")
        limit = -1 if size is None else size
        if not limit:
            return ""
        lines = self._lines
        ends = _LINE_ENDS[self._newline]
        looked_at = length = 0
        while True:
            if looked_at == len(lines) and not self._fill():
                break
            if looked_at < len(lines):
                part = lines[looked_at]
                looked_at += 1
                length += len(part)
                if part.endswith(ends) or 0 <= limit <= length:
                    break
        if 0 <= limit < length:
            return self.read(limit)
        return self._take([lines.popleft() for _ in range(looked_at)])

    # Writing

    def write(self, text: str, /) -> int:
        """Keep the text for the next message, or send it where it is longer than the buffer takes.

        With ``buffering=1`` it is sent at once where it ends a line. No message ends inside of what one call writes.
        """
        self._base.check(self._base.can_write, "writable")
        if not isinstance(text, str):
            raise TypeError(f"text is written to this file, not {type(text).__name__}")
        translated = text.replace("\n", self._newline) if self._newline in ("\r", "\r\n") else text
        data = translated.encode("utf-8", self._errors)
        if self._errors != "strict":
            str(data, "utf-8")  # what a text message cannot carry is found before anything of it is kept
        self._put(data, self._by_line and "\n" in text)
        return len(text)
