"""WebSocket: the blocking calls, on top of a connection that the hub drives."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gevent.event import AsyncResult

from .deflate import PerMessageDeflate
from .events import State
from .exceptions import ConcurrencyError
from .files import open_file
from .frames import FIN, MAX_CONTROL_PAYLOAD, Buffer, CloseCode, CloseFrame, Opcode, Side
from .handshake import Agreement
from .http11 import Request, Response
from .kernels import now
from .options import Options
from .receiving import ReceivingConnection
from .stats import ConnectionStats
from .switching import getcurrent

if TYPE_CHECKING:
    from typing_extensions import Self

    from .stats import Counts

_OPEN = State.OPEN
_CLOSED = State.CLOSED


class WebSocket(ReceivingConnection):
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
                self._hub.loop.run_callback(self._read_on)

    # Counting

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

    def _counts(self) -> Counts:
        protocol = self._protocol
        compressor, decompressor = protocol.compressor, protocol.decompressor
        return (
            protocol.messages_received,
            self._messages_sent,
            protocol.payload_received,
            self._payload_sent,
            self._wire_received,
            self._transport.sent,
            decompressor.taken if decompressor is not None else 0,
            decompressor.given if decompressor is not None else 0,
            compressor.taken if compressor is not None else 0,
            compressor.given if compressor is not None else 0,
        )

    def _age(self) -> float:
        return (self._ended_at or now()) - self._opened_at

    def _waiting(self) -> int:
        return len(self._protocol.messages) - self._protocol.taken

    def _ending(self) -> tuple[int | None, Side | None]:
        """The close code with which the connection ended, and the side that closed it."""
        protocol = self._protocol
        if protocol.state is not _CLOSED:
            return None, None
        rcvd, sent = protocol.close_rcvd, protocol.close_sent
        if sent is not None and sent is not rcvd and (rcvd is not None or protocol.error is not None):
            return sent.code, self._side
        if rcvd is not None:  # which is what this side has sent too, as the answer, where it could
            return rcvd.code, Side.CLIENT if self._side is Side.SERVER else Side.SERVER
        return CloseCode.ABNORMAL_CLOSURE, None

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


def _control_payload(data: str | Buffer) -> bytes:
    payload = data.encode() if isinstance(data, str) else bytes(memoryview(data))
    if len(payload) > MAX_CONTROL_PAYLOAD:
        raise ValueError(f"a control frame carries at most {MAX_CONTROL_PAYLOAD} bytes")
    return payload
