"""WebSocket: the blocking calls, on top of a connection that the hub drives."""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gevent import Timeout
from gevent.event import AsyncResult

from .deflate import PerMessageDeflate
from .exceptions import ConcurrencyError, ConnectionClosedOK
from .files import open_file
from .frames import FIN, MAX_CONTROL_PAYLOAD, Buffer, CloseCode, CloseFrame, Opcode, Side
from .handshake import Agreement
from .http11 import Request, Response
from .hubs import let_hub_run
from .kernels import now
from .options import Options, check_wait
from .protocol import Fragment, Message, Ping, Pong, State
from .sending import SendingConnection
from .stats import ConnectionStats
from .switching import getcurrent, switch, thread_id

if TYPE_CHECKING:
    from typing_extensions import Self

YIELD_AFTER = 0.005
"""A receiving greenlet lets the hub run when it has not done so for this long, in seconds, even if messages wait."""
WRITE_AFTER = 0.0005
"""What auto_cork gathers is written before the next message is handed out once it has waited this long, in seconds."""
_YIELD_AFTER = YIELD_AFTER
_WRITE_AFTER = WRITE_AFTER
_OPEN = State.OPEN
_CLOSED = State.CLOSED


class WebSocket(SendingConnection):
    """An open connection (RFC 6455).

    Made by `connect`, by a server or by an `Upgrader`; a program makes none itself. Any number of greenlets may send,
    one may receive. Every call that waits can be interrupted by a gevent.Timeout or a kill; nothing is lost or
    corrupted by that.

    Attributes:
        url: the URL, on the client; on a server the empty string.
        request: the opening handshake's request; its ``user`` is what ``process_request`` put there.
        response: the answer to it, with status 101.
        data: a dict for the program's own use; ``process_request`` may fill it through ``request.data``.
        local_address, remote_address: the socket's addresses.
        latency: how long the last answered ping took, in seconds; None before the first.
    """

    __slots__ = ("data", "request", "response", "url")

    def __init__(
        self,
        sock: Any,
        side: Side,
        agreement: Agreement,
        *,
        request: Request,
        response: Response,
        head: bytes = b"",
        url: str = "",
        settings: PerMessageDeflate | None = None,
        options: Options | None = None,
        on_closed: Callable[[Any], None] | None = None,
    ) -> None:
        self.url = url
        self.request = request
        self.response = response
        self.data: dict[Any, Any] = request.data
        super().__init__(sock, side, agreement, head, settings, options or Options(), on_closed, request.remote_address)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._side.value} {self.state.name} {self.url or self.remote_address}>"

    # What the connection is

    @property
    def state(self) -> State:
        """OPEN, CLOSING or CLOSED (RFC 6455 section 4.1 and 7.1)."""
        return self._protocol.state

    @property
    def client_address(self) -> str | None:
        """The IP address of the client, on a server: what trusted proxies tell, or else that of `remote_address`.

        None over a unix socket.
        """
        return self.request.client_address

    @property
    def environ(self) -> dict[str, Any] | None:
        """The WSGI environment of the request, None where no WSGI server has read it."""
        return self.request.environ

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol in use (RFC 6455 section 1.9), or None."""
        return self.agreement.subprotocol

    @property
    def extensions(self) -> str:
        """The extensions in use as the server named them (RFC 6455 section 9.1), or the empty string."""
        return self.response.headers.get("Sec-WebSocket-Extensions", "") or ""

    @property
    def peer_certificate(self) -> dict[str, Any] | None:
        """The certificate that the peer showed in TLS, as the dict of ssl's getpeercert.

        Empty where it was not verified; None where the peer showed none, and without TLS.
        """
        return self.request.peer_certificate

    @property
    def close_code(self) -> int | None:
        """The peer's close code (RFC 6455 section 7.1.5), 1006 where it sent none; None while it is open."""
        if self._protocol.close_rcvd is not None:
            return self._protocol.close_rcvd.code
        return CloseCode.ABNORMAL_CLOSURE if self.state is _CLOSED else None

    @property
    def close_reason(self) -> str | None:
        """The peer's close reason (RFC 6455 section 7.1.6); None while the connection is open."""
        if self._protocol.close_rcvd is not None:
            return self._protocol.close_rcvd.reason
        return "" if self.state is _CLOSED else None

    @property
    def buffered_amount(self) -> int:
        """How many bytes were sent but not yet taken by the kernel."""
        return self._transport.buffered + self._behind_size

    @property
    def paused(self) -> bool:
        """Whether `pause` was called last."""
        return self._paused

    def stats(self) -> ConnectionStats:
        """What has gone over the connection so far, and how it is; also when it has ended."""
        code, side = self._ending()
        return ConnectionStats(
            *self._counts(),
            age=self._age(),
            buffered_amount=self._transport.buffered,
            waiting=self._waiting(),
            latency=self.latency,
            close_code=code,
            closed_by=None if side is None else side.value,
        )

    # Receiving

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

    def makefile(
        self,
        mode: str = "rwb",
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """A file object over the connection, as a socket's `makefile` makes one.

        What is read are the payloads of all messages in a row, text in UTF-8 where the file is binary. What is written
        is gathered, and leaves as one message where the file is flushed or the buffer is full; no message is empty.
        The end of the file is a connection that was closed with 1000, 1001 or no code; any other end raises
        ConnectionClosedError. From the first read until the file is closed nobody else can receive; where it can
        only be read, from the beginning.

        Closing a file that can be written to flushes it and closes the connection with 1000, since WebSocket knows no
        other end of a stream. Where it can also be read, that waits as `close` does; where not, whoever reads
        meanwhile goes on to the end. Closing a file that can only be read does nothing to the connection.

        Args:
            mode: r, w or both; with a b for bytes, which are sent as binary messages, else for text.
            buffering: how many bytes are gathered at the most, 8192 by default; 0 makes each write a message, and
                reading give what is there (binary only); 1 sends each line at once (text only).
            encoding: how binary messages are decoded where text is read, UTF-8 by default.
            errors: what becomes of bytes that cannot be decoded and text that cannot be encoded, as in `open`.
            newline: which line ends there are, and what becomes of them, as in `open`; but None leaves those that are
                written as they are.

        Raises:
            ValueError, LookupError: an argument is not valid.
        """
        return open_file(self, mode, buffering, encoding, errors, newline)

    def _read_as_stream(self, on: bool) -> None:
        """Whether all messages come in fragments from now on, and none is dropped while the connection closes."""
        self._protocol.as_stream = on
        if on:
            self._protocol.stream()
        else:
            self._protocol.stop_streaming()
            if self._protocol.close_sent is not None and self._protocol.job is None:
                self._hub.loop.run_callback(self._read_to_close)

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
        timer = Timeout.start_new(timeout)
        try:
            self._suspend_reader()
        except Timeout as error:
            if error is not timer:
                raise
            if not self._protocol.messages:
                raise TimeoutError(f"no message came within {timeout} s") from None
        finally:
            timer.close()

    def _poll(self) -> None:
        """Read what is there. This is not a turn of the hub, which a greenlet that polls must not keep from running."""
        ran_at = self._shared.ran_at
        self._transport.poll()
        self._shared.ran_at = ran_at

    # Back-pressure

    def pause(self) -> None:
        """Stop reading, so that the peer has to wait. Meanwhile pings are not answered and a close is not noticed."""
        self._check_thread()
        if not self._paused and self.state is _OPEN:
            self._paused = True
            self._update_reading()

    def resume(self) -> None:
        """Read again after `pause`."""
        self._check_thread()
        if self._paused:
            self._paused = False
            self._update_reading()

    # Pings

    def ping(self, data: str | Buffer | None = None) -> AsyncResult[float]:
        """Send a ping (RFC 6455 section 5.5.2); the result is the latency in seconds.

        Args:
            data: at most 125 bytes; by default random ones.

        Raises:
            ConnectionClosed: at once, or from the result when the connection ends before the pong.
            ConcurrencyError: a ping with the same data has not been answered yet.
            ValueError: there are more than 125 bytes.
        """
        self._check_thread()
        payload = self._new_ping_data() if data is None else _control_payload(data)
        if payload in self._pings:
            raise ConcurrencyError("a ping with the same data waits for its answer")
        if self.state is not _OPEN:
            self._wait_until_closed_and_raise()
        result: AsyncResult[float] = AsyncResult()
        self._send_ping(payload, result)
        return result

    def pong(self, data: str | Buffer = b"") -> None:
        """Send a pong, asked for or not (RFC 6455 section 5.5.3); raises as `ping` does."""
        self._check_thread()
        payload = _control_payload(data)
        if self.state is not _OPEN:
            self._wait_until_closed_and_raise()
        self._transport.write(self._protocol.encode(FIN | Opcode.PONG, payload))

    @property
    def on_ping(self) -> Callable[[bytes], object] | None:
        """A function that is called with the data of each received ping, in order with the messages, by the greenlet
        that receives; None by default. What it raises leaves from `recv`."""
        return self._on_ping

    @on_ping.setter
    def on_ping(self, function: Callable[[bytes], object] | None) -> None:
        self._on_ping = function
        self._protocol.report_control = self._on_ping is not None or self._on_pong is not None

    @property
    def on_pong(self) -> Callable[[bytes], object] | None:
        """The same for pongs."""
        return self._on_pong

    @on_pong.setter
    def on_pong(self, function: Callable[[bytes], object] | None) -> None:
        self._on_pong = function
        self._protocol.report_control = self._on_ping is not None or self._on_pong is not None

    # Closing

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection (RFC 6455 section 7.1.2) and wait for its end, at most ``close_timeout`` seconds.

        What was sent before is written first. Messages that came before the peer's answer can still be received, up to
        64 KiB of them.
        A connection that is closing or closed already is only waited for. In the hub it does not wait.

        Args:
            code: 1000 to 1003, 1007 to 1014 or 3000 to 4999.
            reason: at most 123 bytes in UTF-8.

        Raises:
            ValueError, TypeError: the code or the reason is not allowed; nothing was sent.
        """
        frame = CloseFrame.checked(code, reason)
        self.start_close(frame)
        if getcurrent() is not self._hub:
            self.wait_closed()

    def start_close(self, frame: CloseFrame) -> None:
        """Begin the closing handshake without waiting for anything; the hub brings it to its end."""
        self._check_thread()
        if self.state is _OPEN:
            self._send_close(frame)

    def terminate(self) -> None:
        """End the TCP connection at once, without a closing handshake. What was not written yet is lost."""
        self._check_thread()
        self._end("terminated", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close with 1000, or with 1011 on an exception."""
        if error is None:
            self.close()
        elif isinstance(error, Exception):
            self.close(CloseCode.INTERNAL_ERROR)
        else:
            # A Timeout or a kill must not be delayed by a slow peer.
            self.start_close(CloseFrame(CloseCode.INTERNAL_ERROR))


class _Messages:
    """The iterator over messages; not a generator, since an exception that is thrown in must not end it."""

    __slots__ = ("_websocket",)

    def __init__(self, websocket: WebSocket) -> None:
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

    def __init__(self, websocket: WebSocket, decode: bool | None) -> None:
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


def _control_payload(data: str | Buffer) -> bytes:
    payload = data.encode() if isinstance(data, str) else bytes(memoryview(data))
    if len(payload) > MAX_CONTROL_PAYLOAD:
        raise ValueError(f"a control frame carries at most {MAX_CONTROL_PAYLOAD} bytes")
    return payload
