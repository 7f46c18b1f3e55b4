"""The permessage-deflate extension (RFC 7692): its settings, its negotiation, and the (de)compression of messages.

A sender's *context* is its LZ77 window; with context takeover (section 7.1.1) it lives on from message to message.
`Compressor` and `Decompressor` see the payloads of the messages that have RSV1 set, in their order, and of no others.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .exceptions import InvalidHeader, ProtocolError, Violation
from .frames import Buffer, Side
from .headers import Extension, Parameter, format_extensions

NAME = "permessage-deflate"

_SERVER_NO_CONTEXT_TAKEOVER = "server_no_context_takeover"
_CLIENT_NO_CONTEXT_TAKEOVER = "client_no_context_takeover"
_SERVER_MAX_WINDOW_BITS = "server_max_window_bits"
_CLIENT_MAX_WINDOW_BITS = "client_max_window_bits"

_MIN_WINDOW_BITS = 8
_MAX_WINDOW_BITS = 15

# Section 7.1.2: a decimal integer from 8 to 15 without leading zeroes. So it is compared as text.
_WINDOW_BITS = {str(bits): bits for bits in range(_MIN_WINDOW_BITS, _MAX_WINDOW_BITS + 1)}

# zlib does not make raw deflate data with a window of 2**8 bytes. With one of 2**9 it never refers back further than
# 512 - 262 = 250 bytes (MAX_DIST in its deflate.h), so a receiver with a window of 2**8 bytes can follow.
_MIN_ZLIB_WINDOW_BITS = 9

# zlib itself takes level 6 and memory level 8. On JSON messages of 256 bytes to 64 KiB, level 4 needs a quarter to a
# third less time for output that is 3 % longer; level 3 is hardly faster and 10 % longer. Memory level 7 gives the same
# output as 8, with a context of 192 instead of 256 KiB that is made three times as fast.
_DEFAULT_COMPRESS_OPTIONS = {"level": 4, "memLevel": 7}

_COMPRESS_RANGES = {
    "level": (-1, 9),
    "memLevel": (1, 9),
    "strategy": (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED),
    "wbits": (_MIN_WINDOW_BITS, _MAX_WINDOW_BITS),
}
_DECOMPRESS_RANGES = {"wbits": (_MIN_WINDOW_BITS, _MAX_WINDOW_BITS)}

# What a sender leaves out at the end of a message: the lengths of an empty stored block (section 7.2.1).
_TAIL = b"\x00\x00\xff\xff"
# An empty final block. A decoder that is given it ends there if, and only if, no other block was still open.
_FINAL_BLOCK = b"\x01\x00\x00\xff\xff"
# zlib copies what it leaves of its input, so it is given no more than this many bytes at a time.
_SLICE = 16384


@dataclass(frozen=True)
class Parameters:
    """What both sides agreed on (RFC 7692 section 7.1)."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = _MAX_WINDOW_BITS
    client_max_window_bits: int = _MAX_WINDOW_BITS

    def context_takeover(self, sender: Side) -> bool:
        """Whether ``sender`` may refer back to its earlier messages."""
        return not (self.server_no_context_takeover if sender is Side.SERVER else self.client_no_context_takeover)

    def window_bits(self, sender: Side) -> int:
        """The base-2 logarithm of how many bytes ``sender`` may refer back."""
        return self.server_max_window_bits if sender is Side.SERVER else self.client_max_window_bits


