"""The client's side of a broken connection: how it finds out that the server has gone without a word.

The heartbeat does it, without being asked: ``ping_interval`` seconds after the last byte came the client pings, and
``ping_timeout`` seconds later it gives the connection up, which `recv` and `send` raise. Where that is not soon enough,
a ping by hand tells at any time, and `terminate` ends the connection at once, where `close` would wait for an answer.
The server here does not answer pings, for the sake of the example; both run in one process for a few intervals::

    python examples/dead_server.py [INTERVAL]
"""

from __future__ import annotations

import sys

import gevent

from geventws import ConnectionClosedError, WebSocket, WebSocketServer, connect


def say_nothing(ws: WebSocket) -> None:
    ws.wait_closed()


def main(interval: float) -> None:
    with WebSocketServer(("127.0.0.1", 0), say_nothing, auto_pong=False, ping_interval=None) as server:
        server.start()
        url = f"ws://127.0.0.1:{server.address[1]}"
        with connect(url, ping_interval=interval, ping_timeout=interval) as ws:
            try:
                ws.recv()
            except ConnectionClosedError as error:
                print("the heartbeat:", error.code, ws.state.name)
        ws = connect(url, ping_interval=None)
        try:
            ws.ping().get(timeout=interval)
        except gevent.Timeout:
            ws.terminate()
            print("a ping by hand:", ws.close_code, ws.state.name)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
