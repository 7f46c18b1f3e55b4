"""A tunnel for TCP through a WebSocket: for what must pass a proxy or a firewall that lets only the web through.

The server's end, which leads to one target, and the client's end, which listens where the program shall connect to::

    python examples/tcp_tunnel.py server 127.0.0.1:22
    python examples/tcp_tunnel.py client ws://127.0.0.1:8000 --port 2222
    ssh -p 2222 127.0.0.1

``--host`` and ``--port`` (127.0.0.1 and 8000 for the server, 9000 for the client) choose where to listen. Anybody who
reaches the server's end reaches the target: on a network give it TLS (tls.py) and ask who it is (authentication.py).
"""

from __future__ import annotations

import argparse
import signal
from typing import Any

import gevent
from gevent import socket
from gevent.server import StreamServer

from geventws import WebSocket, WebSocketServer, connect
from geventws.stream import relay


def serve(host: str, port: int, target: str) -> None:
    name, _, number = target.rpartition(":")

    def handle(ws: WebSocket) -> None:
        with socket.create_connection((name.strip("[]"), int(number))) as sock:
            relay(ws, sock, half_close=True)

    server = WebSocketServer((host, port), handle)
    server.start()
    print(f"listening on ws://{host}:{server.address[1]}", flush=True)
    gevent.signal_handler(signal.SIGINT, server.stop)
    server.serve_forever()


def listen(host: str, port: int, url: str) -> None:
    def handle(sock: Any, _address: object) -> None:
        with connect(url) as ws:
            relay(sock, ws, half_close=True)  # TCP can end one direction only, and both ends of a tunnel know how

    server = StreamServer((host, port), handle)
    server.start()
    print(f"listening on tcp://{host}:{server.address[1]}", flush=True)
    gevent.signal_handler(signal.SIGINT, server.stop)
    server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A tunnel for TCP through a WebSocket.")
    parser.add_argument("end", choices=["server", "client"])
    parser.add_argument("to", help="the server's target as host:port, or the client's URL")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    if options.end == "server":
        serve(options.host, 8000 if options.port is None else options.port, options.to)
    else:
        listen(options.host, 9000 if options.port is None else options.port, options.to)