@dataclass(frozen=True, eq=False)
class PerMessageDeflate:
    """The settings of permessage-deflate for a client or a server.

    Raises ValueError or TypeError where a setting is not valid.

    Attributes:
        server_no_context_takeover: whether the server begins each message with an empty window, which saves memory
            between messages and costs compression. True: a client demands it, a server does it. False: a client
            refuses an answer that has it, a server declines an offer that demands it. None: as the peer wishes.
        client_no_context_takeover: the same for the client's messages. True: a client does it and says so, a server
            demands it. False: a client refuses an answer that demands it, a server does not take up the client's
            hint. None: as the peer wishes.
        server_max_window_bits: 8 to 15, the base-2 logarithm of the server's window in bytes. A client demands at most
            this much, a server uses at most this much. None: as the peer wishes, or else 15.
        client_max_window_bits: 8 to 15, the same for the client's window. A client uses at most this much and says so;
            a server demands at most this much, and declines an offer that does not let it. None or True: a client
            offers to do as the server wishes, a server agrees to what the client names. False: a client does not offer
            it, a server does not ask for it. What nobody limits is 15.
        threshold: messages shorter than this many bytes are sent uncompressed.
        compress_options: zlib's ``level`` (-1 to 9, default 4), ``memLevel`` (1 to 9, default 7), ``strategy`` (0 to
            4, default 0) and ``wbits`` (8 to 15: use a smaller window than was agreed on). A context takes
            2**(wbits + 2) + 2**(memLevel + 9) bytes, 192 KiB by default.
        decompress_options: ``wbits`` (8 to 15: hold a larger window than was agreed on, for a peer that does not keep
            to it). A context takes about 2 * 2**wbits bytes, 64 KiB by default.
        concurrency_limit: at most this many large messages are compressed or decompressed in threads at once.
    """

    server_no_context_takeover: bool | None = None
    client_no_context_takeover: bool | None = None
    server_max_window_bits: int | None = None
    client_max_window_bits: int | bool | None = None
    threshold: int = 1024
    compress_options: Mapping[str, int] | None = None
    decompress_options: Mapping[str, int] | None = None
    concurrency_limit: int = 10

    def __post_init__(self) -> None:
        _check_flag(_SERVER_NO_CONTEXT_TAKEOVER, self.server_no_context_takeover)
        _check_flag(_CLIENT_NO_CONTEXT_TAKEOVER, self.client_no_context_takeover)
        if self.server_max_window_bits is not None:
            _check_int(_SERVER_MAX_WINDOW_BITS, self.server_max_window_bits, _MIN_WINDOW_BITS, _MAX_WINDOW_BITS)
        if self._client_limit is not None:
            _check_int(_CLIENT_MAX_WINDOW_BITS, self._client_limit, _MIN_WINDOW_BITS, _MAX_WINDOW_BITS)
        _check_int("threshold", self.threshold, 0)
        _check_int("concurrency_limit", self.concurrency_limit, 1)
        # Copies, so that what was checked stays as it is.
        for name, ranges in (("compress_options", _COMPRESS_RANGES), ("decompress_options", _DECOMPRESS_RANGES)):
            object.__setattr__(self, name, _checked_options(name, getattr(self, name), ranges))

    @property
    def _client_limit(self) -> int | None:
        """``client_max_window_bits`` where it is a number."""
        bits = self.client_max_window_bits
        return None if isinstance(bits, bool) else bits

    def offers(self) -> list[Extension]:
        """What a client with these settings puts into its request."""
        offer: list[Parameter] = []
        if self.server_no_context_takeover:
            offer.append((_SERVER_NO_CONTEXT_TAKEOVER, None))
        if self.client_no_context_takeover:
            offer.append((_CLIENT_NO_CONTEXT_TAKEOVER, None))
        if self.server_max_window_bits is not None:
            offer.append((_SERVER_MAX_WINDOW_BITS, str(self.server_max_window_bits)))
        if self.client_max_window_bits is not False:
            bits = self._client_limit
            offer.append((_CLIENT_MAX_WINDOW_BITS, None if bits is None else str(bits)))
        return [(NAME, offer)]

    def accept(self, offers: Iterable[Extension]) -> tuple[Extension, Parameters] | None:
        """What a server with these settings answers to the first offer that it can accept, and what holds then.

        None where there is no such offer (RFC 7692 sections 5.1 and 7.1). Other extensions are passed over.
        """
        for name, parameters in offers:
            if name != NAME:
                continue
            try:
                answer = self._answer(_read_parameters(parameters, in_answer=False))
            except ValueError:
                continue  # section 7.1: an offer that is not valid is declined
            agreed = Parameters(
                _SERVER_NO_CONTEXT_TAKEOVER in answer,
                _CLIENT_NO_CONTEXT_TAKEOVER in answer,
                answer.get(_SERVER_MAX_WINDOW_BITS) or _MAX_WINDOW_BITS,
                answer.get(_CLIENT_MAX_WINDOW_BITS) or _MAX_WINDOW_BITS,
            )
            return (NAME, [(key, None if bits is None else str(bits)) for key, bits in answer.items()]), agreed
        return None

    def _answer(self, offer: dict[str, int | None]) -> dict[str, int | None]:
        """The parameters with which a server accepts an offer; raises ValueError where it declines it."""
        answer: dict[str, int | None] = {}
        if self.server_no_context_takeover is False and _SERVER_NO_CONTEXT_TAKEOVER in offer:
            raise ValueError("the client demands server_no_context_takeover")
        if self.server_no_context_takeover or _SERVER_NO_CONTEXT_TAKEOVER in offer:
            answer[_SERVER_NO_CONTEXT_TAKEOVER] = None
        demanded = self.client_no_context_takeover
        if demanded or (demanded is None and _CLIENT_NO_CONTEXT_TAKEOVER in offer):
            answer[_CLIENT_NO_CONTEXT_TAKEOVER] = None
        bits = _smaller(self.server_max_window_bits, offer.get(_SERVER_MAX_WINDOW_BITS))
        if bits is not None:
            answer[_SERVER_MAX_WINDOW_BITS] = bits
        if _CLIENT_MAX_WINDOW_BITS in offer:
            bits = _smaller(self._client_limit, offer[_CLIENT_MAX_WINDOW_BITS])
            if bits is not None and self.client_max_window_bits is not False:
                answer[_CLIENT_MAX_WINDOW_BITS] = bits
        elif self._client_limit is not None:
            # Section 7.1.2.2: a server cannot limit the window of a client that did not offer it.
            raise ValueError("the client does not offer client_max_window_bits")
        return answer

    def confirm(self, answer: Extension) -> Parameters:
        """What holds when a server answers this to what `offers` gave to a client.

        Raises InvalidHeader where the answer is not a valid answer to that offer (RFC 7692 section 7.1).
        """
        name, parameters = answer
        try:
            if name != NAME:
                raise ValueError("it was not offered")
            return self._confirm(_read_parameters(parameters, in_answer=True))
        except ValueError as error:
            raise InvalidHeader("Sec-WebSocket-Extensions", format_extensions([answer]), str(error)) from None

    def _confirm(self, answer: dict[str, int | None]) -> Parameters:
        # A server may ask for any of these unasked, save for client_max_window_bits. What the client offered of the
        # server_ ones is a demand, which the server accepts by answering it. What it offered of the client_ ones is a
        # hint, which holds whatever the server answers, even a larger window (sections 7.1.1 and 7.1.2).
        for name in (_SERVER_NO_CONTEXT_TAKEOVER, _CLIENT_NO_CONTEXT_TAKEOVER):
            if name in answer and getattr(self, name) is False:
                raise ValueError(f"{name} is ruled out")
        if self.server_no_context_takeover and _SERVER_NO_CONTEXT_TAKEOVER not in answer:
            raise ValueError("server_no_context_takeover was demanded")
        server_bits = answer.get(_SERVER_MAX_WINDOW_BITS)
        limit = self.server_max_window_bits
        if limit is not None and (server_bits is None or server_bits > limit):
            raise ValueError(f"server_max_window_bits of at most {limit} was demanded")
        if self.client_max_window_bits is False and _CLIENT_MAX_WINDOW_BITS in answer:
            raise ValueError("client_max_window_bits was not offered")
        return Parameters(
            _SERVER_NO_CONTEXT_TAKEOVER in answer,
            _CLIENT_NO_CONTEXT_TAKEOVER in answer or self.client_no_context_takeover is True,
            server_bits or _MAX_WINDOW_BITS,
            _smaller(self._client_limit, answer.get(_CLIENT_MAX_WINDOW_BITS)) or _MAX_WINDOW_BITS,
        )


