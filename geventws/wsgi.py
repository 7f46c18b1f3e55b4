"""WebSockets inside of a WSGI application, under the servers that gevent can serve.

`WebSocketApp` is an application of its own; `upgrade` makes a WebSocket of the request that a view is serving. Both
need nothing of the server but what `hosts` finds. `WebSocketMiddleware` is for frameworks that keep the server's
``start_response`` to themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .clients import Broadcaster, Clients
from .draining import drain
from .exceptions import ConnectionClosedError, HandshakeError
from .frames import CloseCode, CloseFrame
from .handlers import Handler, run_handler
from .handshake import is_upgrade
from .headers import Headers
from .hosts import HostConnection
from .http11 import Request, Response, refusal
from .opening import introduce
from .options import check_wait
from .stats import ServerStats
from .upgrader import Upgrader
from .websocket import WebSocket

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import UpgradeOptions, UpgraderOptions

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

_HEADER = "HTTP_"
_UNPREFIXED_HEADERS = ("CONTENT_TYPE", "CONTENT_LENGTH")
_SAFE = "/!$&'()*+,;=:@~"
"""What may stand in a path as it is besides letters, digits and -._ (RFC 3986 section 3.3)."""
_HOP_BY_HOP = ("connection", "upgrade")
_SERVER = "geventws.server"
_FOR_APPLICATIONS = ("max_connections", "max_connections_per_address", "track_clients")


class WebSocketApp(Broadcaster):
    """A WSGI application that runs a handler on each WebSocket.

    When the handler returns, the connection is closed with 1000; when it raises an Exception or a gevent.Timeout, with
    1011, and that is logged, except for the ConnectionClosed of a client that has gone. When it is killed, the
    connection is ended with 1001. A request that is refused gets an ordinary response.

    Args:
        handler: what to run, ``handler(ws)``. ``ws.environ`` is the WSGI environment.
        options: those of `Upgrader`. What its hooks are called with has the environment as ``request.environ``.

    Raises ValueError or TypeError where an argument makes no sense. The call raises InvalidState under a server that
    does not show its connections.

    Attributes:
        clients: the open connections, a set that may be iterated over while it changes.
    """

    def __init__(self, handler: Handler, **options: Unpack[UpgraderOptions]) -> None:
        if not callable(handler):
            raise TypeError("handler is a function that takes a WebSocket")
        self.handler = handler
        self._upgrader = Upgrader(**options)

    @property
    def clients(self) -> Clients:
        return self._upgrader.clients

    def stats(self) -> ServerStats:
        """The numbers of all connections so far; see `Upgrader.stats`."""
        return self._upgrader.stats()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        outcome = open_websocket(self._upgrader, environ, start_response)
        if isinstance(outcome, Response):
            return respond(outcome, environ, start_response)
        if outcome is not None:
            run_handler(self.handler, outcome)
        return []


def upgrade(
    environ: Environ, start_response: StartResponse | None = None, **options: Unpack[UpgradeOptions]
) -> WebSocket:
    """Make a WebSocket of the request that a view is serving.

    What the view returns or raises afterwards does not reach the client. The connection does not end with the view;
    a ``with`` statement ends it.

    Args:
        environ: the WSGI environment.
        start_response: the server's function, which gets the status 101 for its access log. Without it, the log has
            the status with which the view answers later.
        options: those of `Upgrader`, but ``max_connections``, ``max_connections_per_address`` and ``track_clients``.

    Raises:
        HandshakeError: the request is refused, or is no opening handshake; `respond` sends the error's ``response``.
        ConnectionClosedError: the client has gone.
        InvalidState: the server does not show its connections.
        ValueError, TypeError: an argument makes no sense.
    """
    for name in _FOR_APPLICATIONS:
        if name in options:
            raise TypeError(f"{name} is for a WebSocketApp: upgrade() opens one connection")
    outcome = open_websocket(Upgrader(**options), environ, start_response)
    if outcome is None:
        raise ConnectionClosedError(None, None, "the client has gone before the connection was open")
    if isinstance(outcome, Response):
        raise HandshakeError(f"the request was answered with {outcome.status} {outcome.reason}", outcome)
    return outcome


class WebSocketMiddleware:
    """Around the application of a framework that does not show its views the server's ``start_response``.

    Without it nothing but frames follows the 101 either. With it the server learns of the 101 when it is sent, whatever
    the framework answers afterwards, and that a connection has to end behind a request for a WebSocket that was
    answered with anything else. It has to be the outermost layer.

    ::

        application = WebSocketMiddleware(get_wsgi_application())

    Args:
        application: the WSGI application.
    """

    def __init__(self, application: Callable[[Environ, StartResponse], Iterable[bytes]]) -> None:
        if not callable(application):
            raise TypeError(f"application is a WSGI application, not {application!r}")
        self.application = application

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if "HTTP_UPGRADE" not in environ:
            return self.application(environ, start_response)
        environ[_SERVER] = server = _Server(start_response)

        def answer(status: str, fields: list[tuple[str, str]], *exc_info: Any) -> Any:
            if server.start_response is None:
                return _write_nowhere
            headers = Headers(fields)
            headers["Connection"] = "close"
            write = start_response(status, sendable(headers, environ), *exc_info)
            _end_behind(start_response)
            return write

        return self.application(environ, answer)


class _Server:
    """The server behind a `WebSocketMiddleware`, in the environment of one request.

    Attributes:
        start_response: the server's own; None once there is a WebSocket. Nobody gets what is answered from then on.
    """

    def __init__(self, start_response: StartResponse) -> None:
        self.start_response: StartResponse | None = start_response

    def switch(self, response: Response) -> None:
        """The 101 is about to be sent."""
        start_response, self.start_response = self.start_response, None
        if start_response is not None:
            _announce(response, start_response)


def _write_nowhere(data: bytes) -> None: ...


def close_websockets(code: int = CloseCode.GOING_AWAY, *, over: float = 0, timeout: float | None = None) -> bool:
    """Close all WebSockets that the WSGI applications of this process have, before their server stops.

    Until it returns, new ones are refused with 503.

    Args:
        code: the close code; 1012 tells clients that the server will be back.
        over: within how many seconds the connections are closed, each at a random moment.
        timeout: how many seconds to wait for their end after that; by default as long as it takes, which each
            connection's ``close_timeout`` limits.

    Returns whether all have ended. Raises ValueError or TypeError where an argument makes no sense.
    """
    frame = _check_closing(code, over, timeout)
    try:
        drain.close(frame, over)
        return drain.wait(timeout)
    finally:
        drain.reopen()


def close_on_stop(
    server: Any, code: int = CloseCode.GOING_AWAY, *, over: float = 0, timeout: float | None = None
) -> None:
    """Let ``stop()`` of a gevent.pywsgi server begin with `close_websockets`; ``serve_forever`` ends with it too.

    Args:
        server: the WSGIServer. What its ``stop`` is told to wait comes on top.
        code, over, timeout: those of `close_websockets`.

    Raises ValueError or TypeError where an argument makes no sense.
    """
    if not callable(getattr(server, "stop", None)):
        raise TypeError(f"server is a gevent.pywsgi.WSGIServer, not {server!r}")
    _check_closing(code, over, timeout)
    close = partial(close_websockets, code, over=over, timeout=timeout)
    stop = server.stop

    def close_and_stop(timeout: float | None = None) -> None:
        close()
        stop(timeout)

    server.stop = close_and_stop


def _check_closing(code: int, over: float, timeout: float | None) -> CloseFrame:
    check_wait("over", over)
    check_wait("timeout", timeout)
    return CloseFrame.checked(code, "")


def respond(response: Response, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Send a response through the server: the application's return value."""
    start_response(f"{response.status} {response.reason}", sendable(response.headers, environ))
    _end_behind(start_response)
    return [response.body]


