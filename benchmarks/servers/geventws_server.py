from __future__ import annotations

import sys

from common import KIND, listen, tls
from gevent import socket
from gevent.pywsgi import WSGIServer

import geventws
from geventws import WebSocket, WebSocketApp, WebSocketServer


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def broadcast(ws: WebSocket) -> None:
    for message in ws:
        geventws.broadcast(server.clients, message)


def broadcast_loop(ws: WebSocket) -> None:
    for message in ws:
        for client in server.clients:
            client.send(message)


if KIND == "broadcast" and not hasattr(geventws, "broadcast"):
    sys.exit("this geventws has no broadcast")
if KIND == "wsgi":
    WSGIServer(socket.socket(fileno=listen().detach()), WebSocketApp(echo), log=None).serve_forever()
handler = {"broadcast": broadcast, "broadcast-loop": broadcast_loop}.get(KIND, echo)
server = WebSocketServer(listen(), handler, ssl_context=tls(), compression=KIND == "deflate")
server.serve_forever()
