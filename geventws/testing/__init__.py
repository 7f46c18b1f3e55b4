"""What tests of programs with WebSockets need: connected pairs, scripted peers, clients for WSGI applications.

The clients for Flask and Django are in `geventws.testing.flask` and `geventws.testing.django`.
"""

from __future__ import annotations

from .peer import ScriptedPeer
from .scripted import ScriptedServer, scripted
from .sides import Pair, pair
from .wire import BINARY, CLOSE, CONTINUATION, PING, PONG, RSV1, RSV2, RSV3, TEXT, Frame
from .wsgi import ViewSocket, WebSocketTestClient

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "RSV1",
    "RSV2",
    "RSV3",
    "TEXT",
    "Frame",
    "Pair",
    "ScriptedPeer",
    "ScriptedServer",
    "ViewSocket",
    "WebSocketTestClient",
    "pair",
    "scripted",
]
