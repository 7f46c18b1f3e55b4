"""One connection under the hub: what is received goes to the protocol, what the protocol asks for is done.

Everything here runs without waiting, most of it in the hub: pings are answered, closes and dead peers noticed,
whatever the connection's greenlets do. `websocket` adds the blocking calls. The two share four places where a greenlet
can wait: for a message (`_reader`), for its turn to send (`_senders`), for room once it is its turn (`_holder`), and
for an event.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gevent.event import AsyncResult, Event
from gevent.hub import Waiter

from .compression import Compressor, Decompressor
from .deflate import PerMessageDeflate
from .events import Event as ProtocolEvent
from .events import Ping, Pong, State
from .exceptions import (
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidState,
    ProtocolError,
)
from .framelog import frame_log
from .frames import FIN, MAX_CLOSE_REASON, CloseCode, CloseFrame, Opcode, Side
from .heartbeat import SHORTEST_TIMER
from .hubs import shared
from .kernels import now
from .options import Options
from .protocol import HELD_LIMIT, Protocol
from .reports import call, report_closed, wants_end
from .switching import getcurrent, switch, thread_id
from .transport import HIGH_WATER, Owner, Transport

if TYPE_CHECKING:
    from .handshake import Agreement

logger = logging.getLogger("geventws")

LINGER = 1.0
"""How long the peer may take to close TCP after both close frames, in seconds; what it sends meanwhile is dropped."""
_LEFT = "this is a forked process, and the connection stays with its parent"
_DEFAULT_SETTINGS = PerMessageDeflate()
_OPEN = State.OPEN
_CLOSED = State.CLOSED
_CLOSED_WELL = (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RCVD)


class Connection(Owner):
    """The part of a WebSocket that never waits."""

    __slots__ = (
        "__weakref__",
        "_auto_cork",
        "_auto_corked",
        "_behind",
        "_behind_size",
        "_closed_event",
        "_closing_timer",
        "_cork_began",
        "_corks",
        "_deadline",
        "_dispatching",
        "_ended_at",
        "_flushed",
        "_holder",
        "_hub",
        "_last_event",
        "_lingering",
        "_messages_sent",
        "_offloaded",
        "_on_closed",
        "_on_ping",
        "_on_pong",
        "_opened_at",
        "_options",
        "_os_error",
        "_paused",
        "_payload_sent",
        "_pings",
        "_protocol",
        "_pulse",
        "_reader",
        "_rests",
        "_send_timeout",
        "_senders",
        "_settings",
        "_shared",
        "_side",
        "_transport",
        "_turn",
        "_why",
        "_wire_received",
        "_yielding",
        "agreement",
        "last_received",
        "latency",
        "local_address",
        "remote_address",
    )

    def __init__(
        self,
        sock: Any,
        side: Side,
        agreement: Agreement,
        head: bytes,
        settings: PerMessageDeflate | None,
        options: Options,
        on_closed: Callable[[Any], None] | None,
        remote_address: Any,
    ) -> None:
        common = shared()
        self._shared = common
        self._hub = common.hub
        self._side = side
        self._settings = settings if settings is not None else _DEFAULT_SETTINGS
        self._options = options
        self._auto_cork = options.auto_cork
        self._send_timeout = options.send_timeout
        self.agreement = agreement
        self._protocol = Protocol(
            side,
            masking_keys=options.masking_keys or common.masking_keys,
            compressor=self._new_compressor(),
            decompressor=Decompressor(agreement.deflate, self._settings, side) if agreement.deflate else None,
            max_size=options.max_size,
            max_fragments=options.max_fragments,
            max_fragment_size=options.max_fragment_size,
            validate_utf8=options.validate_utf8,
        )
        self.local_address = sock.getsockname()
        self.remote_address = remote_address or _peer_name(sock)
        self.latency: float | None = None
        self.last_received = common.ran_at = now()  # the opening handshake waited in the hub
        self._opened_at = self.last_received
        self._ended_at = 0.0
        self._messages_sent = 0
        self._payload_sent = 0
        self._wire_received = len(head)
        self._on_closed = on_closed
        self._on_ping: Callable[[bytes], object] | None = None
        self._on_pong: Callable[[bytes], object] | None = None
        # Greenlets that wait.
        self._reader: Any = None
        self._senders: list[Waiter[None]] = []
        self._holder: Waiter[None] | None = None
        self._turn: Any = None
        # Frames that come right behind the message that somebody is in the middle of, and their size together.
        self._behind: list[bytes] | None = None
        self._behind_size = 0
        self._closed_event: Event | None = None
        self._flushed: Event | None = None
        # Corking.
        self._corks = 0
        self._auto_corked = False
        self._dispatching = False
        self._cork_began = 0.0
        self._pings: dict[bytes, tuple[AsyncResult[float] | None, float]] = {}
        self._paused = False
        self._os_error: OSError | None = None
        self._why = ""
        self._closing_timer: Any = None
        self._deadline = 0.0
        self._last_event: CloseFrame | ProtocolError | None = None
        self._lingering = False
        self._yielding = False
        self._offloaded = False
        self._rests = False
        self._transport = Transport(sock, self, common.hub, common.buffer, common.gathering)
        self._pulse = (
            None
            if options.ping_interval is None
            else common.heartbeats.add(self, options.ping_interval, options.ping_timeout)
        )
        self._transport.frame_log = frame_log(side, self.remote_address, common.reports)
        if head:
            if self._transport.frame_log is not None:
                self._transport.frame_log.received(bytearray(head), len(head))
            self._handle(self._protocol.receive(bytearray(head), len(head)))
        self._update_reading()

    def _new_compressor(self, last: Compressor | None = None) -> Compressor | None:
        """One that begins with an empty window; it goes on counting where the last one stopped."""
        deflate = self.agreement.deflate
        if deflate is None:
            return None
        compressor = Compressor(deflate, self._settings, self._side)
        if last is not None:
            compressor.taken, compressor.given = last.taken, last.given
        return compressor

    # Receiving, in the hub

    def bytes_received(self, data: bytearray, size: int) -> None:
        self.last_received = self._shared.ran_at = now()
        self._wire_received += size
        events = self._protocol.receive(data, size)
        if events:
            self._handle(events)
        if self._protocol.is_suspended():
            self._update_reading()
        self._deliver()

    def _deliver(self) -> None:
        """Switch to the greenlet that waits for a message, if there is anything to tell it."""
        reader = self._reader
        if reader is None or not (self._protocol.messages or self._is_finished()):
            return
        self._reader = None
        self._dispatching = True
        try:
            switch(reader)
        finally:
            self._dispatching = False
            # The reader waits for something, or has ended: what it gathered must be on the wire first.
            if self._auto_corked:
                self._uncork()
            if self._last_event is not None:
                self._finish_unless_yielding()

    def _uncork_later(self) -> None:
        self._hub.loop.run_callback(self._uncork)

    def _uncork(self) -> None:
        self._auto_corked = False
        if not self._corks:
            self._transport.corked = False
            self._transport.flush()

    def _update_reading(self) -> None:
        """Read unless the caller paused or parsing is suspended; start the job for which it is, or let it rest."""
        protocol = self._protocol
        if self._paused or protocol.is_suspended():
            self._transport.stop_reading()
            if protocol.job is not None and not self._offloaded and not self._transport.closed:
                self._offloaded = True
                self._shared.offload(self._settings.concurrency_limit).submit(protocol.job, self._job_done)
            if protocol.resting and not self._paused and not self._rests:
                self._rest()
        else:
            self._transport.start_reading()

    def _rest(self) -> None:
        """Let the hub look at all other descriptors first; a callback would come before them."""
        self._rests = True
        timer: Any = self._hub.loop.timer(SHORTEST_TIMER)
        timer.start(self._rested, timer)

    def _rested(self, timer: Any) -> None:
        timer.stop()
        timer.close()
        self._rests = False
        if self._protocol.resting and not self._paused:
            self._read_on()

    def _job_done(self, result: list[bytes] | BaseException) -> None:
        self._offloaded = False
        if self._transport.closed:
            self._protocol.job = None
            self._protocol.discard()
            return
        self._shared.ran_at = now()
        if isinstance(result, BaseException) and not isinstance(result, ProtocolError):
            logger.error("a message could not be inflated", exc_info=result)
            self._protocol.job = None
            self._fail(CloseFrame(CloseCode.INTERNAL_ERROR, "a message could not be inflated"))
            return
        self._handle(self._protocol.finish_job(result))
        self._update_reading()
        self._deliver()

    def _resume_parsing(self) -> None:
        """Messages were taken: go on with what was left when they were too many."""
        protocol = self._protocol
        if protocol.job is None and protocol.held <= HELD_LIMIT // 4:
            if protocol.has_tail:
                self._handle(protocol.go_on())
            self._update_reading()

    def _handle(self, events: list[ProtocolEvent]) -> None:
        for event in events:
            if isinstance(event, Ping):
                if self._options.auto_pong and self._protocol.close_sent is None:
                    # RFC 6455 section 5.5.3: an endpoint may answer the newest ping only.
                    self._transport.write_latest(self._protocol.encode(FIN | Opcode.PONG, event.data))
            elif isinstance(event, Pong):
                self._pong_received(event.data)
            else:
                self._last_event = event
        if self._last_event is not None:
            self._defer_finish()

    def stream_ended(self, error: OSError | None) -> None:
        why = "the peer ended the TCP connection without a close frame" if self._shared.thread else _LEFT
        self._end("" if self._is_finished() else why, error)

    # Heartbeats

    @property
    def is_listening(self) -> bool:
        return self._transport.reading

    @property
    def stuck_since(self) -> float | None:
        return self._transport.stuck_since

    def send_heartbeat(self) -> None:
        if self._protocol.close_sent is None:
            self._send_ping(self._new_ping_data(), None)

    def peer_is_dead(self, why: str) -> None:
        self._end(why, None)

    def _new_ping_data(self) -> bytes:
        data = os.urandom(4)
        while data in self._pings:
            data = os.urandom(4)
        return data

    def _send_ping(self, data: bytes, result: AsyncResult[float] | None) -> None:
        self._pings[data] = (result, now())
        self._transport.write(self._protocol.encode(FIN | Opcode.PING, data))

    def _pong_received(self, data: bytes) -> None:
        """RFC 6455 section 5.5.3: a pong answers the ping with its data and all before it, if there was one."""
        if data not in self._pings:
            return
        received_at = now()
        while self._pings:
            first = next(iter(self._pings))
            result, sent_at = self._pings.pop(first)
            self.latency = received_at - sent_at
            if result is not None:
                result.set(self.latency)
            if self._options.metrics is not None:
                self._shared.reports.add(call, self._options.metrics.measured, self, self.latency)
            if first == data:
                return

    # Writing

    @property
    def _can_write(self) -> bool:
        return self._transport.buffered <= HIGH_WATER

    def drained(self) -> None:
        self._shared.ran_at = now()
        if not self._transport.buffered:
            if self._flushed is not None:
                self._flushed.set()
            if self._is_finished():
                self._linger()
        self._wake_senders()

    def write_failed(self, error: OSError) -> None:
        """Sending is over; what the peer sent before may still be read, until the stream ends."""
        self._os_error = error.with_traceback(None)
        if self._protocol.state is _OPEN:
            self._protocol.state = State.CLOSING
        self._start_closing_timer()
        self._hub.loop.run_callback(self._wake_senders)

    def _wake_senders(self) -> None:
        """In the hub: let those send whose turn it is; all of them when nothing can be sent any more."""
        while True:
            blocked = self._protocol.state is _OPEN and not self._can_write
            if self._holder is not None and not blocked:
                waiter, self._holder = self._holder, None
            elif self._senders and (self._protocol.state is not _OPEN or not (blocked or self._turn is not None)):
                waiter = self._senders.pop(0)
            else:
                break
            waiter.switch(None)
        if self._flushed is not None and (self._transport.closed or self._os_error is not None):
            self._flushed.set()

    # Closing

    def _is_finished(self) -> bool:
        """Whether no message can come any more, besides those that are here."""
        protocol = self._protocol
        return protocol.close_rcvd is not None or protocol.error is not None or protocol.state is _CLOSED

    def _send_close(self, frame: CloseFrame) -> None:
        """Begin the closing handshake, or answer it (RFC 6455 sections 7.1.2 and 5.5.1)."""
        self._start_closing_timer()
        self._transport.corked = False
        self._transport.write(self._protocol.close(frame))
        self._paused = False
        self._hub.loop.run_callback(self._wake_senders)
        if self._protocol.has_tail and self._protocol.job is None:
            # The peer's close frame may stand behind more messages than are held otherwise.
            self._hub.loop.run_callback(self._read_on)
        elif not self._is_finished():
            self._update_reading()

    def _read_on(self) -> None:
        """In the hub: go on with what was received but not looked at."""
        if self._transport.closed:
            return
        self._handle(self._protocol.go_on())
        self._update_reading()
        self._deliver()

    def _defer_finish(self) -> None:
        """Messages came before the last event: the greenlet that is going to receive them now may answer them first."""
        if not self._protocol.messages:
            self._finish_late()
        elif getcurrent() is not self._hub:
            self._hub.loop.run_callback(self._finish_unless_yielding)
        elif self._reader is None:
            self._finish_late()

    def _finish_unless_yielding(self) -> None:
        """In the hub: a greenlet that only lets the hub run, amid the messages before the event, answers them first."""
        if not (self._yielding and self._protocol.messages):
            self._finish_late()

    def _finish(self, event: CloseFrame | ProtocolError) -> None:
        """Do what the last event of the connection asks for."""
        if isinstance(event, ProtocolError):
            logger.warning("failed the connection with %s: %s", self.remote_address, event)
            self._fail(CloseFrame(event.violation.close_code, event.violation.text))
            return
        if self._protocol.close_sent is None:
            self._send_close(event)
        self._close_tcp()

    def _finish_late(self) -> None:
        """The same, once nobody is about to answer the messages that came before the event."""
        event, self._last_event = self._last_event, None
        if event is not None and not self._transport.closed:
            self._finish(event)

    def _fail(self, frame: CloseFrame) -> None:
        """Fail the connection (RFC 6455 section 7.1.7)."""
        self._why = frame.reason
        if self._protocol.close_sent is None:
            self._send_close(CloseFrame(frame.code, frame.reason[:MAX_CLOSE_REASON]))
        self._close_tcp()

    def _close_tcp(self) -> None:
        """Both close frames are there, or the connection is failed: end TCP once all is written (section 7.1.1)."""
        self._hub.loop.run_callback(self._wake_senders)
        if self._side is Side.SERVER or self._protocol.close_rcvd is None:
            self._transport.shutdown()
        if not self._transport.buffered:
            self._linger()

    def _start_closing_timer(self) -> None:
        """The closing handshake has one deadline, counted from its first sign."""
        timeout = self._options.close_timeout
        if self._closing_timer is not None or timeout is None or self._transport.closed:
            return
        self._deadline = now() + timeout
        self._closing_timer = self._hub.loop.timer(max(SHORTEST_TIMER, timeout), ref=False)
        self._closing_timer.start(self._end, f"the closing handshake took more than {timeout} s", None)

    def _linger(self) -> None:
        """All is said and written: what is left is to wait for the end of TCP, so that the peer sees no reset."""
        if self._lingering or self._transport.closed:
            return
        self._lingering = True
        left = LINGER
        if self._closing_timer is not None:
            left = max(SHORTEST_TIMER, min(LINGER, self._deadline - now()))
            self._closing_timer.stop()
            self._closing_timer.close()
        self._closing_timer = self._hub.loop.timer(left, ref=False)
        self._closing_timer.start(self._end, "", None)

    def _end(self, why: str, error: OSError | None) -> None:
        """The TCP connection is over."""
        if self._protocol.state is _CLOSED:
            return
        self._ended_at = now()
        self._why = self._why or why
        if error is not None and self._os_error is None:
            self._os_error = error.with_traceback(None)
        self._transport.close()
        self._protocol.discard()
        if self._pulse is not None:
            self._shared.heartbeats.remove(self._pulse)
        if self._closing_timer is not None:
            self._closing_timer.stop()
            self._closing_timer.close()
            self._closing_timer = None
        self._hub.loop.run_callback(self._ended)

    def _ended(self) -> None:
        """In the hub: everybody who waits for this connection goes on."""
        self._shared.ran_at = now()
        if wants_end(self._options.metrics):
            self._shared.reports.add(report_closed, self)
        if self._closed_event is not None:
            self._closed_event.set()
        for result, _ in self._pings.values():
            if result is not None:
                result.set_exception(self._closed_error())
        self._pings.clear()
        self._wake_senders()
        self._deliver()
        if self._on_closed is not None:
            on_closed, self._on_closed = self._on_closed, None
            on_closed(self)

    def _closed_error(self) -> ConnectionClosed:
        """A new exception that tells how the connection ended."""
        rcvd, sent = self._protocol.close_rcvd, self._protocol.close_sent
        order = self._protocol.rcvd_then_sent if rcvd is not None and sent is not None else None
        error: ConnectionClosed
        if rcvd is not None and sent is not None and rcvd.code in _CLOSED_WELL and sent.code in _CLOSED_WELL:
            error = ConnectionClosedOK(rcvd, sent, "", order)
        else:
            error = ConnectionClosedError(rcvd, sent, self._why, order)
        error.__cause__ = self._protocol.error or self._os_error
        return error

    def _check_thread(self) -> None:
        if thread_id() != self._shared.thread:
            self._refuse_thread()

    def _refuse_thread(self) -> None:
        """The caller is not in the thread of the connection's hub, which alone may touch it."""
        if self._shared.thread:
            raise ConcurrencyError("the connection is another thread's; send_threadsafe works in any thread")
        self._end(_LEFT, None)

    def _must_not_be_hub(self) -> None:
        if getcurrent() is self._hub:
            raise InvalidState("this call would have to wait, and the hub cannot wait")


def _peer_name(sock: Any) -> Any:
    try:
        return sock.getpeername()
    except OSError:
        return None  # gone already; reading will tell
