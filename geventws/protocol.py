"""The open connection without I/O: bytes in, messages and control frames out; messages in, frames out.

What always holds:

- The input may be split anywhere; what comes out is the same.
- A violation by the peer is the last event and never an exception out of `receive`. The messages before it stay
  readable, and nothing after it is looked at (RFC 6455 section 7.1.7).
- Payload is consumed as it arrives: unmasked, inflated and checked at once, so that the first bad byte is found at
  once. Only the beginning of a frame header or of a control frame is kept, 139 bytes at most.
- Memory is bounded by bytes held. A length is compared before a payload byte is kept, room for an announced length is
  made once two thirds of it are here, and parsing is suspended while the messages that nobody has taken weigh more than
  `HELD_LIMIT`. A message takes no more than ``max_size`` while it is put together, and none of it is copied then.
- Frames that bring little, such as pings and empty fragments, are read a bounded number at once: then parsing rests
  until the caller goes on, so that a read that is full of them does not hold the hub.
- Inflating is bounded: what would hold the hub for long is left to the caller as a `job`, and parsing is suspended
  until its result is given back.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any

from .events import Event, Fragment, Item, Ping, Pong, State
from .exceptions import ProtocolError, Violation
from .frames import FIN, RSV1, RSV2_RSV3, Buffer, CloseFrame, FrameHeader, Opcode, Side
from .kernels import encode_frame, encode_header, mask, to_bytes, to_str, unmask, unmasked, weight

if TYPE_CHECKING:
    from .compression import Compressor, Decompressor

HELD_LIMIT = 65536
"""Parsing is suspended while the messages that nobody has taken yet take more memory than this, in bytes."""
INLINE_INFLATE = 262144
"""How many bytes are inflated at once before the rest becomes a job."""
JOB_INFLATE = 4194304
"""How many bytes one job inflates at the most."""
EXACT_FROM = 262144
"""A message that may become longer is put together in a buffer that is no larger than that, in bytes."""
_READ = 32768
"""How much is inflated in one step: so much zlib gives without putting it together from several buffers."""
_READ_COST = 1024
REST_AFTER = 2048
"""Parsing rests after so many control frames and fragments."""
_TAKEN_LIMIT = 256
"""After so many taken messages the list of them is made shorter, where it is never empty."""
_NO_LIMIT = 1 << 62
_HELD_LIMIT = HELD_LIMIT
_REST_AFTER = REST_AFTER
_FIN = FIN
_RSV1 = RSV1
_RSV2_RSV3 = RSV2_RSV3
_WHOLE_TEXT = FIN | int(Opcode.TEXT)
_WHOLE_BINARY = FIN | int(Opcode.BINARY)


class Protocol:
    """One endpoint of an open connection.

    ``messages`` holds what was received and not yet taken, from the index ``taken`` on; take it with `take`.
    ``report_control`` puts the received pings and pongs among them, in their order. ``streaming`` makes the present or
    next message come as `Fragment` items. ``as_stream`` makes all messages come so, for one who reads them as a stream
    and could not tell that some are missing: none is dropped, not even after our close frame.
    ``messages_received`` and ``payload_received`` count whole messages and their uncompressed bytes. ``resting`` says
    that `go_on` is to be called at the hub's next turn.
    """

    __slots__ = (
        "_compressed",
        "_decoder",
        "_dropping",
        "_errors",
        "_final",
        "_fragmented",
        "_fragments",
        "_gathered",
        "_header",
        "_key",
        "_masks",
        "_max_fragment_size",
        "_max_fragments",
        "_max_size",
        "_max_whole",
        "_phase",
        "_remaining",
        "_room",
        "_size",
        "_tail",
        "_tail_start",
        "_text",
        "_unmasks",
        "_validate",
        "_wire_size",
        "as_stream",
        "close_rcvd",
        "close_sent",
        "compressor",
        "decompressor",
        "error",
        "held",
        "job",
        "masking_keys",
        "messages",
        "messages_received",
        "payload_received",
        "rcvd_then_sent",
        "report_control",
        "resting",
        "state",
        "streaming",
        "taken",
    )

    def __init__(
        self,
        side: Side,
        *,
        masking_keys: Callable[[], bytes],
        compressor: Compressor | None = None,
        decompressor: Decompressor | None = None,
        max_size: int | None = 2**20,
        max_fragments: int | None = 131072,
        max_fragment_size: int | None = None,
        validate_utf8: bool = True,
    ) -> None:
        self.state = State.OPEN
        self.messages: list[Any] = []
        self.taken = 0
        self.held = 0
        self.messages_received = 0
        self.payload_received = 0
        self.streaming = False
        self.as_stream = False
        self.report_control = False
        self.resting = False
        self.job: Callable[[], list[bytes]] | None = None
        self.error: ProtocolError | None = None
        self.close_rcvd: CloseFrame | None = None
        self.close_sent: CloseFrame | None = None
        self.rcvd_then_sent = False
        self.compressor = compressor
        self.decompressor = decompressor
        self.masking_keys = masking_keys
        self._dropping = False
        self._masks = side is Side.CLIENT
        self._unmasks = side is Side.SERVER
        self._max_size = _NO_LIMIT if max_size is None else max_size
        self._max_fragments = _NO_LIMIT if max_fragments is None else max_fragments
        self._max_fragment_size = _NO_LIMIT if max_fragment_size is None else max_fragment_size
        self._max_whole = min(self._max_size, self._max_fragment_size)
        self._validate = validate_utf8
        self._errors = "strict" if validate_utf8 else "surrogateescape"
        # What was received but not looked at yet, from the index on: the beginning of a frame, or more in a suspension.
        self._tail = bytearray()
        self._tail_start = 0
        # The frame whose payload is being read.
        self._header = FrameHeader()
        self._remaining = 0
        self._key = 0
        self._phase = 0
        self._final = True
        # The message that is being put together.
        self._fragmented = False
        self._text = False
        self._compressed = False
        self._size = 0
        self._wire_size = 0
        self._fragments = 0
        # What is here of it, and for how much of it there is room already.
        self._gathered: BytesIO | None = None
        self._room = 0
        self._decoder: codecs.IncrementalDecoder | None = None

    # Receiving

    def is_suspended(self) -> bool:
        """Whether `receive` makes no progress until messages are taken, the job is finished, or it has rested."""
        return (
            self.job is not None
            or self.resting
            or (self.held > _HELD_LIMIT and (self.close_sent is None or self.as_stream))
        )

    @property
    def has_tail(self) -> bool:
        """Whether there are bytes that wait for more bytes, or for the end of a suspension."""
        return bool(self._tail)

    def receive(self, data: bytearray, size: int) -> list[Event]:
        """Take the ``size`` bytes that the peer sent; gives the control frames in them.

        The buffer belongs to the caller, who gets it back unmasked, as scratch.
        """
        if self._is_over():
            return []
        if self._tail:
            del self._tail[: self._tail_start]
            self._tail_start = 0
            self._tail += data[:size]
            return self.go_on()
        events: list[Event] = []
        offset = self._look_at(data, 0, size, events)
        if offset < size:
            self._tail = data[offset:size]
        return events

    def go_on(self) -> list[Event]:
        """Go on after a suspension with what was received before it."""
        events: list[Event] = []
        self.resting = False
        if not self._is_over():
            tail = self._tail
            self._tail_start = self._look_at(tail, self._tail_start, len(tail), events)
            if self._tail_start == len(tail):
                self._tail = bytearray()
                self._tail_start = 0
        return events

    def _is_over(self) -> bool:
        """Whether nothing that is received makes a difference any more."""
        return self.error is not None or self.close_rcvd is not None

    def _look_at(self, data: bytearray, offset: int, end: int, events: list[Event]) -> int:
        """`_walk`, where a violation ends the walk as a close frame does."""
        try:
            return self._walk(data, offset, end, events)
        except ProtocolError as error:
            self._fail(error, events)
            return end

    def finish_job(self, result: list[bytes] | BaseException) -> list[Event]:
        """Take the result of the job, which it uses up, then go on with what was received since."""
        self.job = None
        events: list[Event] = []
        if self.error is not None:
            return events
        try:
            if isinstance(result, BaseException):
                raise result
            result.reverse()
            while result:
                data = result.pop()  # so that no byte is held twice
                self._accept_inflated(data, bool(result))
            self._inflate()
        except ProtocolError as error:
            self._fail(error, events)
            return events
        return self.go_on()

    def take(self) -> Item:
        """The next of the received messages.

        What the handler of a signal raises between two lines leaves a list that can be gone on with; where ``held`` is
        wrong by then, it is right again once the list is empty.
        """
        messages: list[Item] = self.messages
        taken = self.taken
        count = len(messages)
        item = messages[taken]
        if taken + 1 == count:
            self.held = 0
            messages.clear()
            self.taken = 0
            return item
        self.held -= weight(item)
        if taken + 1 == _TAKEN_LIMIT:
            messages[:_TAKEN_LIMIT], self.taken = (), 0
        else:
            self.taken = taken + 1
            self.messages[taken] = None
        return item

    def stream(self) -> None:
        """Let the present message, or the next one, come in fragments; what is here of it already comes first."""
        self.streaming = True
        if self._gathered is not None:
            data = self._take_gathered(self._gathered)
            if not self._text:
                self._put(Fragment(data, False))
                return
            # Only whole characters are given out; the decoder keeps the beginning of the next one.
            self._decoder = _utf8_decoder(self._errors)
            self._put(Fragment(self._decoder.decode(data), False))

    def stop_streaming(self) -> None:
        """Take `stream` back, unless a message has begun to come that way."""
        if not (self._fragmented or self.as_stream):
            self.streaming = False

    def _fail(self, error: ProtocolError, events: list[Event]) -> None:
        self.error = error.with_traceback(None)  # which would keep alive whatever its frames know
        self._gathered = None
        events.append(error)

    def _walk(self, data: bytearray, offset: int, end: int, events: list[Event]) -> int:
        """Go through the frames in ``data`` from the offset on; returns how far it came, which is the end where nothing
        that follows makes a difference."""
        header = self._header
        slow = 0
        while offset < end and not self.is_suspended():
            if self._remaining:
                offset = self._read_payload(data, offset, end)
                continue
            if not header.read(data, offset, end):
                break
            if header.masked != self._unmasks:
                # RFC 6455 section 5.1.
                raise ProtocolError(Violation.EXPECTED_MASK if self._unmasks else Violation.UNEXPECTED_MASK)
            first = header.first
            start = offset + header.size
            whole = header.length <= end - start
            if first & 0x08:
                if first & _RSV1:
                    raise ProtocolError(Violation.UNEXPECTED_RSV_1)
                if first & _RSV2_RSV3:
                    raise ProtocolError(Violation.UNEXPECTED_RSV_2_3)
                if not whole:
                    break
                stop = start + header.length
                payload = unmasked(data, start, stop, header.key) if header.masked else to_bytes(data, start, stop)
                self._control(first & 0x0F, payload, events)
                if self.close_rcvd is not None:
                    return end
                offset = stop
                slow += 1
                self.resting = slow >= _REST_AFTER
                continue
            if (
                whole
                and _WHOLE_TEXT <= first <= _WHOLE_BINARY
                and header.length <= self._max_whole
                and not (self._fragmented or self.streaming)
            ):
                offset = start + header.length
                self._whole_message(data, start, offset, header)
                self.messages_received += 1
                self.payload_received += header.length
                continue
            self._begin_frame(header)
            offset = start
            slow += 1
            self.resting = slow >= _REST_AFTER
            if not header.length:
                self._payload(data, start, start)
        return offset

    def _whole_message(self, data: bytearray, start: int, stop: int, header: FrameHeader) -> None:
        """The short way for a message that is one frame, is here, is not compressed, and breaks no rule."""
        if header.first == _WHOLE_BINARY:
            self._put(unmasked(data, start, stop, header.key) if self._unmasks else to_bytes(data, start, stop))
            return
        if self._unmasks:
            unmask(data, start, stop, header.key, 0)
        self._put(self._to_str(data, start, stop))

    def _control(self, opcode: int, payload: bytes, events: list[Event]) -> None:
        if opcode == Opcode.CLOSE:
            self.close_rcvd = CloseFrame.decode(payload)
            events.append(self.close_rcvd)
            return
        event = Ping(payload) if opcode == Opcode.PING else Pong(payload)
        events.append(event)
        if self.report_control:
            self._put(event)

    def _begin_frame(self, header: FrameHeader) -> None:
        """A data frame begins: the rules of RFC 6455 sections 5.2 and 5.4, of RFC 7692 section 6, and the limits."""
        first = header.first
        length = header.length
        if first & _RSV2_RSV3:
            raise ProtocolError(Violation.UNEXPECTED_RSV_2_3)
        if first & 0x0F == 0:  # a continuation
            if not self._fragmented:
                raise ProtocolError(Violation.UNEXPECTED_CONTINUATION)
            if first & _RSV1:
                raise ProtocolError(Violation.UNEXPECTED_RSV_1)
        else:
            if self._fragmented:
                raise ProtocolError(Violation.EXPECTED_CONTINUATION)
            if first & _RSV1 and self.decompressor is None:
                raise ProtocolError(Violation.UNEXPECTED_RSV_1)
            self._text = first & 0x0F == 1
            self._compressed = first & _RSV1 != 0
            self._size = self._wire_size = self._fragments = 0
        self._fragments += 1
        if self._fragments > self._max_fragments:
            raise ProtocolError(Violation.TOO_MANY_FRAGMENTS)
        if length > self._max_fragment_size:
            raise ProtocolError(Violation.FRAGMENT_TOO_BIG)
        if self._compressed:
            # Deflate makes what it cannot compress a little longer; more than that can only be too big once inflated.
            if length > self._max_size + (self._max_size >> 3) + 1024 - self._wire_size:
                raise ProtocolError(Violation.MESSAGE_TOO_BIG)
        elif length > self._max_size - self._size:
            raise ProtocolError(Violation.MESSAGE_TOO_BIG)
        self._wire_size += length
        self._final = first & _FIN != 0
        self._fragmented = True
        self._key = header.key
        self._phase = 0
        self._remaining = length

    def _read_payload(self, data: bytearray, offset: int, end: int) -> int:
        stop = min(offset + self._remaining, end)
        if self._unmasks:
            unmask(data, offset, stop, self._key, self._phase)
            self._phase = (self._phase + stop - offset) & 3
        self._remaining -= stop - offset
        self._payload(data, offset, stop)
        return stop

    def _payload(self, data: bytearray, start: int, stop: int) -> None:
        last = self._final and not self._remaining
        with memoryview(data)[start:stop] as chunk:
            if self._compressed:
                assert self.decompressor is not None
                self.decompressor.feed(chunk, last)
                self._inflate()
            else:
                self._accept(chunk, last)

    def _inflate(self) -> None:
        """Inflate what was received of a compressed message, or leave a job behind where that is much."""
        decompressor = self.decompressor
        assert decompressor is not None
        budget = INLINE_INFLATE
        while decompressor.pending:
            if budget <= 0:
                self.job = self._inflate_job
                return
            data = decompressor.read(min(_READ, budget, self._max_size - self._size + 1))
            # A read costs something even if it gives nothing, as from block after empty block.
            budget -= len(data) + _READ_COST
            self._accept_inflated(data)

    def _accept_inflated(self, data: bytes, more: bool = False) -> None:
        """`_accept` for what the decompressor gave: the last of the message where neither it nor the job has more."""
        assert self.decompressor is not None
        self._accept(data, not (more or self.decompressor.pending or self._remaining) and self._final)

    def _inflate_job(self) -> list[bytes]:
        """Run by the caller, in another thread if it likes; touches nothing but the decompressor."""
        assert self.decompressor is not None
        pieces = []
        left = min(JOB_INFLATE, self._max_size - self._size + 1)
        while self.decompressor.pending and left > 0:
            data = self.decompressor.read(min(_READ, left))
            left -= len(data)
            if data:
                pieces.append(data)
        return pieces

    def _accept(self, data: Buffer, last: bool) -> None:
        """Add octets to the message, and give it out where they are its last."""
        if len(data) > self._max_size - self._size:
            raise ProtocolError(Violation.MESSAGE_TOO_BIG)
        self._size += len(data)
        text = self._check_utf8(data, last) if self._text and (self._validate or self.streaming) else None
        if self.streaming:
            self._put(Fragment(bytes(data) if text is None else text, last))
            self.streaming = self.as_stream or not last
        elif not last:
            self._gather(data)
        else:
            if self._gathered is not None:
                data = self._take_gathered(self._gather(data))
            self._put(self._decoded(data) if self._text else bytes(data))
        if last:
            self.messages_received += 1
            self.payload_received += self._size
            self._fragmented = False
            self._decoder = None

    def _gather(self, data: Buffer) -> BytesIO:
        """Put octets behind those that are here of the message. No copy is made of the whole when it is handed out."""
        gathered = self._gathered
        if gathered is None:
            gathered = self._gathered = BytesIO()
            self._room = EXACT_FROM
        if self._size > self._room:
            self._make_room(gathered)
        gathered.write(data)
        return gathered

    def _make_room(self, gathered: BytesIO) -> None:
        """Once two thirds are here of what the message may become, there is room for all of it, and no more.

        A BytesIO takes up to an eighth more than it needs, but exactly what it needs where that is more than an eighth
        above what it had.
        """
        end = self._size + self._remaining if self._final and not self._compressed else self._max_size
        if self._size > end // 3 * 2:
            position = gathered.tell()
            gathered.seek(end - 1)
            gathered.write(b"\0")
            gathered.seek(position)
            self._room = end

    def _take_gathered(self, gathered: BytesIO) -> bytes:
        self._gathered = None
        gathered.truncate()
        return gathered.getvalue()

    def _check_utf8(self, data: Buffer, last: bool) -> str | None:
        """RFC 6455 section 8.1, at the first bad byte; the text where it is wanted piece by piece."""
        if self._decoder is None:
            if last and not self.streaming:
                return None
            self._decoder = _utf8_decoder(self._errors)
        try:
            text = self._decoder.decode(data, last)
        except UnicodeDecodeError as error:
            raise _not_utf8(error) from None
        if self._validate and _begins_surrogate(self._decoder.getstate()[0]):
            raise ProtocolError(Violation.INVALID_UTF8, "a surrogate begins")
        return text

    def _to_str(self, data: bytearray, start: int, stop: int) -> str:
        try:
            return to_str(data, start, stop, self._errors)
        except UnicodeDecodeError as error:
            raise _not_utf8(error) from None

    def _decoded(self, data: Buffer) -> str:
        try:
            return str(data, "utf-8", self._errors)
        except UnicodeDecodeError as error:
            raise _not_utf8(error) from None

    def _put(self, item: Item) -> None:
        if self.close_sent is not None and not self.as_stream and (self._dropping or self.held > _HELD_LIMIT):
            # After our close frame reading goes on, to find the peer's; nothing obliges us to keep so much of it. What
            # is kept has no holes.
            self._dropping = True
            return
        if self.taken and not self.messages:
            self.taken = 0  # a `take` was broken off in front of that
        self.messages.append(item)
        self.held += weight(item)

    # Sending

    def masking_key(self) -> bytes | None:
        """The masking key of the next frame; None for a server, which does not mask (RFC 6455 section 5.1)."""
        return self.masking_keys() if self._masks else None

    def encode(self, first: int, payload: Buffer) -> bytes:
        """A frame in one piece; ``first`` is its first byte. A client's payload is masked (RFC 6455 section 5.3)."""
        return encode_frame(first, payload, self.masking_key())

    def encode_parts(self, first: int, payload: Buffer) -> tuple[bytes, Buffer]:
        """The same as header and payload: a server's large payload is not copied."""
        key = self.masking_key()
        return encode_header(first, len(payload), key), payload if key is None else mask(payload, key)

    def close(self, frame: CloseFrame) -> bytes:
        """The close frame's bytes. Nothing may be sent after them (RFC 6455 section 5.5.1)."""
        self.close_sent = frame
        self.rcvd_then_sent = self.close_rcvd is not None
        self.state = State.CLOSING
        return self.encode(FIN | Opcode.CLOSE, frame.encode())

    def discard(self) -> None:
        """The connection is over: give up what only an open one needs. The received messages stay.

        A job that still runs keeps its decompressor; call this once more when it is done and ``job`` is None.
        """
        self.state = State.CLOSED
        self._tail = bytearray()
        self._tail_start = 0
        self._gathered = None
        self._decoder = None
        if self.compressor is not None:
            self.compressor.close()
        if self.decompressor is not None and self.job is None:
            self.decompressor.close()


def _not_utf8(error: UnicodeDecodeError) -> ProtocolError:
    return ProtocolError(Violation.INVALID_UTF8, str(error))


def _begins_surrogate(pending: bytes) -> bool:
    """Python's decoder waits for the third byte of a surrogate, which UTF-8 rules out at the second (RFC 3629)."""
    return len(pending) > 1 and pending[0] == 0xED and pending[1] >= 0xA0


_utf8_decoder = codecs.getincrementaldecoder("utf-8")
