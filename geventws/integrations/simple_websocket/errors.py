"""What simple-websocket raises."""

from __future__ import annotations

from ...frames import CloseCode


class SimpleWebsocketError(RuntimeError):
    """The base of the two others."""


class ConnectionError(SimpleWebsocketError):
    """The connection could not be opened.

    Attributes:
        status_code: the HTTP status with which the request was refused, or None where there is none.
    """

    def __init__(self, status_code: int | None = None) -> None:
        self.status_code = status_code
        super().__init__(f"Connection error: {status_code}")


class ConnectionClosed(SimpleWebsocketError):
    """The connection has ended.

    Attributes:
        reason: the peer's close code, 1006 where it sent none, 1005 where the connection was closed on this side.
        message: the peer's close reason, or None.
    """

    def __init__(self, reason: int = CloseCode.NO_STATUS_RCVD, message: str | None = None) -> None:
        self.reason = reason
        self.message = message
        super().__init__(f"Connection closed: {reason} {message or ''}")
