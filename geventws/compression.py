"""Compression and decompression of messages as RFC 7692 section 7.2 wants it, by zlib or by a faster library.

`Compressor` and `Decompressor` see the payloads of the messages that have RSV1 set, in their order, and of no others.

ISA-L (the package isal, which ``geventws[speed]`` installs) needs a third of zlib's time for the same output, or less.
It is used where it is installed and can do what is asked for; see `_choose`. The settings may name another library.
"""

from __future__ import annotations

import zlib
from collections import deque
from typing import TYPE_CHECKING, Any

from .exceptions import ProtocolError, Violation
from .frames import Buffer, Side

if TYPE_CHECKING:
    from .deflate import Parameters, PerMessageDeflate


def _find_fast() -> Any:
    try:
        from isal import isal_zlib
    except ImportError:
        return None
    return isal_zlib


fast = _find_fast()
"""ISA-L's counterpart of the zlib module; None where it is not installed."""

# zlib does not make raw deflate data with a window of 2**8 bytes. With one of 2**9 it never refers back further than
# 512 - 262 = 250 bytes (MAX_DIST in its deflate.h), so a receiver with a window of 2**8 bytes can follow. Others may
# use such a window to its end.
_MIN_ZLIB_WINDOW_BITS = 9
_MAX_WINDOW_BITS = 15

# zlib itself takes level 6 and memory level 8. On JSON messages of 256 bytes to 16 KiB, level 1 needs 32 to 42 % of the
# time for output that is 20 to 24 % longer; level 2 takes a tenth more time than level 1 for 4 % less output. Lower
# memory levels take less memory (160 KiB at 6) for output that is up to 1 % longer.
_LEVEL = 1
_MEMORY_LEVEL = 8
_FAST_LEVELS = (1, 2, 3)  # what ISA-L calls by these numbers takes as long for each, and compresses as zlib's 1 and 2

# What a sender leaves out at the end of a message: the lengths of an empty stored block (section 7.2.1).
_TAIL = b"\x00\x00\xff\xff"
# Empty stored blocks, more bytes of them than the head of any block has. Between two blocks a decoder reads them and
# says nothing. Inside of a block it takes some of them for data, which comes out, or for an error.
_EMPTY_BLOCKS = b"\x00\x00\x00\xff\xff" * 64
# zlib copies what it leaves of its input, so it is given no more than this many bytes at a time.
_SLICE = 16384


def _choose(library: Any, level: int, strategy: int, bits: int) -> Any:
    """The library to compress with, where the settings name this one or None."""
    if bits < _MIN_ZLIB_WINDOW_BITS:
        return zlib
    if library is not None:
        return library
    return zlib if fast is None or level not in _FAST_LEVELS or strategy != zlib.Z_DEFAULT_STRATEGY else fast


def _errors(library: Any) -> tuple[type[Exception], ...]:
    """What a decompressor raises, be it zlib's or the library's."""
    return tuple(module.error for module in (zlib, fast, library) if module is not None)


class Compressor:
    """Compresses one side's messages (RFC 7692 section 7.2.1).

    One thread at a time may use it. A context is made at the first use, and for each message where there is no
    context takeover.

    Attributes:
        taken, given: how many bytes have gone in, and have come out.
    """

    def __init__(self, parameters: Parameters, settings: PerMessageDeflate, side: Side) -> None:
        """``side`` is our own role: the sender's."""
        self._takeover = parameters.context_takeover(side)
        options = settings.compress_options or {}
        self._level = options.get("level", _LEVEL)
        self._memory_level = options.get("memLevel", _MEMORY_LEVEL)
        self._strategy = options.get("strategy", zlib.Z_DEFAULT_STRATEGY)
        self._library = settings.library
        agreed = parameters.window_bits(side)
        self._bits = min(agreed, options.get("wbits", agreed))
        self._context: Any = None
        self.taken = self.given = 0

    @property
    def method(self) -> tuple[int, ...]:
        """What decides how a message comes out that begins with an empty window."""
        return (self._bits, self._level, self._memory_level, self._strategy, id(self._library))

    def compress(self, data: Buffer, fin: bool = True) -> bytes:
        """The payload of the frame that carries ``data``; ``fin`` says that it is the message's last frame."""
        view = memoryview(data)
        # What was flushed ends a block. One zero byte is then an empty stored block without its tail, and the whole of
        # an empty message (section 7.2.3.6).
        payload = self._deflate(view if view.c_contiguous else view.tobytes()) if view.nbytes else b"\x00" + _TAIL
        self.taken += view.nbytes
        if fin:
            payload = payload[: -len(_TAIL)]
            if not self._takeover:
                self.reset()
        self.given += len(payload)
        return payload

    def _deflate(self, data: Buffer) -> bytes:
        """Whole blocks, with an empty one at the end (section 7.2.1, steps 1 and 2)."""
        context = self._context
        try:
            if context is None:
                context = self._context = self._make_context()
            payload: bytes = context.compress(data)
            payload += context.flush(zlib.Z_SYNC_FLUSH)
        except BaseException:
            # Half of a frame's data may be in the window, and the peer will never see it.
            self.reset()
            raise
        return payload

    def _make_context(self) -> Any:
        library = _choose(self._library, self._level, self._strategy, self._bits)
        bits = max(self._bits, _MIN_ZLIB_WINDOW_BITS)
        return library.compressobj(self._level, zlib.DEFLATED, -bits, self._memory_level, self._strategy)

    def reset(self) -> None:
        """Give up the context: what comes next begins with an empty window.

        This is always allowed, inside a message too, and while another thread is still busy with data that is no longer
        wanted. It is needed where a payload was made that is not going to be sent.
        """
        self._context = None

    close = reset


