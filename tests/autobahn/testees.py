"""What the suite tests: an echo server and an echo client made with geventws, with compression on."""

from __future__ import annotations

import contextlib
from typing import Any

import gevent

from geventws import PerMessageDeflate, WebSocket, WebSocketApp, WebSocketError, WebSocketServer, connect

AGENT = "geventws"
CASE_TIMEOUT = 480  # seconds, as the suite itself has; on an idle machine the longest case takes a fortieth of it

OPTIONS: dict[str, Any] = {
    "compression": PerMessageDeflate(threshold=0),  # small messages too
    "max_size": 32 * 2**20,  # the suite sends messages of 16 MiB
    "ping_interval": None,  # the suite expects exactly the frames that it provoked
}


def echo(ws: WebSocket) -> None:
    with contextlib.suppress(WebSocketError):  # most cases end in a violation
        for message in ws:
            ws.send(message)


application = WebSocketApp(echo, **OPTIONS)


def start_server() -> WebSocketServer:
    server = WebSocketServer(("127.0.0.1", 0), echo, **OPTIONS)
    server.start()
    return server


def run_client(url: str) -> None:
    """Run all cases of the fuzzing server at ``url``, one after the other, and have it write its report."""
    with connect(f"{url}/getCaseCount", proxy=None, **OPTIONS) as ws:
        count = int(ws.recv(timeout=10))
    for number in range(1, count + 1):
        with gevent.Timeout(CASE_TIMEOUT, False):
            run_case(f"{url}/runCase?case={number}&agent={AGENT}")
    with connect(f"{url}/updateReports?agent={AGENT}", proxy=None, **OPTIONS) as ws:
        ws.wait_closed(timeout=60)


def run_case(url: str) -> None:
    with contextlib.suppress(WebSocketError, OSError), connect(url, proxy=None, **OPTIONS) as ws:
        echo(ws)