def open_websocket(
    upgrader: Upgrader, environ: Environ, start_response: StartResponse | None
) -> WebSocket | Response | None:
    """`Upgrader.open` for a WSGI request. Raises InvalidState where the server does not show its connections."""
    request = host = None
    try:
        request = request_of(environ)
        if is_upgrade(request):
            drain.check()
            host = HostConnection(environ)
            introduce(request, host.sock)
    except HandshakeError as error:
        return upgrader.response_to(error, request)

    def take(response: Response) -> tuple[Any, bytes]:
        assert host is not None
        if _SERVER in environ:
            environ[_SERVER].switch(response)
        if start_response is not None:
            _announce(response, start_response)
        return host.take()

    outcome = upgrader.open(request, take)
    if isinstance(outcome, WebSocket):
        drain.add(outcome)
    return outcome


def request_of(environ: Environ) -> Request:
    """The request that a WSGI environment tells of (PEP 3333). Raises HandshakeError where it is not valid.

    Its target is made of SCRIPT_NAME, PATH_INFO and QUERY_STRING: a server does not tell how it was spelled.
    """
    version = environ.get("SERVER_PROTOCOL", "")
    if not version.startswith("HTTP/1."):
        came = f"this request came over {version or 'an unknown protocol'}"
        text = f"{came}, and a WebSocket is opened over HTTP/1.1: have the client, or the proxy in front, speak that"
        raise HandshakeError(text, refusal(505, text))
    try:
        return Request(environ["REQUEST_METHOD"], _target_of(environ), _headers_of(environ), version, environ=environ)
    except ValueError as error:
        raise HandshakeError(str(error), refusal(400, str(error))) from None


