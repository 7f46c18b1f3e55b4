"""Receiving: one greenlet at a time waits for messages, or for the fragments of one (RFC 6455 section 6.2).

A message leaves the protocol in a step that nothing can interrupt, so that an interrupted call loses nothing. What the
greenlet sends while more messages of the same batch wait is gathered.
"""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gevent import Timeout

from .events import Fragment, Message, Ping, Pong, State
from .exceptions import ConcurrencyError, ConnectionClosedOK
from .hubs import YIELD_AFTER, let_hub_run
from .kernels import now
from .options import check_wait
from .sending import SendingConnection
from .switching import getcurrent, switch, thread_id

if TYPE_CHECKING:
    from typing_extensions import Self

WRITE_AFTER = 0.0005
"""What auto_cork gathers is written before the next message is handed out once it has waited this long, in seconds."""
_YIELD_AFTER = YIELD_AFTER
_WRITE_AFTER = WRITE_AFTER
_OPEN = State.OPEN


class ReceivingConnection(SendingConnection):
    """The part of a WebSocket that receives messages."""

    __slots__ = ()

    def recv(self, timeout: float | None = None, *, decode: bool | None = None) -> Message:
        """Wait for the next message: str for text, bytes for binary.

        An interrupted call loses nothing: the next one gets the message.

        Args:
            timeout: how long to wait, in seconds; 0 takes what is there; None waits for ever.
            decode: True gives str and False bytes, whatever the message's type.

        Raises:
            TimeoutError: no message came in time.
            ConnectionClosed: the connection has ended, and all messages that came before have been received.
            ConcurrencyError: another greenlet receives, a message is being streamed, or the calling thread is not the
                connection's.
            UnicodeDecodeError: a binary message was to be decoded and is not UTF-8. The message is gone.
        """
        if timeout is not None:
            check_wait("timeout", timeout)
        item: Message = self._next_item(timeout, False)
        if decode is None or isinstance(item, str) is decode:
            return item
        return _convert(item)

    def recv_streaming(self, *, decode: bool | None = None) -> Iterator[Message]:
        """Iterate over one message's fragments as they arrive (RFC 6455 section 5.4).

        Fragments are cut where the network or the peer cut them, text between characters. An iteration that was
        interrupted goes on at the next step; one that was given up is taken up by the next call.

        Args:
            decode: True gives str and False bytes, whatever the message's type.
        """
        return _Fragments(self, decode)

    def recv_json(self, timeout: float | None = None) -> Any:
        """`recv`, parsed as JSON; raises ValueError where it is none."""
        return json.loads(self.recv(timeout))

    def __iter__(self) -> Iterator[Message]:
        """Messages until the connection is closed; raises ConnectionClosedError where it was not closed well."""
        return _Messages(self)

    def _next_item(self, timeout: float | None, streams: bool) -> Any:
        """The next message, or the next fragment where ``streams``; the one place where a greenlet waits to receive."""
        if thread_id() != self._shared.thread:
            self._refuse_thread()
        protocol = self._protocol
        messages = protocol.messages
        while True:
            if not messages:
                self._wait_for_item(timeout, streams)
                time = self._shared.ran_at
            else:
                time = now()
                if time - self._shared.ran_at > _YIELD_AFTER:
                    self._yield_to_hub()
                    continue
            item = messages[protocol.taken]
            whole = type(item) is str or type(item) is bytes
            if not whole and not streams and isinstance(item, Fragment):
                raise ConcurrencyError("a message is being streamed: finish recv_streaming() first")
            protocol.take()
            if not self._transport.reading:
                self._resume_parsing()
            if self._auto_cork and (messages or self._auto_corked):
                self._cork_batch(time, bool(messages))
            if whole or not isinstance(item, Ping | Pong):
                return item
            self._call_back(item)

    def _yield_to_hub(self) -> None:
        if getcurrent() is not self._hub:
            self._yielding = True
            try:
                let_hub_run()
            finally:
                self._yielding = False
                if self._last_event is not None:
                    self._hub.loop.run_callback(self._finish_unless_yielding)
        self._shared.ran_at = now()

    def _call_back(self, item: Ping | Pong) -> None:
        function = self._on_ping if isinstance(item, Ping) else self._on_pong
        if function is not None:
            function(item.data)

    def _cork_batch(self, time: float, more: bool) -> None:
        """Gather what is sent while more messages of the same batch wait. Each way out of here ends in a write:
        the next send after the batch's last message, the greenlet's next wait, or the hub's next turn."""
        transport = self._transport
        if not self._auto_corked:
            if not more or self._corks:
                return
            self._auto_corked = True
            self._cork_began = time
            if not self._dispatching:
                self._uncork_later()
        elif time - self._cork_began > _WRITE_AFTER:
            self._cork_began = time
            transport.flush()
        transport.corked = more or self._corks > 0

    def _wait_for_item(self, timeout: float | None, streams: bool) -> None:
        messages = self._protocol.messages
        if self._reader is not None and not self._is_finished():
            raise ConcurrencyError("another greenlet receives from this connection")
        if streams:
            self._protocol.stream()
        if not messages and timeout is not None and timeout <= 0:
            self._poll()
        if messages:
            return
        if self._is_finished():
            self._finish_late()
            self._raise_closed()
        if timeout is not None and timeout <= 0:
            raise TimeoutError("no message is there")
        try:
            if timeout is None:
                self._suspend_reader()
            else:
                self._suspend_reader_for(timeout)
        finally:
            if streams and not messages:
                self._protocol.stop_streaming()
        if not messages:
            self._raise_closed()

    def _suspend_reader(self) -> None:
        """Wait in the hub until there is something to tell. What lies on the stack here, each idle connection holds."""
        protocol = self._protocol
        self._must_not_be_hub()
        try:
            while True:
                self._reader = getcurrent()
                switch(self._hub)
                if protocol.messages or self._is_finished():
                    break
        finally:
            self._reader = None

    def _suspend_reader_for(self, timeout: float) -> None:
        timer = Timeout(timeout)
        try:
            try:
                timer.start()
                self._suspend_reader()
            finally:
                timer.close()
        except Timeout as error:
            if error is not timer:
                raise
            if not self._protocol.messages:
                raise TimeoutError(f"no message came within {timeout} s") from None
        finally:
            timer.close()  # twice: what a signal's handler raises in between two lines cannot hit both
            del timer  # whose traceback knows this frame

    def _poll(self) -> None:
        """Read what is there. This is not a turn of the hub, which a greenlet that polls must not keep from running."""
        ran_at = self._shared.ran_at
        self._transport.poll()
        self._shared.ran_at = ran_at

    # Back-pressure

    def pause(self) -> None:
        """Stop reading, so that the peer has to wait. Meanwhile pings are not answered and a close is not noticed."""
        self._check_thread()
        if not self._paused and self._protocol.state is _OPEN:
            self._paused = True
            self._update_reading()

    def resume(self) -> None:
        """Read again after `pause`."""
        self._check_thread()
        if self._paused:
            self._paused = False
            self._update_reading()


class _Messages:
    """The iterator over messages; not a generator, since an exception that is thrown in must not end it."""

    __slots__ = ("_websocket",)

    def __init__(self, websocket: ReceivingConnection) -> None:
        self._websocket = websocket

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        try:
            message: Message = self._websocket._next_item(None, False)
        except ConnectionClosedOK:
            raise StopIteration from None
        return message


class _Fragments:
    """The iterator of `recv_streaming`; not a generator either."""

    def __init__(self, websocket: ReceivingConnection, decode: bool | None) -> None:
        self._websocket = websocket
        self._decode = decode
        self._decoder = getincrementaldecoder("utf-8")()
        self._ended = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        if self._ended:
            raise StopIteration
        item = self._websocket._next_item(None, True)
        if isinstance(item, Fragment):
            data, self._ended = item
        else:
            # It was complete before anybody asked for its fragments.
            data, self._ended = item, True
        if self._decode is None or isinstance(data, str) is self._decode:
            return data
        if isinstance(data, str):
            return data.encode("utf-8", "surrogateescape")
        return self._decoder.decode(data, self._ended)


def _convert(message: Message) -> Message:
    if isinstance(message, str):
        return message.encode("utf-8", "surrogateescape")
    return message.decode()
