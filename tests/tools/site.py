"""A WSGI application served by gevent.pywsgi in this process, and raw connections to it."""

from __future__ import annotations

from typing import Any

from gevent import pywsgi, socket

from geventws.http11 import Response

from . import raw_http
from .peer import Peer


class Site:
    """Serves one application, and makes raw connections to it; ``options`` are those of the server."""

    def __init__(self, server_class: Any = pywsgi.WSGIServer, **options: Any) -> None:
        self.log: list[str] = []
        self.server: Any = None
        self._server_class = server_class
        self._options = options
        self._sockets: list[Any] = []

    def write(self, text: str) -> None:
        self.log.append(text)

    def connect(self, app: Any) -> Any:
        if self.server is None:
            self.server = self._server_class(("127.0.0.1", 0), app, log=self, **self._options)
            self.server.start()
        sock = socket.create_connection(self.server.address)
        self._sockets.append(sock)
        return sock

    def ask(self, app: Any, data: bytes) -> Response:
        sock = self.connect(app)
        sock.sendall(data)
        return raw_http.read_response(sock)[0]

    def open(self, app: Any, data: bytes) -> tuple[Response, Peer]:
        sock = self.connect(app)
        sock.sendall(data)
        response, rest = raw_http.read_response(sock)
        assert response.status == 101, response
        peer = Peer(sock, client=True, head=rest)
        return response, peer

    def end(self) -> None:
        for sock in self._sockets:
            sock.close()
        if self.server is not None:
            self.server.stop(timeout=1)


def close(peer: Peer) -> None:
    """Close from the client's side."""
    peer.send_close(1000)
    assert peer.read_close() == (1000, "")
    peer.read_eof()
    peer.close()
