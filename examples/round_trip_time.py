"""How long a message takes to the server and back, measured in two ways.

A ping is answered by the other side's library even while its program is busy; an echoed message goes through the
program. The Origin header is sent as a page of the server's would. Without a URL an echo server is started in this
process::

    python examples/round_trip_time.py [URL]
"""

from __future__ import annotations

import sys
import time
from statistics import median

from geventws import WebSocket, WebSocketServer, connect

TIMES = 20


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def measure(url: str) -> None:
    with connect(url, origin=url.replace("ws", "http", 1).rstrip("/")) as ws:
        pings = [ws.ping().get(timeout=5) for _ in range(TIMES)]
        print(f"ping:    {1000 * median(pings):.3f} ms")
        echoes = []
        for number in range(TIMES):
            started = time.perf_counter()
            ws.send(f"message {number}")
            ws.recv(timeout=5)
            echoes.append(time.perf_counter() - started)
        print(f"message: {1000 * median(echoes):.3f} ms")
    print(f"closed with {ws.close_code}")


def main() -> None:
    if len(sys.argv) > 1:
        measure(sys.argv[1])
        return
    with WebSocketServer(("127.0.0.1", 0), echo) as server:
        server.start()
        measure(f"ws://127.0.0.1:{server.address[1]}")


if __name__ == "__main__":
    main()
