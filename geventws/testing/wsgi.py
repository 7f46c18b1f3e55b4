"""A client for WSGI applications under test: in one process, and with gevent.pywsgi, but without a port."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http.cookies import SimpleCookie
from types import TracebackType
from typing import Any

import gevent
from gevent import socket
from gevent.pywsgi import WSGIServer

from ..client import connect
from ..exceptions import HandshakeError, InvalidStatus
from ..frames import CloseCode, CloseFrame
from ..handlers import ON_FAILURE
from ..headers import Headers, HeadersLike
from ..http11 import Response
from ..switching import getcurrent
from ..websocket import WebSocket
from ..wsgi import Environ, StartResponse, request_of

Application = Callable[[Environ, StartResponse], Iterable[bytes]]

_SERVERS_OWN = ("CONTENT_LENGTH", "CONTENT_TYPE", "REQUEST_METHOD", "SERVER_PROTOCOL", "SERVER_SOFTWARE")
_PORTS = {"http": "80", "https": "443"}


class WebSocketTestClient:
    """Opens WebSockets in a WSGI application under test.

    ::

        client = WebSocketTestClient(application)
        with client.websocket("/chat") as ws:
            ws.send("hello")
            assert ws.recv(timeout=1) == "hello"

    Args:
        application: the application.
        headers: headers of each request.
        environ: what the environment of each request has besides what the server and the request make of it.

    Attributes:
        cookies: a `http.cookies.SimpleCookie`: those that are sent, and that the answers set.
    """

    def __init__(
        self, application: Application, *, headers: HeadersLike = None, environ: Mapping[str, Any] | None = None
    ) -> None:
        self.application = application
        self.cookies: SimpleCookie = SimpleCookie()
        self._headers = Headers(headers)
        self._environ = dict(environ or {})

    def websocket(
        self,
        target: str = "/",
        *,
        headers: HeadersLike = None,
        cookies: Mapping[str, str] | None = None,
        environ: Mapping[str, Any] | None = None,
        timeout: float = 5,
        **options: Any,
    ) -> ViewSocket:
        """Ask the application for a WebSocket; the client's end of it.

        Args:
            target: the path and query.
            headers: further headers of the request, in place of the client's own of the same name.
            cookies: further cookies, for this request alone.
            environ: further entries of the environment, for this request alone.
            timeout: how long the application may take to end once the connection is closed, in seconds.
            options: those of `connect`, such as ``subprotocols``, ``origin``, ``compression`` (False by default).

        Raises:
            InvalidStatus: the application answered with something else; that is the error's ``response``.
            Exception: what the application raised instead of an answer.
        """
        fields = self._headers.copy()
        for name, value in Headers(headers).items():
            fields[name] = value
        sent = SimpleCookie(self.cookies.output(header="", sep=";"))
        sent.update(SimpleCookie(dict(cookies or {})))
        if sent:
            fields["Cookie"] = "; ".join(f"{name}={morsel.coded_value}" for name, morsel in sent.items())
        return open_view(
            self.application,
            target,
            fields,
            {**self._environ, **(environ or {})},
            lambda response: load_cookies(self.cookies, response),
            timeout,
            options,
        )


class ViewSocket(WebSocket):
    """The client's end of a WebSocket whose other end an application under test has.

    What the application raises is raised in the test: by `recv` and by whatever else would tell that the connection has
    ended, and at the latest by `close` and at the end of a ``with`` statement. These wait until the application has
    ended: TimeoutError where it does not, and is ended then.
    """

    _view: _View | None = None

    def close(self, code: int = 1000, reason: str = "") -> None:
        super().close(code, reason)
        if self._view is not None:
            self._view.finish()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        self.start_close(CloseFrame(CloseCode.INTERNAL_ERROR))
        if self._view is not None:
            self._view.stop(wait=isinstance(error, Exception))

    def _raise_closed(self) -> Any:
        if self._view is not None and getcurrent() is not gevent.get_hub():
            self._view.raise_failure(wait=self.close_code in (CloseCode.INTERNAL_ERROR, CloseCode.ABNORMAL_CLOSURE))
        super()._raise_closed()


def open_view(
    application: Application,
    target: str,
    headers: Headers,
    environ: Environ,
    answered: Callable[[Response], object],
    timeout: float,
    options: Mapping[str, Any],
) -> ViewSocket:
    """Let an application serve one request for a WebSocket; the client's end.

    ``environ`` is put into the environment that the server makes. ``answered`` is called with the response, 101 or not.
    """
    near, far = _socket_pair()
    view = _View(application, environ, timeout, far)
    host = headers.get("Host") or "localhost"
    try:
        ws = connect(
            f"ws://{host}{target}",
            sock=near,
            headers=headers,
            websocket_class=ViewSocket,
            **{"compression": False, **options},
        )
    except HandshakeError as error:
        near.close()
        view.stop(wait=True)
        view.raise_failure(wait=False)
        if isinstance(error, InvalidStatus):
            answered(error.response)
        raise
    except BaseException:
        near.close()
        view.stop(wait=False)
        raise
    assert isinstance(ws, ViewSocket)
    ws._view = view
    answered(ws.response)
    return ws


def open_environ(
    application: Application,
    environ: Environ,
    answered: Callable[[Response], object],
    timeout: float,
    options: Mapping[str, Any],
) -> ViewSocket:
    """`open_view` for the environment that a framework's own test client has made of a request."""
    request = request_of(environ)
    headers = Headers([(name, value) for name, value in request.headers.items() if value])
    if "Host" not in headers:
        headers["Host"] = _host_of(environ)
    own = {key: value for key, value in environ.items() if not _is_servers(key)}
    return open_view(application, request.target, headers, own, answered, timeout, options)


