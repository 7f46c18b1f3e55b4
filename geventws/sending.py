"""Sending: messages become frames, each sender in its turn (RFC 6455 sections 5 and 6.1).

A message that is one frame is written in one step that nothing can interrupt. One that takes longer, because it comes
in fragments or is compressed in a thread, holds the turn meanwhile; the others wait in line.
"""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from gevent import Timeout, spawn
from gevent.event import Event
from gevent.hub import Waiter

from .connection import Connection
from .events import State
from .exceptions import ConcurrencyError
from .frames import FIN, RSV1, CloseCode, CloseFrame, Opcode
from .hubs import YIELD_AFTER, let_hub_run
from .kernels import encode_frame, encode_into, now
from .messages import PreparedMessage, check_undecided, payload_in, payload_of
from .options import check_wait
from .switching import getcurrent, thread_id
from .transport import HIGH_WATER

if TYPE_CHECKING:
    from .compression import Compressor
    from .messages import Sendable

INLINE_DEFLATE = 65536
"""Longer messages are compressed in gevent's threadpool, so that the hub is not held, in bytes."""
_JOIN_LIMIT = 4096
"""Up to this payload, in bytes, a frame is made in one piece."""
_SPINS_AFTER = 10 * YIELD_AFTER
"""Who learns of the end so long after the hub has run, in seconds, may well be in a loop."""
_utf8_decoder = getincrementaldecoder("utf-8")
_OPEN = State.OPEN
_CLOSED = State.CLOSED
_RSV1 = RSV1
_HIGH_WATER = HIGH_WATER
_WHOLE_TEXT = FIN | int(Opcode.TEXT)
_WHOLE_BINARY = FIN | int(Opcode.BINARY)


