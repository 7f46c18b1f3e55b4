"""A client that stays connected, with an outbox that keeps what cannot be sent.

The server, in this process, has a bad day: it refuses the client at first, and restarts in the middle of its second
visit. The client logs in anew on each connection, with a token of its own, and only then has its outbox send what has
gathered. The server takes its leave with 1000 at last, which this client takes for the end::

    python examples/reconnect.py
"""

from __future__ import annotations

import logging
import sys

from geventws import (
    ConnectionClosed,
    ConnectionClosedError,
    Outbox,
    Request,
    Response,
    WebSocket,
    WebSocketServer,
    reconnect,
)

VISITS = iter(("refused", "cut short", "fine"))
TOKENS = iter(("first", "second", "third"))


def look_in(request: Request) -> Response | None:
    request.data["visit"] = next(VISITS)
    if request.data["visit"] == "refused":
        return Response(503, headers={"Retry-After": "0"})
    return None


def listen(ws: WebSocket) -> None:
    print(f"server: {ws.recv()} with {ws.request.headers['Authorization']}")
    ws.send("welcome")
    for message in ws:
        print(f"server: {message}")
        if message == "two":
            ws.close(1012, "back soon")
        elif message == "three":
            ws.close()


def should_retry(error: Exception, attempt: int) -> bool | float | None:
    if isinstance(error, ConnectionClosed) and error.code == 1000:
        return False  # all is said: the loop ends
    if isinstance(error, ConnectionClosed) and error.code == 1012:
        return 0.1  # this server does not mind; by default it would be 5 to 30 seconds
    return None


def stay_connected(url: str) -> None:
    outbox = Outbox()
    for message in ("one", "two"):
        outbox.send(message)  # there is no connection yet
    with reconnect(
        url,
        delays=[0, 0.1, 1, 10],
        should_retry=should_retry,
        headers=lambda: {"Authorization": f"Bearer {next(TOKENS)}"},
    ) as connections:
        for ws in connections:
            try:
                ws.send("hello")
                print(f"client: {ws.recv(timeout=5)}")
                outbox.attach(ws)
                for message in ws:
                    print(f"client: {message}")
            except ConnectionClosedError:
                outbox.send("three")  # there is none any more


def main() -> None:
    logging.basicConfig(format="client: %(message)s", stream=sys.stdout)
    with WebSocketServer(("127.0.0.1", 0), listen, process_request=look_in) as server:
        server.start()
        stay_connected(f"ws://127.0.0.1:{server.address[1]}")


if __name__ == "__main__":
    main()
