"""gevent-websocket's `WebSocketHandler`: gevent.pywsgi's handler, which opens the WebSocket before the application."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar

from gevent.pywsgi import WSGIHandler

from ...events import State
from ...frames import CloseCode, CloseFrame
from ...handlers import run_handler
from ...http11 import Response
from ...options import UpgradeOptions
from ...upgrader import Upgrader
from ...websocket import WebSocket as Stream
from ...wsgi import open_websocket, respond
from .exceptions import WebSocketError
from .websocket import WebSocket

_DEFAULTS: UpgradeOptions = {"origins": "*", "max_size": 2**24}


class Client:
    """What ``server.clients`` holds; an application may give it further attributes.

    Attributes:
        address: the address of the peer.
        ws: the connection.
    """

    def __init__(self, address: Any, ws: WebSocket) -> None:
        self.address = address
        self.ws = ws


class WebSocketHandler(WSGIHandler):
    """Opens a WebSocket for each request that asks for one, and calls the application with it.

    The application finds it as ``environ["wsgi.websocket"]``. What it returns, and the status with which it calls
    start_response, reach nobody. The connection ends with it: with 1000; with 1011 where it raises an Exception, which
    is logged, or answers with an HTTP error.

    Attributes:
        websocket_options: options of `Upgrader` that replace the defaults, to be set in a subclass. What differs from
            the defaults of `Upgrader` is ``origins``, "*", and ``max_size``, 16 MiB.
        prevent_wsgi_call: True in a subclass that calls the application itself.
        websocket: the connection, or None.
    """

    websocket_options: ClassVar[UpgradeOptions] = {}
    prevent_wsgi_call = False
    websocket: WebSocket | None = None
    server: Any
    environ: Any
    application: Any

    @property
    def logger(self) -> logging.Logger:
        """The server's logger."""
        if not hasattr(self.server, "logger"):
            self.server.logger = logging.getLogger(__name__)
        logger: logging.Logger = self.server.logger
        return logger

    @property
    def active_client(self) -> Client:
        """The entry of ``server.clients`` for this connection."""
        client: Client = self.server.clients[self._place]
        return client

    @property
    def _place(self) -> Any:
        """The key in ``server.clients``: the address of the peer, where it has one of its own; over unix it has not."""
        return self.client_address or id(self)

    def handle_one_response(self) -> None:
        try:
            super().handle_one_response()
        finally:
            if self.websocket is not None:  # with prevent_wsgi_call
                self.websocket.close()
                self.websocket = None

    def run_application(self) -> None:
        pre_start_hook = getattr(self.server, "pre_start_hook", None)
        if pre_start_hook and pre_start_hook(self):
            super().run_application()
            return
        answer = self.upgrade_websocket()
        if self.websocket is not None:
            self.run_websocket()
        elif self.status:
            self.result = answer
            self.process_result()
        else:
            super().run_application()

    def upgrade_websocket(self) -> Iterable[bytes]:
        """Open a WebSocket where the request asks for one that the application has.

        Sets `websocket`, and ``wsgi.websocket`` and ``wsgi.websocket_version`` in the environment. A request that is
        refused is answered with start_response and the body that is returned.
        """
        if "websocket" not in self.environ.get("HTTP_UPGRADE", "").lower():
            return []
        has_websocket = getattr(self.application, "has_websocket", None)
        if has_websocket is not None and not has_websocket(self.environ["PATH_INFO"]):
            return []
        outcome = open_websocket(Upgrader(**self._options()), self.environ, self.start_response)
        if isinstance(outcome, Response):
            return respond(outcome, self.environ, self.start_response)
        if outcome is not None:
            self.logger.debug("opened a WebSocket for %s", self.client_address)
            self.websocket = WebSocket(self.environ, outcome, self)
            self.environ["wsgi.websocket"] = self.websocket
            self.environ["wsgi.websocket_version"] = self.websocket.version
        return []

    def run_websocket(self) -> None:
        """Call the application with the WebSocket, and end the connection."""
        if self.prevent_wsgi_call:
            return
        assert self.websocket is not None
        ws = self.websocket
        client = Client(self.client_address, ws)
        if not hasattr(self.server, "clients"):  # a WSGIServer
            self.server.clients = {}
        clients = self.server.clients
        clients[self._place] = client
        try:
            run_handler(self._call_application, ws.stream)
        finally:
            ws.closed = True
            self.logger.debug("the WebSocket for %s has ended", self.client_address)
            if clients.get(self._place) is client:
                del clients[self._place]
            self.environ["wsgi.websocket"] = self.websocket = None

    def _options(self) -> UpgradeOptions:
        options: UpgradeOptions = {**_DEFAULTS, **self.websocket_options}
        app_protocol = getattr(self.application, "app_protocol", None)
        subprotocol = app_protocol(self.environ["PATH_INFO"]) if app_protocol is not None else None
        if subprotocol:
            options["subprotocols"] = [subprotocol]
        return options

    def _call_application(self, stream: Stream) -> None:
        statuses: list[str] = []
        try:
            result = self.application(self.environ, partial(_start_response, statuses))
            try:
                for _ in result or ():  # many an application that knows of its WebSocket returns nothing
                    pass
            finally:
                if hasattr(result, "close"):
                    result.close()
        except WebSocketError:
            if stream.state is State.OPEN:  # it is another connection that has ended
                raise
        if statuses and statuses[-1][:1] in ("4", "5") and stream.state is State.OPEN:
            self.logger.warning(
                "the application answers a WebSocket with %s (a route of Flask needs websocket=True)", statuses[-1]
            )
            stream.start_close(CloseFrame(CloseCode.INTERNAL_ERROR))


def _start_response(statuses: list[str], status: str, headers: object, exc_info: object = None) -> Any:
    """The application's start_response: nobody gets its answer."""
    statuses.append(status)
    return _write


def _write(data: bytes) -> None: ...
