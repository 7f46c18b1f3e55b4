"""A ticker: many subscribers get every price, and none of them can hold up the others.

::

    python examples/broadcast.py
    geventws connect ws://127.0.0.1:8000

``--host`` and ``--port`` (127.0.0.1 and 8000) choose another address, ``--interval`` (1 second) the time between two
prices. A subscriber that does not read misses prices rather than getting stale ones; one that has missed 100 is
disconnected.
"""

from __future__ import annotations

import argparse
import json
import random
import signal

import gevent

from geventws import PreparedMessage, WebSocket, WebSocketServer

RULES = PreparedMessage(json.dumps({"symbols": ["ABC"], "currency": "EUR"}))  # the same for all, made once
MOST_MISSED = 100


def subscriber(ws: WebSocket) -> None:
    ws.send(RULES)
    for _ in ws:
        pass  # what subscribers say is of no interest


def missed(ws: WebSocket) -> None:
    ws.data["missed"] = ws.data.get("missed", 0) + 1
    if ws.data["missed"] > MOST_MISSED:
        ws.terminate()


def tick(server: WebSocketServer, interval: float) -> None:
    price = 100.0
    while True:
        price += random.uniform(-1, 1)
        server.broadcast(json.dumps({"ABC": round(price, 2)}), on_slow=missed, max_queued=4096)
        gevent.sleep(interval)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A ticker.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--interval", type=float, default=1)
    options = parser.parse_args()
    server = WebSocketServer((options.host, options.port), subscriber, compression=True)
    server.start()
    print(f"listening on ws://{options.host}:{server.address[1]}", flush=True)
    ticker = gevent.spawn(tick, server, options.interval)
    gevent.signal_handler(signal.SIGINT, server.stop)
    server.serve_forever()
    ticker.kill()
