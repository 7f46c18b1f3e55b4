"""gevent-websocket's `WebSocket`: what an application finds as ``environ["wsgi.websocket"]``."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from ...exceptions import ConcurrencyError, ConnectionClosed, ProtocolError
from ...frames import CloseCode, CloseFrame, Opcode
from ...websocket import WebSocket as Stream
from .exceptions import WebSocketError

MSG_SOCKET_DEAD = "Socket is dead"
MSG_ALREADY_CLOSED = "Connection is already closed"

_DATA = (str, bytes, bytearray, memoryview)


class WebSocket:
    """An open connection.

    One greenlet may receive, any number may send.

    Attributes:
        environ: the WSGI environment of the request.
        stream: the WebSocket of geventws underneath.
        handler: the `WebSocketHandler` that has read the request.
        closed: whether `close` was called, or `receive` or `send` has found the connection's end.
        current_app: the WebSocketApplication that a `Resource` has made for the connection, or None.
    """

    OPCODE_CONTINUATION = Opcode.CONTINUATION
    OPCODE_TEXT = Opcode.TEXT
    OPCODE_BINARY = Opcode.BINARY
    OPCODE_CLOSE = Opcode.CLOSE
    OPCODE_PING = Opcode.PING
    OPCODE_PONG = Opcode.PONG

    def __init__(self, environ: dict[str, Any], stream: Stream, handler: Any) -> None:
        self.environ = environ
        self.stream = stream
        self.handler = handler
        self.closed = False
        self.current_app: Any = None

    @property
    def origin(self) -> str | None:
        """The Origin header."""
        return self.environ.get("HTTP_ORIGIN")

    @property
    def protocol(self) -> str | None:
        """The Sec-WebSocket-Protocol header: what the client offers."""
        return self.environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL")

    @property
    def version(self) -> str | None:
        """The Sec-WebSocket-Version header."""
        return self.environ.get("HTTP_SEC_WEBSOCKET_VERSION")

    @property
    def path(self) -> str | None:
        """PATH_INFO."""
        return self.environ.get("PATH_INFO")

    @property
    def logger(self) -> logging.Logger:
        """The handler's logger."""
        logger: logging.Logger = self.handler.logger
        return logger

    def receive(self) -> str | bytearray | None:
        """The next message, str for text and bytearray for binary; None once the connection has ended.

        Raises WebSocketError where that is known already.
        """
        if self.closed:
            raise WebSocketError(MSG_ALREADY_CLOSED)
        try:
            message = self.stream.recv()
        except ConnectionClosed:
            self.closed = True
            return None
        return message if isinstance(message, str) else bytearray(message)

    read_message = receive

    def send(self, message: Any, binary: bool | None = None) -> None:
        """Send a message, as a whole.

        Args:
            message: str, or bytes or whatever bytes can be made of; as text also any other object, str of it.
            binary: whether it is sent as binary; by default everything but str is.

        Raises:
            WebSocketError: the connection has ended.
            TimeoutError: the option ``send_timeout`` has been given, and the peer does not read.
        """
        if binary is None:
            binary = not isinstance(message, str)
        self.send_frame(message, self.OPCODE_BINARY if binary else self.OPCODE_TEXT)

    def send_frame(self, message: Any, opcode: int) -> None:
        """Send a message, a ping or a pong, or close; raises as `send` does, and ValueError for another opcode."""
        if self.closed:
            raise WebSocketError(MSG_SOCKET_DEAD)
        try:
            self._send(message, opcode)
        except ConnectionClosed:
            self.closed = True
            raise WebSocketError(MSG_SOCKET_DEAD) from None

    def _send(self, message: Any, opcode: int) -> None:
        if opcode == Opcode.TEXT:
            self.stream.send(message if isinstance(message, _DATA) else str(message or ""), text=True)
        elif opcode == Opcode.BINARY:
            self.stream.send(message if isinstance(message, _DATA) else bytes(message), text=False)
        elif opcode == Opcode.PING:
            with suppress(ConcurrencyError):  # one with the same data has not been answered yet
                self.stream.ping(message)
        elif opcode == Opcode.PONG:
            self.stream.pong(message)
        elif opcode == Opcode.CLOSE:
            self._close(_close_frame(message))
        else:
            raise ValueError(f"a message, a ping, a pong or a close frame can be sent, not opcode {int(opcode)}")

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, message: str | bytes | None = b"") -> None:
        """Begin to close the connection, without waiting for the peer's answer; nothing happens where it has ended.

        Args:
            code: the close code.
            message: the close reason.

        Raises ValueError or TypeError where they are not allowed; nothing was sent.
        """
        if self.closed:
            return
        text = message.decode() if isinstance(message, bytes | bytearray) else message or ""
        self._close(CloseFrame.checked(code, text))

    def _close(self, frame: CloseFrame) -> None:
        self.closed = True
        self.stream.start_close(frame)


def _close_frame(payload: str | bytes) -> CloseFrame:
    try:
        return CloseFrame.decode(payload.encode() if isinstance(payload, str) else payload)
    except ProtocolError as error:
        raise ValueError(f"not the payload of a close frame: {error}") from None
