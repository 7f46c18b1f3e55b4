"""A server that sends every message back, and a client that talks to it.

In one terminal, and then in another::

    python examples/echo.py serve
    python examples/echo.py connect hello world

``--host`` and ``--port`` (127.0.0.1 and 8000) choose another address.
"""

from __future__ import annotations

import argparse
import signal

import gevent

from geventws import WebSocket, WebSocketServer, connect


def echo(ws: WebSocket) -> None:
    """Runs in a greenlet of its own for each connection, and ends when the client closes it."""
    for message in ws:
        ws.send(message)


def serve(host: str, port: int) -> None:
    server = WebSocketServer((host, port), echo)
    server.start()
    print(f"listening on ws://{host}:{server.address[1]}", flush=True)
    gevent.signal_handler(signal.SIGINT, server.stop)
    server.serve_forever()


def talk(host: str, port: int, words: list[str]) -> None:
    with connect(f"ws://{host}:{port}") as ws:
        for word in words:
            ws.send(word)
            print(ws.recv(timeout=5))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An echo server and its client.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("role", choices=["serve", "connect"])
    parser.add_argument("words", nargs="*", default=["hello"])
    options = parser.parse_intermixed_args()
    if options.role == "serve":
        serve(options.host, options.port)
    else:
        talk(options.host, options.port, options.words)
