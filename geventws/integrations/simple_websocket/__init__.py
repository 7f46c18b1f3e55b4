"""simple-websocket's names, with a WebSocket of geventws underneath.

`install` lets ``import simple_websocket`` find this package, and with that flask-sock. There is no thread, and nothing
of the process need be monkey-patched.
"""

from __future__ import annotations

from ..stand_in import StandIn
from .errors import ConnectionClosed, ConnectionError, SimpleWebsocketError
from .ws import Base, Client, Server

__all__ = ["Base", "Client", "ConnectionClosed", "ConnectionError", "Server", "SimpleWebsocketError", "install"]


def install() -> None:
    """Let ``import simple_websocket`` find this package; to be called before whatever uses it is imported.

    Raises InvalidState where simple-websocket itself has been imported already.
    """
    StandIn("simple_websocket", __name__).install()
