"""Where a WSGI server keeps the connection of a request, and how it is taken out of the server's hands.

WSGI itself knows no connection. The servers that gevent can serve show theirs, each in its way, with the bytes they
have read behind the request. What is taken leaves a dead socket in its place: whatever the server, a framework or the
application still writes there goes nowhere, and what they read there is the end of the stream. So nothing but frames
follows the 101, however the request ends, and nobody but the WebSocket closes the descriptor.
"""

from __future__ import annotations

import _socket
from contextlib import suppress
from io import BufferedReader
from ssl import SSLEOFError, SSLZeroReturnError
from typing import Any, NoReturn

import gevent.socket

from .exceptions import InvalidState
from .frames import Buffer

_REMEDY = "serve the application with gevent.pywsgi, or with gunicorn -k gevent"
_GATEWAYS = {
    "asgi.scope": "a gateway from WSGI to ASGI",
    "uwsgi.version": "uWSGI",
    "mod_wsgi.version": "mod_wsgi",
    "eventlet.input": "eventlet",
}
"""Servers that cannot be told by SERVER_SOFTWARE, by a key of theirs in the environment."""


class HostConnection:
    """The connection of a request, as its WSGI server shows it; raises InvalidState where the server shows none.

    Attributes:
        sock: the server's socket object, plain or TLS.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        stream = environ.get("wsgi.input")
        self._unreader: Any = None
        self._file: Any = None
        self._is_werkzeug = "werkzeug.socket" in environ
        if "gunicorn.socket" in environ:  # all workers but gevent_pywsgi
            self.sock = environ["gunicorn.socket"]
            self._unreader = getattr(getattr(stream, "reader", None), "unreader", None)
            # A body in chunks has no unreader; the opening handshake is refused for it.
            if self._unreader is None and "HTTP_TRANSFER_ENCODING" not in environ:
                _refuse("gunicorn's wsgi.input has been replaced, and with it went what the client has sent already")
            if not environ.get("wsgi.multithread"):
                _refuse(f"gunicorn's sync worker serves one request at a time: {_REMEDY}")
            return
        # gevent.pywsgi hands out its file for what it takes for an upgrade, and else an object that holds the file.
        self._file = getattr(stream, "rfile", stream)
        self.sock = environ.get("werkzeug.socket") or getattr(getattr(self._file, "raw", None), "_sock", None)
        if isinstance(self.sock, gevent.socket.socket):
            return
        if self._is_werkzeug:
            _refuse("Werkzeug's server runs in threads: call gevent.monkey.patch_all() before anything is imported")
        _refuse(f"{_name(environ)} does not show an application the connection that a WebSocket needs: {_REMEDY}")

    def take(self) -> tuple[Any, bytes]:
        """The connection, which is the caller's from now on, and what has been read of it behind the request."""
        early = self._take_early()
        return _take(self.sock, self._is_werkzeug), early

    def _take_early(self) -> bytes:
        if self._unreader is not None:
            has_method = hasattr(self._unreader, "take_buffered")  # gunicorn 27
            early: bytes = self._unreader.take_buffered() if has_method else self._unreader.buf.getvalue()
            return early
        # What the file has buffered, all of it; where that is nothing, one read of the socket, which must not wait.
        self.sock.settimeout(0)
        try:
            return self._file.read1() or b""
        except OSError:
            return b""  # TLS has nothing to read; and of a true error, reading will tell again
        finally:
            if isinstance(self._file, BufferedReader):
                # Its buffer of 8 KiB is empty now, and would be held as long as the connection.
                BufferedReader.__init__(self._file, self._file.raw, 1)


def _refuse(text: str) -> NoReturn:
    raise InvalidState(f"no WebSocket can be opened here: {text}")


def _name(environ: dict[str, Any]) -> str:
    for key, name in _GATEWAYS.items():
        if key in environ:
            return name
    return str(environ.get("SERVER_SOFTWARE") or "this WSGI server")


def _take(sock: Any, selected: bool) -> Any:
    """Move what a socket object stands for into another one. ``selected``: the server will ask for a descriptor."""
    tls = getattr(sock, "_sslobj", None)
    raw = _take_from_gevent(sock, selected) if isinstance(sock, gevent.socket.socket) else _take_from_standard(sock)
    with suppress(OSError):  # a unix socket
        raw.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    if tls is None:
        return raw
    sock._sslobj = None
    return _TLSSocket(raw, tls, sock)


def _take_from_gevent(sock: Any, selected: bool) -> Any:
    """A socket object of gevent's holds the one that does the work."""
    raw = sock._sock
    sock._sock = _dead_end() if selected else _DeadSocket(raw)
    return raw


def _take_from_standard(sock: Any) -> Any:
    """One of the standard library's does the work itself: it gets another descriptor."""
    raw = _socket.socket(fileno=_socket.socket.detach(sock))
    _socket.socket.__init__(sock, fileno=_dead_end().detach())
    # OpenSSL goes on with the descriptor that it knows, and asks this object whether it may block.
    _socket.socket.settimeout(sock, 0)
    return raw


def _dead_end() -> Any:
    """A socket whose peer has gone."""
    dead, other = _socket.socketpair()
    other.close()
    dead.setblocking(False)
    return dead


class _DeadSocket:
    """As good as a `_dead_end` for gevent's own servers, without a descriptor."""

    def __init__(self, sock: Any) -> None:
        self.family, self.type, self.proto = sock.family, sock.type, sock.proto

    def send(self, data: Buffer, *flags: int) -> int:
        return memoryview(data).nbytes

    def recv(self, *arguments: int) -> bytes:
        return b""

    def recv_into(self, *arguments: Any) -> int:
        return 0

    def getsockopt(self, *arguments: int) -> int:
        return 0

    def setsockopt(self, *arguments: Any) -> None: ...

    def getsockname(self) -> str:
        return ""

    getpeername = getsockname

    def shutdown(self, how: int) -> None: ...

    def close(self) -> None: ...

    def fileno(self) -> int:
        return -1


class _TLSSocket:
    """The methods of a non-blocking SSLSocket that a connection needs, over what was taken out of one."""

    def __init__(self, raw: Any, tls: Any, owner: Any) -> None:
        self._raw = raw
        self._tls = tls
        self._owner = owner  # to which OpenSSL's object has no more than a weak reference
        self.pending = tls.pending
        self.fileno = raw.fileno
        self.settimeout = raw.settimeout
        self.getsockname = raw.getsockname
        self.getpeername = raw.getpeername
        self.shutdown = raw.shutdown
        self.send = tls.write
        self.unwrap = tls.shutdown

    def recv_into(self, buffer: memoryview) -> int:
        try:
            return int(self._tls.read(len(buffer), buffer))
        except (SSLEOFError, SSLZeroReturnError):
            return 0  # without close_notify: the WebSocket's own closing handshake tells more

    def close(self) -> None:
        self._raw.close()