def load_cookies(cookies: SimpleCookie, response: Response) -> None:
    """Take over the cookies that a response sets; those that it takes back are gone."""
    for line in response.headers.get_all("Set-Cookie"):
        cookies.load(line)
    for name in [name for name, morsel in cookies.items() if morsel["max-age"] == "0"]:
        del cookies[name]


def _is_servers(key: str) -> bool:
    """Whether an entry of the environment is the server's to make."""
    if key.startswith(("HTTP_", "werkzeug.")) or key in _SERVERS_OWN:
        return True
    return key.startswith("wsgi.") and key != "wsgi.url_scheme"


def _host_of(environ: Environ) -> str:
    name, port = environ.get("SERVER_NAME") or "localhost", environ.get("SERVER_PORT")
    return name if not port or port == _PORTS.get(environ["wsgi.url_scheme"]) else f"{name}:{port}"


class _View:
    """An application that serves one request under gevent.pywsgi, in a greenlet of its own."""

    def __init__(self, application: Application, environ: Environ, timeout: float, sock: _NamedSocket) -> None:
        self._application = application
        self._environ = environ
        self._timeout = timeout
        self._errors: list[BaseException] = []
        self._sock = sock
        sock.address = address = (environ.get("REMOTE_ADDR", sock.address[0]), sock.address[1])
        # It is not started, and listens nowhere.
        server: Any = WSGIServer(("127.0.0.1", 0), self._call, log=None)
        server.environ.setdefault("SERVER_NAME", "localhost")
        server.environ.setdefault("SERVER_PORT", "80")
        self._greenlet: gevent.Greenlet[Any, Any] = gevent.spawn(server.handle, sock, address)

    def _call(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """The application around the one under test: it keeps what that raises for the test."""
        environ.update(self._environ)
        environ[ON_FAILURE] = self._errors.append
        started = []

        def start(*arguments: Any) -> Any:
            started.append(True)
            return start_response(*arguments)

        try:
            body = self._application(environ, start)
            try:
                return [b"".join(body)]
            finally:
                if hasattr(body, "close"):
                    body.close()
        except (Exception, gevent.Timeout) as error:  # noqa: BLE001  (raised in the test)
            self._errors.append(error)
            if not started:
                start_response("500 Internal Server Error", [("Content-Length", "0")])
            return []

    def finish(self) -> None:
        """Wait for the application's end; raises what it has raised, TimeoutError where it does not end in time."""
        ended = self._wait()
        self.stop(wait=False)
        self.raise_failure(wait=False)
        if not ended:
            raise TimeoutError(f"the application still runs {self._timeout} s after the connection was closed")

    def stop(self, *, wait: bool) -> None:
        """End the application, where it does not end by itself if it may take its time."""
        if not (wait and self._wait()):
            self._greenlet.kill()
        self._sock.close()  # which is still the server's where the application has not begun

    def raise_failure(self, *, wait: bool) -> None:
        """Raise what the application has raised; each exception once."""
        if wait:
            self._wait()
        if self._errors:
            raise self._errors.pop(0)

    def _wait(self) -> bool:
        self._greenlet.join(self._timeout)
        return self._greenlet.dead


class _NamedSocket(socket.socket):
    """The server's end of a socket pair, with the address that a TCP connection would have."""

    address = ("127.0.0.1", 49152)

    def getpeername(self) -> Any:
        return self.address


def _socket_pair() -> tuple[socket.socket, _NamedSocket]:
    near, far = socket.socketpair()
    return near, _NamedSocket(far.family, far.type, far.proto, fileno=far.detach())
