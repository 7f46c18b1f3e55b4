"""WebSocket client and server for gevent (RFC 6455, RFC 7692)."""

from __future__ import annotations

from . import acceleration

if acceleration.is_unwanted():
    acceleration.import_only_sources(__path__)

# What is imported here depends on the lines above.
from . import kernels
from .authentication import basic_auth
from .broadcast import broadcast
from .client import connect
from .deflate import PerMessageDeflate
from .events import State
from .exceptions import (
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeError,
    InvalidHeader,
    InvalidState,
    InvalidStatus,
    InvalidURL,
    ProtocolError,
    ProxyError,
    Violation,
    WebSocketError,
)
from .frames import CloseCode, CloseFrame
from .headers import Headers
from .http11 import Request, Response
from .messages import PreparedMessage
from .metrics import Metrics
from .outbox import Outbox
from .reconnection import reconnect
from .server import WebSocketServer
from .stats import ConnectionStats, ServerStats
from .upgrader import Upgrader
from .version import __version__
from .websocket import WebSocket
from .wsgi import WebSocketApp, upgrade

accelerated = acceleration.is_compiled(kernels.__file__)
"""Whether the compiled part of the library runs."""

__all__ = [
    "CloseCode",
    "CloseFrame",
    "ConcurrencyError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "ConnectionStats",
    "HandshakeError",
    "Headers",
    "InvalidHeader",
    "InvalidState",
    "InvalidStatus",
    "InvalidURL",
    "Metrics",
    "Outbox",
    "PerMessageDeflate",
    "PreparedMessage",
    "ProtocolError",
    "ProxyError",
    "Request",
    "Response",
    "ServerStats",
    "State",
    "Upgrader",
    "Violation",
    "WebSocket",
    "WebSocketApp",
    "WebSocketError",
    "WebSocketServer",
    "__version__",
    "accelerated",
    "basic_auth",
    "broadcast",
    "connect",
    "reconnect",
    "upgrade",
]
