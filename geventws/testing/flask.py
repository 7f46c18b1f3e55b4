"""Flask's test client, with WebSockets."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask.testing import EnvironBuilder, FlaskClient

from ..http11 import Response
from .wsgi import ViewSocket, open_environ

_OF_REQUESTS = ("base_url", "query_string", "subdomain", "url_scheme", "headers", "environ_base", "environ_overrides")


class WebSocketTestClient(FlaskClient):
    """Flask's test client, with the method `websocket`.

    ::

        app.test_client_class = WebSocketTestClient
        client = app.test_client()

    or ``WebSocketTestClient(app)``. Cookies, and with them the session, are those of the client's other requests.
    """

    def websocket(self, path: str = "/", *, timeout: float = 5, **options: Any) -> ViewSocket:
        """Open a WebSocket; the client's end of it.

        Args:
            path: the path and query.
            timeout: how long the view may take to end once the connection is closed, in seconds.
            options: those of the client's other requests (``headers``, ``query_string``, ``base_url``, ``subdomain``,
                ``url_scheme``, ``environ_base``, ``environ_overrides``), and those of `connect`, such as
                ``subprotocols``, ``origin``, ``compression`` (False by default).

        Raises:
            InvalidStatus: the application answered with something else; that is the error's ``response``.
            Exception: what the view raised before it answered, where Flask lets that pass: with ``app.testing``.
        """
        given = {name: options.pop(name) for name in _OF_REQUESTS if name in options}
        given["environ_base"] = {**self.environ_base, **given.get("environ_base", {})}
        builder = EnvironBuilder(self.application, path, **given)
        try:
            environ = builder.get_environ()
        finally:
            builder.close()
        self._add_cookies_to_wsgi(environ)
        url = urlsplit(builder.base_url)

        def answered(response: Response) -> None:
            cookies = response.headers.get_all("Set-Cookie")
            self._update_cookies_from_response(url.hostname or "localhost", environ["PATH_INFO"], cookies)

        return open_environ(self.application, environ, answered, timeout, options)
