"""One HTTP/1.1 head: header fields, request and response, parsed within limits and serialized (RFC 7230).

The parsers are fed bytes in any pieces. They look at each byte once or twice, report a fault as soon as the bytes at
hand show it, and give the same answer however the bytes were split.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from .exceptions import HandshakeError
from .frames import Buffer
from .headers import COMMON_FIELDS, COMMON_NAMES, FORBIDDEN, Headers, HeadersLike, check_text, is_token
from .kernels import plain_head

if TYPE_CHECKING:
    from .proxy_protocol import ProxyHeader

MAX_HEAD_SIZE = 16384
MAX_HEAD_LINES = 128

_TEXT = bytes(byte for byte in range(256) if chr(byte) not in FORBIDDEN)
_MAPPED = "::ffff:"  # how a socket for IPv6 shows the addresses of IPv4 (RFC 4291 section 2.5.5.2)
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(init=False)
class Request:
    """The head of a request (RFC 7230 section 3.1.1).

    Attributes:
        method: "GET" for an opening handshake.
        target: the request-target as it stands in the request line: visible ASCII.
        headers: the header fields.
        version: "HTTP/1.1", or "HTTP/1." and another digit where a client sent that.
        user: who the peer is, for the application to set.
        data: whatever else the application wants to keep with the request.
        remote_address: the address at the other end of the request's socket, or the one that a PROXY header tells; None
            before there is one.
        peer_certificate: the certificate that was shown there in TLS, as the dict of ssl's getpeercert; empty where
            it was not verified, None where there was none.
        environ: the WSGI environment, where a WSGI server has read the request, else None.
        proxy_header: the PROXY header in front of the request, where a server expects one, else None.

    Raises ValueError where the method, the target or the version is not valid; `serialize` checks them again.
    """

    method: str
    target: str
    headers: Headers
    version: str
    user: Any
    data: dict[Any, Any]
    remote_address: Any
    peer_certificate: dict[str, Any] | None
    environ: dict[str, Any] | None
    proxy_header: ProxyHeader | None

    def __init__(
        self,
        method: str = "GET",
        target: str = "/",
        headers: HeadersLike = None,
        version: str = "HTTP/1.1",
        user: Any = None,
        data: dict[Any, Any] | None = None,
        remote_address: Any = None,
        peer_certificate: dict[str, Any] | None = None,
        environ: dict[str, Any] | None = None,
        proxy_header: ProxyHeader | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        self.version = version
        self.user = user
        self.data = {} if data is None else data
        self.remote_address = remote_address
        self.peer_certificate = peer_certificate
        self.environ = environ
        self.proxy_header = proxy_header
        self._client_address: str | None = None
        self._check()

    @property
    def path(self) -> str:
        """The path as it was sent, percent-encoded and without the query."""
        return self._resource().partition("?")[0]

    @property
    def query(self) -> str:
        """What follows the first question mark of the target, as it was sent; "" where there is none."""
        return self._resource().partition("?")[2]

    @property
    def client_address(self) -> str | None:
        """The IP address of the client: what trusted proxies tell, or else that of `remote_address`.

        None over a unix socket. It may be set.
        """
        if self._client_address is not None or not isinstance(self.remote_address, tuple):
            return self._client_address
        host: str = self.remote_address[0]
        return host.removeprefix(_MAPPED) if "." in host else host

    @client_address.setter
    def client_address(self, address: str | None) -> None:
        self._client_address = address

    def serialize(self) -> bytes:
        """The head as it is sent."""
        self._check()
        return f"{self.method} {self.target} {self.version}\r\n{self.headers.serialize()}\r\n".encode("latin-1")

    def _resource(self) -> str:
        """The path and query; a target may also be a whole URL (RFC 7230 section 5.3.2, RFC 6455 section 4.2.1)."""
        scheme, absolute, rest = self.target.partition("://")
        if not absolute or not scheme.isalpha():
            return self.target
        authority = rest.partition("?")[0].partition("/")[0]
        resource = rest[len(authority) :]
        return resource if resource.startswith("/") else "/" + resource

    def _check(self) -> None:
        if not is_token(self.method):
            raise ValueError("the method is not a token")
        if not is_target(self.target):
            raise ValueError("the request target is not valid")
        if not _is_http_1(self.version):
            raise ValueError("the HTTP version is not valid")


@dataclass(init=False)
class Response:
    """A response: its head (RFC 7230 section 3.1.2) and its body.

    Attributes:
        status: 100 to 999.
        reason: the reason phrase; by default the usual one for the status, "" for a status that has none.
        headers: the header fields.
        body: the body without any transfer coding. Of a response that was received it is at most the first part.

    Raises ValueError where the status or the reason is not valid, TypeError where the body is not bytes;
    `serialize` checks them again.
    """

    status: int
    reason: str
    headers: Headers
    body: bytes

    def __init__(self, status: int, reason: str | None = None, headers: HeadersLike = None, body: bytes = b"") -> None:
        self.status = status
        self.reason = _standard_reason(status) if reason is None else reason
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        self.body = body
        self._check()

    def serialize(self) -> bytes:
        """The response as it is sent.

        Content-Length is added where it is needed (RFC 7230 section 3.3.2). One that is there already must agree with
        the body, unless there is no body, as in the answer to a HEAD request; otherwise ValueError is raised.
        """
        self._check()
        head = f"HTTP/1.1 {self.status} {self.reason}\r\n{self.headers.serialize()}{self._length_line()}\r\n"
        return head.encode("latin-1") + self.body

    def _length_line(self) -> str:
        if not may_have_body(self.status) or "Transfer-Encoding" in self.headers:
            return ""
        length = str(len(self.body))
        given = self.headers.get("Content-Length")
        if given is None:
            return f"Content-Length: {length}\r\n"
        if self.body and given != length:
            raise ValueError(f"Content-Length is {given}, but the body has {length} bytes")
        return ""

    def _check(self) -> None:
        if not isinstance(self.status, int) or not 100 <= self.status <= 999:
            raise ValueError("a status is a number from 100 to 999")
        check_text(self.reason, "a reason phrase")
        if not isinstance(self.body, bytes):
            raise TypeError("a body is bytes")
        if self.body and not may_have_body(self.status):
            raise ValueError(f"a response with status {self.status} has no body")


def refusal(status: int, text: str, headers: HeadersLike = ()) -> Response:
    """The response with which a server refuses a request, in one line of plain text, and closes the connection."""
    body = f"{text}\n".encode()
    given = Headers(headers)
    # RFC 7230 section 6.7: Upgrade is always named in Connection.
    connection = "Upgrade, close" if "Upgrade" in given else "close"
    fields = [("Date", http_date(time.time())), ("Connection", connection), *given.items()]
    fields += [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    return Response(status, headers=fields, body=body)


def is_target(text: str) -> bool:
    """Whether this can be a request's target (RFC 7230 section 5.3): visible ASCII without a fragment."""
    return text != "" and _is_visible(text) and "#" not in text


