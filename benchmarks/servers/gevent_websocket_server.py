from __future__ import annotations

from collections.abc import Callable
from typing import Any

from common import listen
from gevent import socket
from gevent.pywsgi import WSGIServer
from geventwebsocket.handler import WebSocketHandler


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    ws = environ["wsgi.websocket"]
    while (message := ws.receive()) is not None:
        ws.send(message)
    return []


listener = socket.socket(fileno=listen().detach())
WSGIServer(listener, application, handler_class=WebSocketHandler, log=None).serve_forever()