class SendingConnection(Connection):
    """The part of a WebSocket that sends messages."""

    __slots__ = ()

    def send(
        self,
        message: Sendable | Iterable[Sendable] | PreparedMessage,
        *,
        text: bool | None = None,
        compress: bool | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send a message: str as text, any buffer as binary, an iterable of either as the fragments of one message; or
        a PreparedMessage.

        When it returns, the message is in the kernel or in the connection's bounded queue, whole and in order. It
        waits while more than 64 KiB wait in that queue. An interrupted call has sent nothing, except for an iterable:
        a message that is broken off half-way cannot be taken back, so the connection is failed with 1011.

        Args:
            text: True sends UTF-8 bytes as text; False sends a str as binary.
            compress: True compresses, False does not, None does from the threshold on; without permessage-deflate
                nothing is compressed.
            timeout: how long to wait for a slow peer, in seconds; None takes the connection's ``send_timeout``.

        Raises:
            TimeoutError: the peer did not take enough in time; nothing of the message was sent.
            ConnectionClosed: the connection has ended.
            ConcurrencyError: the calling thread is not the connection's, or an iterable of fragments itself sends on
                the connection.
            TypeError: the message cannot be sent.
            ValueError: ``text`` is given for a PreparedMessage.
            UnicodeError: the text is not UTF-8.
        """
        if thread_id() != self._shared.thread:
            self._refuse_thread()
        if timeout is None:
            timeout = self._send_timeout
        else:
            check_wait("timeout", timeout)
        payload = payload_of(message)
        if payload is None:
            if isinstance(message, PreparedMessage):
                self._send_prepared(message, text, compress, timeout)
            else:
                self._send_fragments(message, text, compress, timeout)  # type: ignore[arg-type]
            return
        if text and self._options.validate_utf8 and not isinstance(message, str):
            str(payload, "utf-8")
        if self._turn is not None or self._senders or self._transport.buffered > _HIGH_WATER:
            self._wait_for_turn(timeout)
        if self._protocol.state is not _OPEN:
            self._wait_until_closed_and_raise()
        first = _WHOLE_TEXT if (isinstance(message, str) if text is None else text) else _WHOLE_BINARY
        compressor = self._protocol.compressor
        if compressor is None or not (compress or (compress is None and len(payload) >= self._settings.threshold)):
            self._write_frame(first, payload)
        elif len(payload) <= INLINE_DEFLATE:
            self._write_compressed(first | RSV1, payload)
        else:
            self._take_turn(self._write_compressed, first | RSV1, payload)
        self._messages_sent += 1
        self._payload_sent += len(payload)

    def send_json(self, value: Any) -> None:
        """Send a value as JSON text; raises TypeError or ValueError where JSON has no word for it."""
        self.send(json.dumps(value))

    def send_threadsafe(
        self,
        message: Sendable | Iterable[Sendable] | PreparedMessage,
        *,
        text: bool | None = None,
        compress: bool | None = None,
        timeout: float | None = None,
    ) -> Future[None]:
        """Have the connection's own thread `send` a message. Any thread may call this; it does not wait.

        The messages of one thread are sent in its order. A slow peer is not felt here: each message waits in a greenlet
        of its own. So a thread that sends much should wait for the results, which the connection's own thread must not.

        Args:
            message: as for `send`. A buffer is copied at once; an iterable is run through in the connection's thread.
            text, compress, timeout: as for `send`.

        Returns:
            A future whose result is there once `send` has returned, or which raises what `send` has raised. It can be
            cancelled until the connection's thread has begun with it.

        Raises:
            TypeError, ValueError: the message cannot be sent.
            ConnectionClosed: the hub of the connection's thread has ended.
        """
        check_wait("timeout", timeout)
        if not isinstance(message, str):
            copy = payload_of(message)
            message = message if copy is None else copy
        loop = self._hub.loop
        if loop is None:
            raise self._closed_error()  # in a thread that may have no hub
        result: Future[None] = Future()
        options = {"text": text, "compress": compress, "timeout": timeout}
        loop.run_callback_threadsafe(spawn, self._send_for, result, message, options)
        return result

    def _send_for(
        self,
        result: Future[None],
        message: Sendable | Iterable[Sendable] | PreparedMessage,
        options: dict[str, Any],
    ) -> None:
        if not result.set_running_or_notify_cancel():
            return
        try:
            self.send(message, **options)
        except BaseException as error:
            result.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            result.set_result(None)

    def _write_frame(self, first: int, payload: bytes) -> None:
        transport = self._transport
        if len(payload) > _JOIN_LIMIT:
            header, body = self._protocol.encode_parts(first, payload)
            transport.write(header, body)
            return
        key = self._protocol.masking_key()
        gathering = transport.reserve()
        if gathering is None:
            transport.write(encode_frame(first, payload, key))
        else:
            transport.commit(encode_into(gathering.buffer, gathering.size, first, payload, key))

    def _write_compressed(self, first: int, payload: bytes, fin: bool = True) -> None:
        """Compress and write. Whoever interrupts between the two leaves a compressor that knows more than the peer:
        it is replaced, which RFC 7692 section 7.2.1 allows before any message."""
        protocol = self._protocol
        compressor = None
        written = False
        try:
            compressor, protocol.compressor = protocol.compressor, None
            assert compressor is not None
            if len(payload) <= INLINE_DEFLATE:
                data = compressor.compress(payload, fin)
            else:
                offload = self._shared.offload(self._settings.concurrency_limit)
                data = offload.run(lambda: compressor.compress(payload, fin))
                if protocol.state is not _OPEN:
                    self._wait_until_closed_and_raise()
            self._write_frame(first, data)
            written = True
        finally:
            protocol.compressor = compressor if written else self._new_compressor(compressor)

    def _send_prepared(
        self, message: PreparedMessage, text: bool | None, compress: bool | None, timeout: float | None
    ) -> None:
        check_undecided(text)
        if self._turn is not None or self._senders or self._transport.buffered > _HIGH_WATER:
            self._wait_for_turn(timeout)
        if self._protocol.state is not _OPEN:
            self._wait_until_closed_and_raise()
        compressor = self._deflates(message, compress)
        if compressor is not None and message.size > INLINE_DEFLATE and not message.is_deflated(compressor):
            self._take_turn(self._deflate_in_thread, message)
        self._write_shared(self._frame_of(message, compress))

    def _deflate_in_thread(self, message: PreparedMessage) -> None:
        self._must_not_be_hub()
        compressor = self._new_compressor()
        assert compressor is not None
        self._shared.offload(self._settings.concurrency_limit).run(lambda: message.deflated(compressor))
        if self._protocol.state is not _OPEN:
            self._wait_until_closed_and_raise()

    def _offer(self, message: PreparedMessage, compress: bool | None, limit: int, at_once: bool) -> bool | None:
        """Take a message for which nobody waits: write it, or put it behind the one that somebody is in the middle of.

        Returns False where more than ``limit`` bytes wait already, so that it was not taken, and None where the
        connection is not open. What is not written ``at_once`` is the transport's; it has to be flushed.
        """
        transport = self._transport
        protocol = self._protocol
        if protocol.state is not _OPEN:
            return None
        if transport.buffered + self._behind_size > limit:
            transport.flush()  # what is corked, or was not written at once, is not the peer's fault
            if transport.buffered + self._behind_size > limit:
                return False
        self._messages_sent += 1
        self._payload_sent += message.size
        if self._turn is not None:
            frame = self._frame_of(message, compress)
            if self._behind is None:
                self._behind = []
            self._behind.append(frame)
            self._behind_size += len(frame)
            return True
        frame = message.frame  # for most, and then all that is left to do is to write it
        if protocol.compressor is not None or protocol._masks:
            frame = self._frame_of(message, compress)
            self._give_up_context(frame)
        if at_once:
            transport.write(frame)
        else:
            transport.put(frame)
        return True if protocol.state is _OPEN else None

    def _deflates(self, message: PreparedMessage, compress: bool | None) -> Compressor | None:
        """What compresses a prepared message on this connection; None where it is sent as it is."""
        compressor = self._protocol.compressor
        if compressor is None and self._turn is not None:
            compressor = self._new_compressor()  # its own one may be at work
        if compressor is None or not (compress or (compress is None and message.size >= self._settings.threshold)):
            return None
        return compressor

    def _frame_of(self, message: PreparedMessage, compress: bool | None) -> bytes:
        """The frame that carries a prepared message on this connection."""
        compressor = self._deflates(message, compress)
        frame = message.frame if compressor is None else message.deflated(compressor)
        key = self._protocol.masking_key()
        return frame if key is None else encode_frame(frame[0], payload_in(frame), key)

    def _write_shared(self, frame: bytes) -> None:
        self._give_up_context(frame)
        self._transport.write(frame)

    def _give_up_context(self, frame: bytes) -> None:
        """The peer's window has the message of a compressed frame in it that was not made with our context: to go on
        with that would give wrong bytes, and no error, at the peer."""
        if frame[0] & _RSV1:
            compressor = self._protocol.compressor
            if compressor is not None:
                compressor.reset()

    def _send_fragments(
        self, fragments: Iterable[Sendable], text: bool | None, compress: bool | None, timeout: float | None
    ) -> None:
        """One message in as many frames as there are fragments, and an empty last one (RFC 6455 section 5.4)."""
        if self._turn is not None or self._senders or self._transport.buffered > _HIGH_WATER:
            self._wait_for_turn(timeout)
        self._take_turn(self._write_fragments, fragments, text, compress, timeout)

    def _write_fragments(
        self, fragments: Iterable[Sendable], text: bool | None, compress: bool | None, timeout: float | None
    ) -> None:
        first = 0
        decoder = _utf8_decoder() if text and self._options.validate_utf8 else None
        try:
            for fragment in fragments:
                payload = payload_of(fragment)
                opcode = Opcode.TEXT if (isinstance(fragment, str) if text is None else text) else Opcode.BINARY
                if payload is None:
                    raise TypeError("a message's fragments are text or buffers")
                if first not in (0, opcode):
                    raise TypeError("a message's fragments are all text or all binary")
                if decoder is not None:
                    decoder.decode(payload)  # a character may be cut between two fragments, and at no other place
                self._wait_for_room(timeout)
                this, first = Opcode.CONTINUATION if first else opcode, opcode
                self._write_fragment(this, payload, compress)
                self._payload_sent += len(payload)
            if decoder is not None:
                decoder.decode(b"", True)
            self._wait_for_room(timeout)
            opcode = Opcode.TEXT if text else Opcode.BINARY
            self._write_fragment(FIN | (Opcode.CONTINUATION if first else opcode), b"", compress)
            self._messages_sent += 1
        except BaseException:
            if first and self._protocol.state is _OPEN:
                self._fail(CloseFrame(CloseCode.INTERNAL_ERROR, "a message was broken off"))
            raise

    def _write_fragment(self, first: int, payload: bytes, compress: bool | None) -> None:
        if self._protocol.compressor is None or compress is False:
            self._write_frame(first, payload)
        else:
            rsv1 = 0 if first & 0x0F == Opcode.CONTINUATION else RSV1
            self._write_compressed(first | rsv1, payload, bool(first & FIN))

    def _take_turn(self, write: Callable[..., None], *arguments: Any) -> None:
        """Let nobody else write a message meanwhile. The turn is given back twice: what a signal's handler raises in
        between two lines cannot hit both, and a turn that stays taken would keep everybody waiting."""
        try:
            try:
                self._turn = getcurrent()
                write(*arguments)
            finally:
                self._end_turn()
        finally:
            self._end_turn()

    def _wait_for_turn(self, timeout: float | None) -> None:
        """Wait, behind all who came before, until nobody is in the middle of a message and the queue has room."""
        self._must_not_be_hub()
        if self._turn is getcurrent():
            raise ConcurrencyError("the fragments of a message come from an iterable that itself sends")
        waiter: Waiter[None] = Waiter(self._hub)
        self._senders.append(waiter)
        try:
            self._wait(waiter, timeout, lambda: waiter not in self._senders)
        finally:
            if waiter in self._senders:
                self._senders.remove(waiter)

    def _wait_for_room(self, timeout: float | None) -> None:
        """For the one whose turn it is: wait until the queue has room; raises where nothing can be sent any more."""
        if self._transport.buffered > _HIGH_WATER:
            self._must_not_be_hub()
            waiter = self._holder = Waiter(self._hub)
            try:
                self._wait(waiter, timeout, lambda: self._holder is not waiter)
            finally:
                self._holder = None
        if self._protocol.state is not _OPEN:
            self._wait_until_closed_and_raise()

    def _wait(self, waiter: Waiter[None], timeout: float | None, done: Callable[[], bool]) -> None:
        if timeout is None:
            while not done():
                waiter.get()
            return
        timer = Timeout(timeout)
        try:
            try:
                timer.start()
                while not done():
                    waiter.get()
            finally:
                timer.close()
        except Timeout as error:
            if error is not timer:
                raise
            if not done():
                raise TimeoutError(f"the peer did not take enough within {timeout} s") from None
        finally:
            timer.close()  # once more, as in `_take_turn`
            del timer  # whose traceback knows this frame

    def _end_turn(self) -> None:
        self._turn = None
        if self._behind is not None:
            frames, self._behind, self._behind_size = self._behind, None, 0
            if self._protocol.state is _OPEN:
                for frame in frames:
                    self._write_shared(frame)
                if self._flushed is not None:
                    self._flushed.set()
            else:
                self._behind = []  # they are dropped, which `flush` must not call written
        if self._senders:
            self._hub.loop.run_callback(self._wake_senders)

    def _wait_until_closed_and_raise(self) -> None:
        """A connection that this side closes is not told well or ill before the peer has answered."""
        if not self._is_finished() and self._os_error is None and getcurrent() is not self._hub:
            self.wait_closed()
        self._raise_closed()

    def _raise_closed(self) -> NoReturn:
        """Raise what tells of the end. A program that goes on all the same must not keep the others from running."""
        if now() - self._shared.ran_at > _SPINS_AFTER and getcurrent() is not self._hub:
            let_hub_run()
            self._shared.ran_at = now()
        raise self._closed_error()

    def flush(self, timeout: float | None = None) -> None:
        """Wait until the kernel has taken all that was sent.

        That includes what `broadcast` has put behind a message that is being sent in fragments; it goes when that
        message has ended. Only the greenlet that sends the fragments does not wait for what has to wait for itself.

        Raises:
            TimeoutError: it did not within ``timeout`` seconds.
            ConnectionClosed: the connection ended before.
        """
        self._check_thread()
        check_wait("timeout", timeout)
        deadline = None if timeout is None else now() + timeout
        while self._os_error is None and self._protocol.state is not _CLOSED:
            self._transport.flush()
            if not self._transport.buffered and (self._behind is None or self._turn is getcurrent()):
                return
            self._must_not_be_hub()
            if self._flushed is None:
                self._flushed = Event()
            self._flushed.clear()
            if not self._flushed.wait(None if deadline is None else max(0, deadline - now())):
                raise TimeoutError(f"the peer did not take all within {timeout} s")
        self._raise_closed()

    @contextmanager
    def cork(self) -> Iterator[None]:
        """Gather what is sent inside of the ``with`` block; it is written at its end, or whenever there are 64 KiB."""
        self._check_thread()
        counted = False
        try:
            self._corks, counted = self._corks + 1, True
            self._transport.corked = True
            yield
        finally:
            self._corks -= counted
            if not self._corks and not self._auto_corked:
                self._transport.corked = False
                self._transport.flush()

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the TCP connection has ended; False when it has not within ``timeout`` seconds."""
        self._check_thread()
        check_wait("timeout", timeout)
        if self._protocol.state is _CLOSED:
            return True
        self._must_not_be_hub()
        if self._closed_event is None:
            self._closed_event = Event()
        return bool(self._closed_event.wait(timeout))
