"""Heartbeats: how a server finds out that a client has gone without a word, and how fast the others answer.

A connection from which nothing comes for ``ping_interval`` seconds is sent a ping, and is given up when then nothing
comes for ``ping_timeout`` seconds; both are 20 unless told otherwise. Of the two clients here one answers pings and
the other, for the sake of the example, does not. Server and clients run in one process for a few intervals::

    python examples/heartbeat.py [INTERVAL]
"""

from __future__ import annotations

import sys

from gevent.event import Event

from geventws import ConnectionClosedError, WebSocket, WebSocketServer, connect


def main(interval: float) -> None:
    dead_one_noticed = Event()

    def handle(ws: WebSocket) -> None:
        name = ws.request.path.strip("/")
        try:
            for message in ws:
                print(f"server: {name} says {message}")
        except ConnectionClosedError:
            print(f"server: {name} no longer answers")
            dead_one_noticed.set()
        else:
            print(f"server: {name} said goodbye; its last ping took {'some' if ws.latency else 'no'} time")

    with WebSocketServer(("127.0.0.1", 0), handle, ping_interval=interval, ping_timeout=interval) as server:
        server.start()
        url = f"ws://127.0.0.1:{server.address[1]}"
        # A client has a heartbeat of its own, which the server would answer; here only the server's is to be seen.
        with (
            connect(f"{url}/lively", ping_interval=None) as lively,
            connect(f"{url}/lifeless", ping_interval=None, auto_pong=False) as lifeless,
        ):
            lively.send("hello")
            lifeless.send("hello")
            dead_one_noticed.wait(timeout=10 * interval)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
