"""Servers of the library on the loopback, and connections to them whose frames are written by hand."""

from __future__ import annotations

import os
from typing import Any

from gevent import socket
from tools import raw_http
from tools.peer import Peer

import geventws
from geventws.server import WebSocketServer

MS = float(os.environ.get("GEVENTWS_MS", "1.5" if geventws.accelerated else "4")) / 1000
"""A millisecond of the machine on which the figures were taken, with some room for a busy one."""


def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


class Serving:
    """Starts servers and connects to them; `end` ends all of it."""

    def __init__(self, client_context: Any = None) -> None:
        self._client_context = client_context
        self._servers: list[WebSocketServer] = []
        self._sockets: list[Any] = []

    def start(self, handler: Any = echo, **options: Any) -> WebSocketServer:
        server = WebSocketServer(("127.0.0.1", 0), handler, **options)
        self._servers.append(server)
        server.start()
        return server

    def dial(self, server: WebSocketServer) -> Any:
        sock = socket.create_connection(server.address, timeout=5)
        self._sockets.append(sock)
        return sock

    def open(self, server: WebSocketServer, data: bytes = raw_http.request()) -> Peer:
        sock = self.dial(server)
        if server.ssl_enabled:
            sock = self._client_context.wrap_socket(sock, server_hostname="localhost")
            self._sockets.append(sock)
        sock.sendall(data)
        response, rest = raw_http.read_response(sock)
        assert response.status == 101, response
        return Peer(sock, client=True, head=rest)

    def end(self) -> None:
        for sock in self._sockets:
            sock.close()
        for server in self._servers:
            server.stop(timeout=1)
