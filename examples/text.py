"""Text messages: a str is sent as text, and text arrives as a str.

Server and client run in one process::

    python examples/text.py
"""

from __future__ import annotations

from geventws import WebSocket, WebSocketServer, connect


def greet(ws: WebSocket) -> None:
    for name in ws:
        ws.send(f"hello, {name}")


def main() -> None:
    with WebSocketServer(("127.0.0.1", 0), greet) as server:
        server.start()
        with connect(f"ws://127.0.0.1:{server.address[1]}") as ws:
            ws.send("Ada")
            print(ws.recv(timeout=5))
            ws.send("Grace")
            print(ws.recv(timeout=5))


if __name__ == "__main__":
    main()