def http_date(seconds: float) -> str:
    """A Date header's value (RFC 7231 section 7.1.1.1) for a time since the epoch, in English whatever the locale."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(seconds)
    return f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT"


def may_have_body(status: int) -> bool:
    """Whether a response with this status has a body, be it an empty one (RFC 7230 section 3.3.3)."""
    return status >= 200 and status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


Head = TypeVar("Head", Request, Response)


class _HeadParser(Generic[Head]):
    """What requests and responses have in common: a start line, header fields and an empty line."""

    def __init__(self, max_size: int = MAX_HEAD_SIZE, max_lines: int = MAX_HEAD_LINES) -> None:
        self.rest = b""
        self._max_size = max_size
        self._max_lines = max_lines
        self._lines = 0
        self._head: Head | None = None
        self._buffer = bytearray()
        self._line = 0  # where the line begins that is not complete yet
        self._checked = 0  # how far that line is known to be free of line ends and of control characters

    def feed(self, data: Buffer) -> Head | None:
        """Take the next bytes of the stream.

        Returns the head once it is complete, and has the bytes behind it in ``rest``; until then returns None.
        Raises HandshakeError where the head is not valid. After either, the parser is done.
        """
        if not self._buffer and (head := self._take_plain(bytes(data))) is not None:
            return head
        self._buffer += data
        limit = min(len(self._buffer), self._max_size)
        end = self._buffer.rfind(b"\n", self._checked, limit) + 1
        if end and (head := self._take_lines(bytes(self._buffer[self._line : end]))) is not None:
            self.rest = bytes(self._buffer[self._line :])
            self._buffer.clear()
            return head
        self._check_tail(limit)
        return None

    def _take_plain(self, data: bytes) -> Head | None:
        """The head where it has come whole and nothing in it must be looked at closer, as it is nearly always."""
        plain = plain_head(data, COMMON_FIELDS, COMMON_NAMES)
        if plain is None:
            return None
        first, fields, size = plain
        if size > self._max_size or len(fields) >= self._max_lines:
            return None
        head = self._finish(self._start(first, Headers._of(fields)))
        if head is not None:
            self.rest = data[size:]
        return head

    def _take_lines(self, lines: bytes) -> Head | None:
        """Take whole lines, up to the one that ends the head."""
        # One look at all of them, and one at each line only where there is something to find.
        clean = not lines.replace(b"\r\n", b"").translate(None, _TEXT)
        for line in lines.split(b"\n")[:-1]:
            self._line += len(line) + 1
            self._checked = self._line
            if not clean:
                # A bare CR or LF is a control character like any other.
                self._check_bytes((line + b"\n").removesuffix(b"\r\n"))
            if (head := self._take(line[:-1].decode("latin-1"))) is not None:
                return head
        return None

    def _check_tail(self, limit: int) -> None:
        """Look at the line that is not complete, so that what is no HTTP at all is refused without waiting for more."""
        tail = bytes(self._buffer[self._checked : limit])
        self._check_bytes(tail.removesuffix(b"\r"))
        if len(self._buffer) > self._max_size:
            self._fail(431, f"the head is longer than {self._max_size} bytes")
        self._checked = limit - tail.endswith(b"\r")

    def _check_bytes(self, text: bytes) -> None:
        if text.translate(None, _TEXT):
            self._fail(400, "the head has a control character or a line that does not end with CR LF")

    def _take(self, line: str) -> Head | None:
        """Take a line; returns the head when this line ends it."""
        if not line and self._head is not None:
            return self._finish(self._head)
        self._lines += 1
        if self._lines > self._max_lines:
            self._fail(431, f"the head has more than {self._max_lines} lines")
        if self._head is not None:
            try:
                self._head.headers._add_line(line)
            except ValueError as error:
                self._fail(400, str(error))
        elif line:  # RFC 7230 section 3.5: empty lines in front of a request are skipped.
            self._head = self._start(line, Headers())
        return None

    def _start(self, line: str, headers: Headers) -> Head:
        raise NotImplementedError

    def _finish(self, head: Head) -> Head | None:
        return head

    def _fail(self, status: int, text: str) -> NoReturn:
        raise NotImplementedError


class RequestParser(_HeadParser[Request]):
    """Reads the head of a request.

    ``max_size`` is the most bytes that the head may have, with the empty lines in front of it and the one at its end
    (default 16384); ``max_lines`` the most lines without the one at its end (default 128).

    Attributes:
        rest: the bytes behind the head, once `feed` has returned it.

    The HandshakeError that `feed` raises has the refusal to answer with as its ``response``: 400 for a head that is
    malformed, 431 for one that is over a limit, 505 for another major version of HTTP than 1. HTTP/1.0 is read.
    """

    def _start(self, line: str, headers: Headers) -> Request:
        words = line.split(" ")
        if len(words) != 3:
            self._fail(400, "the request line is not a method, a target and an HTTP version")
        method, target, version = words
        if not version.startswith("HTTP/1.") and _is_http_version(version):
            self._fail(505, "only HTTP/1.1 is spoken here")
        try:
            return Request(method, target, headers, version)
        except ValueError as error:
            self._fail(400, str(error))

    def _fail(self, status: int, text: str) -> NoReturn:
        raise HandshakeError(text, refusal(status, text))


class ResponseParser(_HeadParser[Response]):
    """Reads the head of a response; interim responses (1xx other than 101) are passed over, and count for the limits.

    The arguments and ``rest`` are those of `RequestParser`. The HandshakeError that `feed` raises has no response.
    The response has an empty body: what follows is for `body.BodyParser`.

    Attributes:
        version: the response's "HTTP/1.1" or "HTTP/1." and another digit, once its first line is there.
    """

    version = ""

    def _start(self, line: str, headers: Headers) -> Response:
        # The space in front of an empty reason is often left out.
        version, _, status_and_reason = line.partition(" ")
        status, _, reason = status_and_reason.partition(" ")
        if not _is_http_1(version):
            self._fail(400, "it does not begin with HTTP/1")
        if len(status) != 3 or not _is_decimal(status) or status < "100":
            self._fail(400, "the status is not a number of three digits")
        if status < "200" and version == "HTTP/1.0":
            # RFC 7231 section 6.2: HTTP/1.0 has no such status, and cannot switch protocols.
            self._fail(400, f"HTTP/1.0 has no status {status}")
        self.version = version
        return Response(int(status), reason, headers)

    def _finish(self, head: Response) -> Response | None:
        if head.status == HTTPStatus.SWITCHING_PROTOCOLS or head.status >= 200:
            return head
        self._head = None  # RFC 7231 section 6.2: the final response is still to come.
        return None

    def _fail(self, status: int, text: str) -> NoReturn:
        raise HandshakeError(f"the response is not valid: {text}")


def _is_visible(text: str) -> bool:
    """VCHAR of RFC 5234, appendix B.1."""
    return text.isascii() and text.isprintable() and " " not in text


def _is_decimal(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _is_http_version(version: str) -> bool:
    """RFC 7230 section 2.6."""
    return len(version) == 8 and version[:5] == "HTTP/" and version[6] == "." and _is_decimal(version[5] + version[7])


def _is_http_1(version: str) -> bool:
    return version == "HTTP/1.1" or (version.startswith("HTTP/1.") and _is_http_version(version))


def _standard_reason(status: int) -> str:
    return _REASONS.get(status, "") if isinstance(status, int) else ""
