"""A socket before it is a WebSocket's: one deadline, the peer's name, whole writes, heads, an end the peer can hear.

The sockets are gevent's or the standard library's, plain or TLS, or a `tls.TLSStream`; they must be non-blocking. It is
the hub that waits in any case.
"""

from __future__ import annotations

from contextlib import suppress
from ssl import SSLWantReadError, SSLWantWriteError
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from gevent import Timeout
from gevent.socket import MSG_PEEK, wait_read, wait_write

from .exceptions import HandshakeError
from .frames import Buffer
from .http11 import refusal
from .hubs import let_hub_run
from .kernels import now
from .proxy_protocol import ProxyHeader, ProxyHeaderParser
from .transport import half_close

if TYPE_CHECKING:
    from typing_extensions import Self

    from .body import BodyParser
    from .http11 import Request

_CHUNK = 16384
_TURN = 0.005
"""How long the others wait while a head is read that is there already, in seconds."""
_END_OF_HEAD = b"\r\n\r\n"
_LINGER = 1.0
"""How long a peer that was refused may go on sending before it is cut off, in seconds."""
_LINGER_SIZE = 2**20
"""How much it may send meanwhile, in bytes."""

Head = TypeVar("Head", covariant=True)


class HeadParser(Protocol[Head]):
    """What `read_head` needs of `http11.RequestParser` and `http11.ResponseParser`."""

    @property
    def rest(self) -> bytes: ...

    def feed(self, data: bytes) -> Head | None: ...


class _Passed(Timeout):
    """What a deadline throws; ``step`` is that of the innermost deadline which it has met on its way, if any."""

    step: str | None = None


class Deadline:
    """One deadline for all that happens inside its ``with`` statement: then TimeoutError is raised.

    Any other exception passes as it is, a gevent.Timeout of the caller's among them. Where one deadline lies in another
    and both have passed, it is the inner one's step that is told, whichever of them was first.

    Attributes:
        step: what is being done, for the error's text; to be kept up to date.
    """

    def __init__(self, seconds: float | None, step: str) -> None:
        self.step = step
        self._seconds = seconds
        self._end = 0.0
        self._timeout: _Passed | None = None

    @property
    def remaining(self) -> float | None:
        """How many seconds are left, 0 at least; None where there is no deadline."""
        return None if self._seconds is None else max(0.0, self._end - now())

    def is_cause_of(self, error: BaseException) -> bool:
        """Whether this is what the deadline itself throws into the greenlet when it passes."""
        return error is self._timeout

    def stop(self) -> None:
        """Make sure that nothing is thrown any more; for the one whose ``with`` statement may have been broken."""
        if self._timeout is not None:
            self._timeout.close()

    def __enter__(self) -> Self:
        if self._seconds is None:
            return self
        self._end = now() + self._seconds
        self._timeout = _Passed(self._seconds)
        try:
            self._timeout.start()
            return self
        except BaseException:
            self.stop()  # thrown in by a signal's handler: there will be no __exit__
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        if isinstance(error, _Passed):
            error.step = error.step or self.step
        if error is self._timeout and self._timeout is not None and self._seconds is not None:
            raise TimeoutError(too_late(self._timeout.step or self.step, self._seconds)) from None


def too_late(step: str, seconds: float) -> str:
    """What an error says of a deadline that has passed."""
    return f"{step} took too long: the deadline of {round(seconds, 3):g} s has passed"


def request_timeout(text: str) -> HandshakeError:
    """The error for a client that was too slow with its request (RFC 7231 section 6.5.7)."""
    return HandshakeError(text, refusal(408, text))


def introduce(request: Request, sock: Any) -> None:
    """Tell the request who is at the other end of its socket."""
    if request.remote_address is None:
        with suppress(OSError):  # gone already; reading or writing will tell
            request.remote_address = sock.getpeername()
    if hasattr(sock, "getpeercert"):
        request.peer_certificate = sock.getpeercert()


def receive(sock: Any, size: int = _CHUNK, *flags: int) -> bytes:
    """Wait for the next bytes, at most so many; b"" at the end of the stream. ``flags`` are those of a plain socket."""
    while True:
        try:
            data: bytes = sock.recv(size, *flags)
            return data
        except (BlockingIOError, SSLWantReadError):
            wait_read(sock.fileno())
        except SSLWantWriteError:
            wait_write(sock.fileno())


def try_to_send(sock: Any, data: bytes) -> bytes:
    """Write what goes without waiting, as an answer's few lines nearly always do; returns what is left."""
    try:
        return data[sock.send(data) :]
    except (BlockingIOError, SSLWantReadError, SSLWantWriteError):
        return data


def send_all(sock: Any, data: Buffer) -> None:
    """Write all of it, waiting where the peer is slow."""
    left = memoryview(data)
    while left:
        try:
            sent = sock.send(left)
        except SSLWantReadError:
            wait_read(sock.fileno())
            continue
        except (BlockingIOError, SSLWantWriteError):
            sent = 0
        if not sent:  # gevent's SSLSocket says 0 where others raise
            wait_write(sock.fileno())
        left = left[sent:]


def read_head(sock: Any, parser: HeadParser[Head]) -> Head | None:
    """Feed a parser until it has a head; None where the stream ends before. Raises what the parser raises."""
    while data := receive(sock):
        head = parser.feed(data)
        if head is not None:
            return head
    return None


def read_proxy_header(sock: Any) -> ProxyHeader | None:
    """The PROXY header at the begin of a plain stream; None where the stream ends before. Raises InvalidProxyHeader.

    What follows it stays in the socket, for TLS or whoever reads on.
    """
    parser = ProxyHeaderParser()
    while data := receive(sock, _CHUNK, MSG_PEEK):
        header = parser.feed(data)
        sock.recv(len(data) - len(parser.rest))
        if header is not None:
            return header
    return None


def read_only_head(sock: Any, parser: HeadParser[Head]) -> Head | None:
    """As `read_head`, but what follows the head stays in the socket, for whoever reads on."""
    end = b""
    since = now()
    while data := receive(sock, _missing(end)):
        head = parser.feed(data)
        if head is not None:
            return head
        end = (end + data)[-len(_END_OF_HEAD) :]
        if now() - since > _TURN:  # a long head is many small pieces
            let_hub_run()
            since = now()
    return None


def _missing(end: bytes) -> int:
    """How many bytes are missing at least to the end of a head whose last bytes so far are these."""
    lengths = range(len(_END_OF_HEAD))
    return len(_END_OF_HEAD) - max(length for length in lengths if end.endswith(_END_OF_HEAD[:length]))


def read_body(sock: Any, parser: BodyParser) -> None:
    """Feed a parser until it has the body, or the stream ends."""
    while not parser.done and (data := receive(sock)):
        parser.feed(data)


def hang_up(sock: Any) -> None:
    """Close the socket so that the peer can read what was written last.

    A peer that still sends would be answered with a reset, which may destroy what it has not read yet; so what it sends
    is read and dropped for a short while.
    """
    try:
        with suppress(OSError), Deadline(_LINGER, "the end of the connection"):
            half_close(sock)
            left = _LINGER_SIZE
            while left > 0 and (data := receive(sock)):
                left -= len(data)
    finally:
        sock.close()