def _check_flag(name: str, value: object) -> None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{name} must be True, False or None, not {value!r}")


def _check_int(name: str, value: object, least: int, most: int | None = None) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < least or (most is not None and value > most):
        wanted = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be {wanted}, not {value}")


def _checked_options(
    name: str, options: Mapping[str, int] | None, ranges: Mapping[str, tuple[int, int]]
) -> Mapping[str, int]:
    if options is None:
        return MappingProxyType({})
    if not isinstance(options, Mapping):
        raise TypeError(f"{name} must be a mapping, not {options!r}")
    for key, value in options.items():
        if key not in ranges:
            raise ValueError(f"{name} may have {', '.join(ranges)}, not {key!r}")
        _check_int(f"{name}[{key!r}]", value, *ranges[key])
    return MappingProxyType(dict(options))


def _read_parameters(parameters: Iterable[Parameter], *, in_answer: bool) -> dict[str, int | None]:
    """The parameters of one offer or answer, window bits as numbers; ValueError where section 7.1 is broken."""
    read: dict[str, int | None] = {}
    for name, value in parameters:
        if name in read:
            raise ValueError(f"{name} is there twice")
        if name in (_SERVER_NO_CONTEXT_TAKEOVER, _CLIENT_NO_CONTEXT_TAKEOVER):
            if value is not None:
                raise ValueError(f"{name} has a value")
            read[name] = None
        elif name == _CLIENT_MAX_WINDOW_BITS and value is None and not in_answer:
            read[name] = None
        elif name in (_SERVER_MAX_WINDOW_BITS, _CLIENT_MAX_WINDOW_BITS):
            if value not in _WINDOW_BITS:
                raise ValueError(f"{name} is not a number from {_MIN_WINDOW_BITS} to {_MAX_WINDOW_BITS}")
            read[name] = _WINDOW_BITS[value]
        else:
            raise ValueError(f"{name} is not a parameter of {NAME}")
    return read


