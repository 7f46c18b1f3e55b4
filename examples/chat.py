"""A chat room: what one says, the others hear.

Start the server, and then a client in each of two other terminals::

    python examples/chat.py
    geventws connect "ws://127.0.0.1:8000/?name=Ada"
    geventws connect "ws://127.0.0.1:8000/?name=Grace"

``--host`` and ``--port`` (127.0.0.1 and 8000) choose another address.
"""

from __future__ import annotations

import argparse
import signal
from urllib.parse import parse_qs

import gevent

from geventws import WebSocket, WebSocketServer, broadcast


class Room:
    def __init__(self) -> None:
        self.names: dict[WebSocket, str] = {}

    def __call__(self, ws: WebSocket) -> None:
        name = parse_qs(ws.request.query).get("name", ["somebody"])[0]
        self.names[ws] = name
        self.tell(f"{name} came in, {len(self.names)} here")
        try:
            for message in ws:
                self.tell(f"{name}: {message}", exclude=ws)
        finally:
            del self.names[ws]
            self.tell(f"{name} left, {len(self.names)} here")

    def tell(self, text: str, exclude: WebSocket | None = None) -> None:
        # Nobody is waited for: who does not read is disconnected once 1 MiB waits for it.
        broadcast((ws for ws in self.names if ws is not exclude), text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A chat room.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    server = WebSocketServer((options.host, options.port), Room())
    server.start()
    print(f"listening on ws://{options.host}:{server.address[1]}", flush=True)
    gevent.signal_handler(signal.SIGINT, server.stop)
    server.serve_forever()
