"""Ready-made handlers: what the command line and the demo serve."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from .exceptions import ConnectionClosed
from .frames import CloseCode, CloseFrame
from .protocol import Message, State
from .transport import HIGH_WATER
from .websocket import WebSocket

_TOO_SLOW = CloseFrame(CloseCode.TRY_AGAIN_LATER, "too slow")


def echo(ws: WebSocket) -> None:
    """Send each message back as it came."""
    for message in ws:
        ws.send(message)


def send_to_all(clients: Iterable[WebSocket], message: Message) -> None:
    """Send a message to every client whose connection is open, without waiting for any of them to read it.

    A client for which so much lies ready that `send` would wait is disconnected: it would hold up the others.
    """
    for ws in list(clients):
        if ws.state is not State.OPEN:
            continue
        if ws.buffered_amount > HIGH_WATER:
            ws.start_close(_TOO_SLOW)
            continue
        with suppress(ConnectionClosed):
            ws.send(message)