def _target_of(environ: Environ) -> str:
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    query = environ.get("QUERY_STRING")
    return f"/{quote(path.removeprefix('/').encode('latin-1'), safe=_SAFE)}" + (f"?{query}" if query else "")


def _headers_of(environ: Environ) -> Headers:
    headers = Headers()
    for key, value in environ.items():
        if key.startswith(_HEADER) and isinstance(value, str):
            headers.add(key.removeprefix(_HEADER).replace("_", "-").title(), value)
        elif key in _UNPREFIXED_HEADERS and value:
            headers.add(key.replace("_", "-").title(), value)
    return headers


def _announce(response: Response, start_response: StartResponse) -> None:
    """Tell the server of the 101 that the Upgrader sends: for its log, and so that it does not send one itself."""
    headers = [(name, value) for name, value in response.headers.items() if name.lower() not in _HOP_BY_HOP]
    start_response(f"{response.status} {response.reason}", headers)
    owner: Any = getattr(start_response, "__self__", None)
    size = len(response.serialize())
    if hasattr(owner, "close_connection"):  # gevent.pywsgi
        owner.close_connection = True
        owner.response_length = size
        owner.headers_sent = True
    elif hasattr(owner, "force_close"):  # gunicorn
        owner.force_close()
        owner.sent = size
        owner.headers_sent = True


def _end_behind(start_response: StartResponse) -> None:
    """What follows a refused upgrade must not be read as HTTP; gunicorn has its own mind about Connection."""
    owner: Any = getattr(start_response, "__self__", None)
    if hasattr(owner, "force_close"):
        owner.force_close()


def sendable(headers: Headers, environ: Environ) -> list[tuple[str, str]]:
    """A final response's headers as the server takes them; it adds Date itself.

    PEP 3333 forbids applications the headers that are for one connection, and some servers fail on them. By them
    gevent.pywsgi is told that the connection must end: the last Connection header has to be "close" and no more.
    """
    fields = [(name, value) for name, value in headers.items() if name.lower() not in ("connection", "date")]
    software = environ.get("SERVER_SOFTWARE", "")
    if software.startswith("gevent/"):
        tokens = (headers.get("Connection") or "").split(",")
        return fields + [("Connection", token.strip()) for token in tokens]
    if software.startswith("gunicorn/"):
        return fields
    return [(name, value) for name, value in fields if name.lower() != "upgrade"]
