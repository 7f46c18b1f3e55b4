"""simple-websocket's `Server` and `Client`."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ... import exceptions
from ...client import connect
from ...events import Message, State
from ...exceptions import HandshakeError, InvalidState
from ...frames import CloseCode, CloseFrame
from ...http11 import Request, Response
from ...options import ConnectionOptions
from ...websocket import WebSocket
from ...wsgi import Environ, respond, upgrade
from .errors import ConnectionClosed, ConnectionError

if TYPE_CHECKING:
    from typing_extensions import Self

_FLASK = "werkzeug.request"
_WEBSOCKET = "geventws.websocket"


class SubprotocolRequest(NamedTuple):
    """What `Server.choose_subprotocol` is called with."""

    host: str
    target: str
    subprotocols: list[str]
    extra_headers: list[tuple[bytes, bytes]]


class Base:
    """An open connection.

    One greenlet may receive, any number may send.

    Attributes:
        subprotocol: the subprotocol in use, or None.
        websocket: the WebSocket of geventws underneath.
    """

    def __init__(self, websocket: WebSocket) -> None:
        self.websocket = websocket
        self.subprotocol = websocket.subprotocol
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether the connection is open. Messages that came before its end can be received afterwards."""
        return not self._closed and self.websocket.state is State.OPEN

    @property
    def close_reason(self) -> int:
        """The peer's close code, 1006 where it sent none; 1005 while the connection is open, or closed on this side."""
        return CloseCode.NO_STATUS_RCVD if self._closed else self.websocket.close_code or CloseCode.NO_STATUS_RCVD

    @property
    def close_message(self) -> str | None:
        """The peer's close reason, or None."""
        return None if self._closed else self.websocket.close_reason or None

    def send(self, data: Any) -> None:
        """Send a message, as a whole: bytes as binary, anything else as text, str of it.

        Raises ConnectionClosed where the connection has ended.
        """
        self._check()
        try:
            self.websocket.send(data if isinstance(data, bytes | bytearray | memoryview) else str(data))
        except exceptions.ConnectionClosed as error:
            self._raise_closed(error)

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message, str or bytes.

        Args:
            timeout: how long to wait, in seconds; 0 takes what is there; None waits for ever.

        Returns None where no message came in time. Raises ConnectionClosed where the connection has ended.
        """
        self._check(allow_rest=True)
        try:
            return self.websocket.recv(timeout)
        except TimeoutError:
            return None
        except exceptions.ConnectionClosed as error:
            self._raise_closed(error)

    def close(self, reason: int | None = None, message: str | None = None) -> None:
        """Close the connection, and wait for the peer's answer, at most 10 seconds.

        Args:
            reason: the close code, 1000 by default.
            message: the close reason.

        Raises:
            ConnectionClosed: the connection has ended already.
            ValueError, TypeError: the code or the reason is not allowed; nothing was sent.
        """
        self._check()
        self.websocket.close(reason or CloseCode.NORMAL_CLOSURE, message or "")
        self._closed = True

    def _check(self, *, allow_rest: bool = False) -> None:
        if self._closed or not (allow_rest or self.connected):
            self._raise_closed(None)

    def _raise_closed(self, error: Exception | None) -> NoReturn:
        raise ConnectionClosed(self.close_reason, self.close_message) from error


class Server(Base):
    """The connection of a request that a WSGI application serves, under each server that `upgrade` works with.

    Args:
        environ: the WSGI environment.
        subprotocols: those that are spoken, a list or one; see `choose_subprotocol`.
        ping_interval: after how many seconds of silence a ping is sent; the connection ends where the peer stays silent
            for as long again. None for no pings.
        max_message_size: the longest message that is received, in bytes; None for no limit.
        receive_bytes, thread_class, event_class, selector_class: for callers that are written for simple-websocket.
            There are no threads here for which they would count.

    Raises:
        ConnectionError: the request was no opening handshake, or the client has gone. Under Flask (or another
            application on Werkzeug) what is raised is the response to it.
        RuntimeError: the server does not show its connections.

    Attributes:
        environ: the WSGI environment.
        subprotocols: the argument.
        mode: how the application ends its request: "werkzeug" where it just answers, as everywhere under Flask; else
            the server's name, "gunicorn" or "gevent".
    """

    def __init__(
        self,
        environ: Environ,
        subprotocols: str | Iterable[str] | None = None,
        receive_bytes: int = 4096,
        ping_interval: float | None = None,
        max_message_size: int | None = None,
        thread_class: Any = None,
        event_class: Any = None,
        selector_class: Any = None,
    ) -> None:
        self.environ = environ
        self.subprotocols = _list_of(subprotocols)
        self.mode = _mode(environ)
        try:
            websocket = upgrade(
                environ,
                origins="*",
                select_subprotocol=self._select,
                compression=True,
                **_options(ping_interval, max_message_size),
            )
        except InvalidState as error:
            raise RuntimeError(f"Cannot obtain socket from WSGI environment: {error}") from error
        except exceptions.ConnectionClosed as error:
            raise ConnectionError from error
        except HandshakeError as error:
            assert error.response is not None
            if _FLASK in environ:
                _answer(error.response, environ)
            raise ConnectionError(error.response.status) from error
        super().__init__(websocket)
        _join_request_of_flask(environ, websocket)

    @classmethod
    def accept(cls, environ: Environ, *arguments: Any, **options: Any) -> Self:
        """Make one; the arguments are the same."""
        return cls(environ, *arguments, **options)

    def choose_subprotocol(self, request: SubprotocolRequest) -> str | None:
        """Which of ``request.subprotocols`` to speak: the first that is in `subprotocols`; to be overridden."""
        return next((each for each in request.subprotocols if each in self.subprotocols), None)

    def _select(self, offered: list[str], request: Request) -> str | None:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()]
        return self.choose_subprotocol(
            SubprotocolRequest(request.headers.get("Host") or "", request.target, offered, headers)
        )


class Client(Base):
    """A connection to a server.

    Args:
        url: ``ws://`` or ``wss://``.
        subprotocols: those to offer, a list or one.
        headers: further headers of the request, a mapping or pairs.
        ssl_context: for wss; by default the certificate is verified.
        ping_interval, max_message_size: as for `Server`.
        receive_bytes, thread_class, event_class: as for `Server`.

    A proxy that the environment names is used. Raises ConnectionError where the server refuses, and OSError where it
    cannot be reached.
    """

    def __init__(
        self,
        url: str,
        subprotocols: str | Iterable[str] | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        receive_bytes: int = 4096,
        ping_interval: float | None = None,
        max_message_size: int | None = None,
        ssl_context: ssl.SSLContext | None = None,
        thread_class: Any = None,
        event_class: Any = None,
    ) -> None:
        try:
            websocket = connect(
                url,
                subprotocols=_list_of(subprotocols),
                headers=headers,
                ssl_context=ssl_context,
                **_options(ping_interval, max_message_size),
            )
        except HandshakeError as error:
            raise ConnectionError(None if error.response is None else error.response.status) from error
        super().__init__(websocket)

    @classmethod
    def connect(cls, url: str, *arguments: Any, **options: Any) -> Self:
        """Make one; the arguments are the same."""
        return cls(url, *arguments, **options)


def _list_of(subprotocols: str | Iterable[str] | None) -> list[str]:
    if isinstance(subprotocols, str):
        return [subprotocols]
    return list(subprotocols or ())


def _options(ping_interval: float | None, max_message_size: int | None) -> ConnectionOptions:
    return {"ping_interval": ping_interval or None, "ping_timeout": ping_interval or None, "max_size": max_message_size}


def _mode(environ: Environ) -> str:
    """What simple-websocket's callers ask for at the end of a request.

    flask-sock raises StopIteration under gunicorn and does not answer under gevent, which their logs are full of. It
    answers where this says "werkzeug", and that is right everywhere: what is written goes nowhere.
    """
    if _FLASK in environ or "werkzeug.socket" in environ:
        return "werkzeug"
    return "gunicorn" if "gunicorn.socket" in environ else "gevent"


def _join_request_of_flask(environ: Environ, websocket: WebSocket) -> None:
    """Let the connection end with the request of Flask that it was made in, if it was.

    Flask's answer, which nobody gets, has the status 101 then: it is what the server's access log tells.
    """
    flask = sys.modules.get("flask")
    if flask is None or not flask.has_request_context() or flask.request.environ is not environ:
        return
    environ[_WEBSOCKET] = websocket
    flask.request_tearing_down.connect(_end_with_request)

    @flask.after_this_request  # type: ignore[untyped-decorator]
    def switch(response: Any) -> Any:
        response.status_code = 101
        return response


def _end_with_request(app: Any, exc: BaseException | None = None) -> None:
    """Flask is done with a request, whose view has returned, raised, or been killed."""
    from flask import request

    websocket = request.environ.get(_WEBSOCKET)
    if websocket is None or websocket.state is not State.OPEN:
        return
    try:
        if exc is None or isinstance(exc, Exception):
            websocket.close(CloseCode.NORMAL_CLOSURE if exc is None else CloseCode.INTERNAL_ERROR)
        else:
            websocket.start_close(CloseFrame(CloseCode.GOING_AWAY))
    finally:
        websocket.terminate()


def _answer(response: Response, environ: Environ) -> NoReturn:
    """Let a view of Flask's end with a response."""
    from werkzeug.exceptions import abort
    from werkzeug.wrappers import Response as WerkzeugResponse

    sendable: list[tuple[str, str]] = []
    body = respond(response, environ, lambda status, headers: sendable.extend(headers))
    abort(WerkzeugResponse(body, response.status, sendable))
