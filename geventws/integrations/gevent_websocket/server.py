"""gevent-websocket's `WebSocketServer`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from gevent.pywsgi import WSGIServer

from ...frames import CloseCode
from .handler import Client, WebSocketHandler


class WebSocketServer(WSGIServer):
    """gevent.pywsgi's server with a `WebSocketHandler`.

    Args:
        arguments, options: those of WSGIServer.
        debug: whether the begin and the end of each WebSocket are logged to stderr.
        pre_start_hook: called with the handler before a WebSocket is opened; where it returns something true, the
            request is served as plain HTTP.

    Attributes:
        clients: a `Client` for each open WebSocket, by the address of the peer; over a unix socket by a number.
        logger: where the handlers log.
    """

    handler_class = WebSocketHandler

    def __init__(
        self,
        *arguments: Any,
        debug: bool = False,
        pre_start_hook: Callable[[WebSocketHandler], object] | None = None,
        **options: Any,
    ) -> None:
        self.debug = debug
        self.pre_start_hook = pre_start_hook
        self.clients: dict[Any, Client] = {}
        self.logger = logging.getLogger(f"{__name__}.debug" if debug else __name__)
        if debug:
            self.logger.setLevel(logging.DEBUG)
            if not self.logger.handlers:
                self.logger.addHandler(logging.StreamHandler())
        super().__init__(*arguments, **options)

    def stop(self, timeout: float | None = None) -> None:
        """Accept no more connections, and close each WebSocket with 1001; then as WSGIServer does."""
        self.close()
        for client in list(self.clients.values()):
            client.ws.close(CloseCode.GOING_AWAY)
        super().stop(timeout)
