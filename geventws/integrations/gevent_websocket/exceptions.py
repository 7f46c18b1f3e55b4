"""What gevent-websocket raises."""

from __future__ import annotations


class WebSocketError(OSError):
    """The connection has ended."""


class ProtocolError(WebSocketError):
    """For programs that catch it: where the peer breaks the protocol, the connection has just ended."""


class FrameTooLargeException(ProtocolError):
    """For programs that catch it."""
