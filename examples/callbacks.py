"""Callbacks on top of the blocking calls, for programs that are written that way.

`listen` does what the handlers of a browser's WebSocket do; several run side by side, each in a greenlet. A server that
counts, with one such client, in one process::

    python examples/callbacks.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent

from geventws import WebSocket, WebSocketError, WebSocketServer, connect

Callback = Callable[..., object]


def ignore(*_: object) -> None:
    pass


def listen(
    url: str,
    on_open: Callback = ignore,
    on_message: Callback = ignore,
    on_ping: Callback = ignore,
    on_close: Callback = ignore,
    on_error: Callback = ignore,
    **options: Any,
) -> None:
    ws: WebSocket | None = None
    try:
        with connect(url, **options) as ws:
            ws.on_ping = on_ping
            on_open(ws)
            for message in ws:
                on_message(ws, message)
    except (OSError, WebSocketError) as error:
        on_error(error)
    if ws is not None:
        on_close(ws.close_code, ws.close_reason)


def count(ws: WebSocket) -> None:
    last = int(ws.recv(timeout=5))
    ws.ping(b"counting").get(timeout=5)
    for number in range(last):
        ws.send(str(number + 1))
    ws.close(1000, "done")


def main() -> None:
    with WebSocketServer(("127.0.0.1", 0), count) as server:
        server.start()
        client = gevent.spawn(
            listen,
            f"ws://127.0.0.1:{server.address[1]}",
            on_open=lambda ws: ws.send("3"),
            on_message=lambda ws, message: print("message", message),
            on_ping=lambda data: print("ping", data),
            on_close=lambda code, reason: print("closed", code, reason),
            on_error=lambda error: print("error", error),
        )
        client.join()
    listen(f"ws://127.0.0.1:{server.address[1]}", on_error=lambda error: print("error", type(error).__name__))


if __name__ == "__main__":
    main()