def _smaller(one: int | None, other: int | None) -> int | None:
    """The smaller of two limits, where None is no limit."""
    return min((bits for bits in (one, other) if bits is not None), default=None)


class Compressor:
    """Compresses one side's messages (RFC 7692 section 7.2.1).

    One thread at a time may use it. A context is made at the first use, and for each message where there is no
    context takeover.
    """

    def __init__(self, parameters: Parameters, settings: PerMessageDeflate, side: Side) -> None:
        """``side`` is our own role: the sender's."""
        self._takeover = parameters.context_takeover(side)
        options = {**_DEFAULT_COMPRESS_OPTIONS, **(settings.compress_options or {})}
        self._level = options["level"]
        self._memory_level = options["memLevel"]
        self._strategy = options.get("strategy", zlib.Z_DEFAULT_STRATEGY)
        self._wbits = min(parameters.window_bits(side), options.get("wbits", _MAX_WINDOW_BITS))
        self._context: zlib._Compress | None = None

    def compress(self, data: Buffer, fin: bool = True) -> bytes:
        """The payload of the frame that carries ``data``; ``fin`` says that it is the message's last frame."""
        view = memoryview(data)
        context = self._context
        try:
            if context is None:
                context = self._context = self._make_context()
            payload = context.compress(view if view.c_contiguous else view.tobytes())
            payload += context.flush(zlib.Z_SYNC_FLUSH)
        except BaseException:
            # Half of a frame's data may be in the window, and the peer will never see it.
            self.reset()
            raise
        if not fin:
            return payload
        if not self._takeover:
            self.reset()
        # zlib adds nothing to what was flushed already. One zero byte is then an empty stored block without its tail,
        # and the whole of an empty message (section 7.2.3.6).
        return payload[: -len(_TAIL)] or b"\x00"

    def _make_context(self) -> zlib._Compress:
        wbits = max(self._wbits, _MIN_ZLIB_WINDOW_BITS)
        return zlib.compressobj(self._level, zlib.DEFLATED, -wbits, self._memory_level, self._strategy)

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
    """

    def __init__(self, parameters: Parameters, settings: PerMessageDeflate, side: Side) -> None:
        """``side`` is our own role: the receiver's."""
        sender = Side.CLIENT if side is Side.SERVER else Side.SERVER
        self._takeover = parameters.context_takeover(sender)
        self._wbits = max(parameters.window_bits(sender), (settings.decompress_options or {}).get("wbits", 0))
        self._context: zlib._Decompress | None = None
        # The end of the output so far. zlib's decoder is of no use after a block with BFINAL set, but the stream may go
        # on there, and refer back (section 7.2.3.4); then a new decoder is given this.
        self._window = bytearray()
        self._queue: deque[bytes] = deque()
        self._fin = False
        # Whether no block has begun: at the start of a message, and behind a block with BFINAL set.
        self._between_blocks = True
        # Whether zlib filled all the room it was given. Only then does it hold back output of the input it has read.
        self._full = False
        self.pending = False

    def feed(self, data: Buffer, fin: bool) -> None:
        """Take (a part of) a frame's payload; ``fin`` says that the message's last byte is in it."""
        owned = bytes(data)
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
        self.pending = bool(self._queue) or self._full
        if self._fin and not self.pending:
            self._end_message()
        return output

    def _inflate(self, data: bytes, limit: int) -> bytes:
        context = self._context
        if context is None:
            context = self._context = zlib.decompressobj(-self._wbits, zdict=self._window)
        try:
            output = context.decompress(data, limit)
        except zlib.error as error:
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
        window = self._window
        size = 1 << self._wbits
        window += output[-size:]
        if len(window) > size + (size >> 3):  # not each time, for the sake of small messages
            del window[:-size]

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
        assert context is not None
        try:
            output = context.decompress(_TAIL, 1)
            if context.eof:
                self._context = None
                return not context.unused_data
            probe = context.copy() if self._takeover else context
            output += probe.decompress(_FINAL_BLOCK, 1)
        except zlib.error:
            return False
        return probe.eof and not output and not probe.unused_data

    def close(self) -> None:
        """Give up the context, and what has not been read; what another thread is reading then is worth nothing."""
        self._context = None
        self._window = bytearray()
        self._queue.clear()
        self._full = self.pending = False
