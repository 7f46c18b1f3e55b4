"""Ready-made handlers: what the command line and the demo serve."""

from __future__ import annotations

from collections.abc import Iterable

from .frames import Buffer
from .websocket import State, WebSocket

SLOW = 16 * 1024
"""A client that leaves more bytes than this unread when the next message is there for it has lost touch."""


def echo(ws: WebSocket) -> None:
    """Send each message back as it came."""
    for message in ws:
        ws.send(message)


def send_to_all(clients: Iterable[WebSocket], message: str | Buffer) -> None:
    """Send a message to every client whose connection is open, without waiting for any of them.

    A client that does not read what it was sent is cut off rather than waited for: it would hold up the others.
    """
    for ws in list(clients):
        if ws.state is not State.OPEN:
            continue
        if ws.buffered_amount > SLOW:
            ws.terminate()
        else:
            ws.send(message)
