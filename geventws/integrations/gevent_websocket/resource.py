"""gevent-websocket's `Resource` and `WebSocketApplication`: applications by path, and methods for what happens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .exceptions import WebSocketError
from .protocols.base import BaseProtocol
from .websocket import WebSocket


class WebSocketApplication:
    """What happens to one connection; its methods are to be overridden.

    Attributes:
        ws: the connection.
        protocol: made of ``protocol_class``; what calls the methods.
    """

    protocol_class: type[BaseProtocol] = BaseProtocol

    def __init__(self, ws: WebSocket) -> None:
        self.ws = ws
        self.protocol = self.protocol_class(self)

    def handle(self) -> None:
        """Run the connection to its end. `on_close` is called in any case, and once."""
        try:
            self.protocol.on_open()
            while not self.ws.closed and (message := self.ws.receive()) is not None:
                self.protocol.on_message(message)
        except WebSocketError:
            if not self.ws.closed:  # it is another connection that has ended
                raise
        finally:
            self.protocol.on_close()

    def on_open(self, *args: Any, **kwargs: Any) -> None:
        """The connection is open."""

    def on_message(self, message: Any, *args: Any, **kwargs: Any) -> None:
        """A message has come: str or bytearray. By default it is sent back."""
        self.ws.send(message, **kwargs)

    def on_close(self, *args: Any, **kwargs: Any) -> None:
        """The connection has ended; called with the reason, which is None."""

    @classmethod
    def protocol_name(cls) -> str:
        """The subprotocol that the application speaks."""
        return cls.protocol_class.PROTOCOL_NAME


App = type[WebSocketApplication] | Callable[..., Any]


class Resource:
    """A WSGI application that is made of others.

    Args:
        apps: pairs of a regular expression, which is matched with the begin of the path, and a subclass of
            WebSocketApplication or a WSGI application; or a mapping of them. The first that matches, and that is for
            WebSockets as the request is, serves it. Where there is none, the answer is 404.
    """

    def __init__(self, apps: Mapping[str, App] | Iterable[tuple[str, App]] | None = None) -> None:
        self.apps: list[tuple[str, App]] = list(apps.items() if isinstance(apps, Mapping) else apps or [])

    def has_websocket(self, path: str) -> bool:
        """Whether there is a WebSocket at a path."""
        return self._app_by_path(path, True) is not None

    def app_protocol(self, path: str) -> str:
        """The subprotocol of the application for WebSockets at a path, or the empty string."""
        app: Any = self._app_by_path(path, True)
        return app.protocol_name() if hasattr(app, "protocol_name") else ""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        ws = environ.get("wsgi.websocket")
        app: Any = self._app_by_path(environ["PATH_INFO"], ws is not None)
        if app is None:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"there is nothing here\n"]
        if ws is None:
            answer: Iterable[bytes] = app(environ, start_response)
            return answer
        ws.current_app = app(ws)
        ws.current_app.handle()
        return []

    # The two that may be overridden

    def _is_websocket_app(self, app: Any) -> bool:
        return isinstance(app, type) and issubclass(app, WebSocketApplication)

    def _app_by_path(self, environ_path: str, is_websocket_request: bool) -> App | None:
        for pattern, app in self.apps:
            if re.match(pattern, environ_path) and self._is_websocket_app(app) == is_websocket_request:
                return app
        return None
