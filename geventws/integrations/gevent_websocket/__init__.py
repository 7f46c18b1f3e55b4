"""gevent-websocket's names, with a WebSocket of geventws underneath.

`install` lets ``import geventwebsocket`` find this package, and with that Flask-SocketIO. The modules have the names
that they have in gevent-websocket.
"""

from __future__ import annotations

from typing import Any

from ..stand_in import StandIn
from .exceptions import WebSocketError
from .handler import WebSocketHandler
from .resource import Resource, WebSocketApplication
from .server import WebSocketServer

__all__ = [
    "VERSION",
    "GeventWebSocketWorker",
    "Resource",
    "WebSocketApplication",
    "WebSocketError",
    "WebSocketHandler",
    "WebSocketServer",
    "get_version",
    "install",
]

VERSION = (0, 10, 1, "final", 0)
"""The version of gevent-websocket whose names these are."""


def get_version() -> str:
    """`VERSION` as a string."""
    return ".".join(str(number) for number in VERSION[:3])


def install() -> None:
    """Let ``import geventwebsocket`` find this package; to be called before whatever uses it is imported.

    Raises InvalidState where gevent-websocket itself has been imported already.
    """
    StandIn("geventwebsocket", __name__).install()


def __getattr__(name: str) -> Any:
    if name == "GeventWebSocketWorker":  # gunicorn need not be there
        from .gunicorn.workers import GeventWebSocketWorker

        return GeventWebSocketWorker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
