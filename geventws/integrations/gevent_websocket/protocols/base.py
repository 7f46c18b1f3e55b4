"""gevent-websocket's `BaseProtocol`."""

from __future__ import annotations

from typing import Any


class BaseProtocol:
    """Calls an application's methods; the base of subprotocols.

    Attributes:
        PROTOCOL_NAME: the subprotocol's name.
        app: the application.
    """

    PROTOCOL_NAME = ""

    def __init__(self, app: Any) -> None:
        self.app = app

    @property
    def handler(self) -> Any:
        """The connection's `WebSocketHandler`."""
        return self.app.ws.handler

    @property
    def server(self) -> Any:
        """The server."""
        return self.handler.server

    def on_open(self) -> None:
        self.app.on_open()

    def on_message(self, message: Any) -> None:
        self.app.on_message(message)

    def on_close(self, reason: Any = None) -> None:
        self.app.on_close(reason)
