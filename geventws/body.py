"""The body behind the head of a response, read so that an error can show it (RFC 7230 section 3.3).

The parser is fed bytes in any pieces, and reads the same however they were split.
"""

from __future__ import annotations

import string

from .headers import WHITESPACE
from .http11 import Response, may_have_body

MAX_CHUNK_LINE = 1024
"""The longest line that may announce a chunk, with its extensions."""

_HEX_DIGITS = frozenset(string.hexdigits)


class BodyParser:
    """Reads the body of a final response other than to HEAD or CONNECT (RFC 7230 section 3.3.3), for error reports.

    At most ``max_size`` bytes are kept. Reading ends quietly there, at the body's end, and where its framing is not
    valid. Nothing behind the last chunk is read.

    Attributes:
        body: what has been read so far, without the chunks' framing.
        done: whether more bytes would change nothing.
    """

    def __init__(self, response: Response, max_size: int) -> None:
        self.done = False
        self._body = bytearray()
        self._room = max_size
        self._chunked = False
        self._remaining = 0  # bytes to come of this body or chunk
        self._behind_chunk = False
        self._line = bytearray()
        self._start(response)

    @property
    def body(self) -> bytes:
        return bytes(self._body)

    def feed(self, data: bytes) -> bool:
        """Take the next bytes of the stream; returns whether the body is complete, or as far as it is read."""
        offset = 0
        while not self.done and offset < len(data):
            take = self._take_bytes if self._remaining else self._take_line
            offset = take(data, offset)
        return self.done

    def feed_eof(self) -> None:
        """Take the end of the stream, which is also the end of a body without a length."""
        self.done = True

    def _start(self, response: Response) -> None:
        codings = response.headers.get("Transfer-Encoding")
        length = response.headers.get("Content-Length")
        if not may_have_body(response.status) or not self._room:
            self.done = True
        elif codings is not None:
            # Without the chunked coding at the end of the list, only the end of the stream ends the body.
            self._chunked = codings.rpartition(",")[2].strip(WHITESPACE).lower() == "chunked"
            self._remaining = 0 if self._chunked else self._room
        elif length is not None:
            self._remaining = _content_length(length)
            self.done = not self._remaining
        else:
            self._remaining = self._room

    def _take_bytes(self, data: bytes, offset: int) -> int:
        piece = data[offset : offset + min(self._remaining, self._room)]
        self._body += piece
        self._room -= len(piece)
        self._remaining -= len(piece)
        self._behind_chunk = self._chunked
        self.done = not self._room or not (self._remaining or self._chunked)
        return offset + len(piece)

    def _take_line(self, data: bytes, offset: int) -> int:
        end = data.find(b"\n", offset) + 1
        stop = end or len(data)
        self._line += data[offset:stop]
        if len(self._line) > MAX_CHUNK_LINE:
            self.done = True
        elif end:
            self._end_line(self._line.decode("latin-1"))
            self._line.clear()
        return stop

    def _end_line(self, line: str) -> None:
        """The line behind a chunk, which is empty, or the one in front of it (RFC 7230 section 4.1)."""
        if self._behind_chunk:
            self._behind_chunk = False
            self.done = line != "\r\n"
            return
        size = line.partition(";")[0].strip(" \t\r\n")
        valid = line.endswith("\r\n") and len(size) < 16 and _HEX_DIGITS.issuperset(size)
        self._remaining = int(size or "0", 16) if valid else 0
        self.done = not self._remaining


def _content_length(value: str) -> int:
    """RFC 7230 section 3.3.2: equal lengths in several fields count as one; 0 where the value is not valid."""
    lengths = {length.strip(WHITESPACE) for length in value.split(",")}
    length = lengths.pop()
    return int(length) if not lengths and len(length) < 19 and length.isascii() and length.isdecimal() else 0
