from __future__ import annotations

from collections.abc import Callable
from typing import Any

from common import KIND, listen
from gevent import socket
from gevent.pywsgi import WSGIServer
from geventwebsocket.handler import WebSocketHandler


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    ws = environ["wsgi.websocket"]
    while (message := ws.receive()) is not None:
        ws.send(message)
    return []


clients: set[Any] = set()


def broadcast(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    ws = environ["wsgi.websocket"]
    clients.add(ws)
    while (message := ws.receive()) is not None:
        for client in list(clients):
            client.send(message)
    clients.discard(ws)
    return []


listener = socket.socket(fileno=listen().detach())
serve = broadcast if KIND == "broadcast" else application
WSGIServer(listener, serve, handler_class=WebSocketHandler, log=None).serve_forever()
