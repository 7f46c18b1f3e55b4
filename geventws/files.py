"""Files over a WebSocket: what `WebSocket.makefile` returns.

The bytes of all messages in a row, and the text of all messages in a row, are what is read; where a message ends is not
to be seen. What is written leaves in messages that end where the program flushes.
"""

from __future__ import annotations

import io
import re
from codecs import IncrementalDecoder, getincrementaldecoder, lookup_error
from collections import deque
from typing import TYPE_CHECKING, Any

from .rawfile import Buffered, WebSocketIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from .websocket import WebSocket

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


class BinaryFile(Buffered, io.BufferedIOBase):
    """A connection's bytes with a buffer: ``ws.makefile("rwb")``; see `WebSocket.makefile`."""

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


class TextFile(Buffered, io.TextIOBase):
    """A connection's text: ``ws.makefile("rw")``; see `WebSocket.makefile`."""

    _is_text = True

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
        super().__init__(raw, size)
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
