"""Django's test client, with WebSockets."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from django.core.signals import got_request_exception
from django.db import connections
from django.http import HttpRequest
from django.test import Client, RequestFactory

from ..handlers import ON_FAILURE
from ..headers import HeadersLike
from ..wsgi import Environ, StartResponse
from .wsgi import ViewSocket, load_cookies, open_environ

_UID = "geventws.testing"
_TELLS = "geventws.testing.tells"


class WebSocketTestClient(Client):  # type: ignore[misc]
    """Django's test client, with the method `websocket`.

    ::

        class ChatTests(TestCase):
            client_class = WebSocketTestClient

    Cookies, and with them the session of `login` and `force_login`, are those of the client's other requests. The view
    sees the test's own transaction, in patched programs as well.
    """

    def websocket(
        self, path: str = "/", *, secure: bool = False, headers: HeadersLike = None, timeout: float = 5, **options: Any
    ) -> ViewSocket:
        """Open a WebSocket; the client's end of it.

        Args:
            path: the path and query.
            secure: whether the request seems to come over TLS.
            headers: further headers of the request.
            timeout: how long the view may take to end once the connection is closed, in seconds.
            options: further entries of the environment, by names in upper case (``REMOTE_ADDR``, ``HTTP_ACCEPT``), and
                options of `connect`, such as ``subprotocols``, ``origin``, ``compression`` (False by default).

        Raises:
            InvalidStatus: the application answered with something else; that is the error's ``response``.
            Exception: what the view raised before it answered, unless the client was made with
                ``raise_request_exception=False``.
        """
        extra = {name: options.pop(name) for name in list(options) if name.isupper()}
        factory = _Environs(**self.defaults)
        factory.cookies = self.cookies
        environ = factory.generic("GET", path, secure=secure, headers=headers, **extra)
        environ[_TELLS] = self.raise_request_exception
        got_request_exception.connect(_tell, dispatch_uid=_UID)
        application = _Application(self.handler)
        return open_environ(
            application, environ, lambda response: load_cookies(self.cookies, response), timeout, options
        )


class _Environs(RequestFactory):  # type: ignore[misc]
    """Makes the environments of requests."""

    def request(self, **request: Any) -> Environ:
        environ: Environ = self._base_environ(**request)
        return environ


class _Application:
    """The test client's way of calling Django, as a WSGI application; on the database connections of the test."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        self._connections = {connection.alias: connection for connection in connections.all(initialized_only=True)}
        for connection in self._connections.values():
            connection.inc_thread_sharing()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        for alias, connection in self._connections.items():
            connections[alias] = connection
        try:
            response = self._handler(environ)
        finally:
            for connection in self._connections.values():
                connection.dec_thread_sharing()
        fields = [*response.items(), *(("Set-Cookie", morsel.OutputString()) for morsel in response.cookies.values())]
        start_response(f"{response.status_code} {response.reason_phrase}", fields)
        body: Iterable[bytes] = iter(response)  # it itself the test client's handler has closed, or closes at its end
        return body


def _tell(request: HttpRequest | None = None, **signal: Any) -> None:
    """A view has raised: where it serves a client from here, that is for the test to know."""
    environ = getattr(request, "environ", {})
    if environ.get(_TELLS):
        environ[ON_FAILURE](sys.exc_info()[1])