class Decompressor:
    """Decompresses the other side's messages (RFC 7692 section 7.2.2), a bounded piece at a time.

    ::

        decompressor.feed(payload, fin)
        while decompressor.pending:
            message += decompressor.read(limit)

    One thread at a time may use it. A context is made at the first use, and for each message where there is no context
    takeover. After a ProtocolError it is of no more use.

    Attributes:
        pending: whether `read` has more to do. It must have ended before the next message is fed.
        taken, given: how many bytes have gone in, and have come out.
    """

    def __init__(self, parameters: Parameters, settings: PerMessageDeflate, side: Side) -> None:
        """``side`` is our own role: the receiver's."""
        sender = Side.CLIENT if side is Side.SERVER else Side.SERVER
        self._takeover = parameters.context_takeover(sender)
        self._wbits = max(parameters.window_bits(sender), (settings.decompress_options or {}).get("wbits", 0))
        self._window = 1 << self._wbits
        self._library = settings.library
        self._context: Any = None
        # The end of the output so far, up to one and a half windows. A decoder is of no use after a block with BFINAL
        # set, but the stream may go on there, and refer back (section 7.2.3.4); then a new decoder is given this.
        self._recent = bytearray()
        self._queue: deque[bytes] = deque()
        self._fin = False
        # Whether no block has begun: at the start of a message, and behind a block with BFINAL set.
        self._between_blocks = True
        # Whether zlib filled all the room it was given. Only then does it hold back output of the input it has read.
        self._full = False
        self.pending = False
        self.taken = self.given = 0

    def feed(self, data: Buffer, fin: bool) -> None:
        """Take (a part of) a frame's payload; ``fin`` says that the message's last byte is in it."""
        owned = bytes(data)
        self.taken += len(owned)
        for start in range(0, len(owned), _SLICE):
            self._queue.append(owned[start : start + _SLICE])
        self._fin = fin
        self.pending = bool(self._queue) or self._full or fin

    def read(self, limit: int) -> bytes:
        """At most ``limit`` bytes of output (1 or more); they may be none at all while more is `pending`.

        To hold a message to a size, ask for one byte more than is left of it: its end is not found before that.

        Raises ProtocolError with INVALID_DEFLATE_DATA where the data is not valid, or not whole at a message's end.
        """
        if limit < 1:
            raise ValueError("limit must be at least 1")
        output = b""
        if self._queue or self._full:
            output = self._inflate(self._queue.popleft() if self._queue else b"", limit)
        self.given += len(output)
        self.pending = bool(self._queue) or self._full
        if self._fin and not self.pending:
            self._end_message()
        return output

    def _inflate(self, data: bytes, limit: int) -> bytes:
        context = self._context
        if context is None:
            # ISA-L does not see where a sender refers back further than was agreed, unless nobody could.
            library = (self._library or fast or zlib) if self._wbits == _MAX_WINDOW_BITS else zlib
            context = self._context = library.decompressobj(-self._wbits, zdict=bytes(self._recent[-self._window :]))
        try:
            output: bytes = context.decompress(data, limit)
        except _errors(self._library) as error:
            raise ProtocolError(Violation.INVALID_DEFLATE_DATA, str(error)) from error
        self._remember(output)
        rest = context.unused_data if context.eof else context.unconsumed_tail
        if rest:
            self._queue.appendleft(rest)
        self._between_blocks = context.eof
        self._full = len(output) == limit and not context.eof
        if context.eof:
            self._context = None
        return output

    def _remember(self, output: bytes) -> None:
        """Keep the end of the output. A copy is cheaper than the output itself, whose place in the processor's cache
        the next one can have."""
        recent = self._recent
        recent += output if len(output) <= self._window else memoryview(output)[-self._window :]
        if len(recent) > self._window + self._window // 2:
            del recent[: -self._window]

    def _end_message(self) -> None:
        # Some senders forget the zero byte that begins the last, empty block, behind BFINAL or as an empty message.
        # What they mean is clear, and the tail alone would be half a block.
        if not self._between_blocks and not self._add_tail():
            raise ProtocolError(Violation.INVALID_DEFLATE_DATA, "a block is cut short")
        self._fin = False
        self._between_blocks = True
        if not self._takeover:
            self.close()

    def _add_tail(self) -> bool:
        """Whether the tail, put behind the data, is all that an empty block lacks (section 7.2.2)."""
        context = self._context
        try:
            output = context.decompress(_TAIL + _EMPTY_BLOCKS, 1)
        except _errors(self._library):
            return False
        if context.eof:
            self._context = None
            return not output and len(context.unused_data) == len(_EMPTY_BLOCKS)
        return not output

    def close(self) -> None:
        """Give up the context, and what has not been read; what another thread is reading then is worth nothing."""
        self._context = None
        self._recent = bytearray()
        self._queue.clear()
        self._full = self.pending = False
