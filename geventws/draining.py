"""The WebSockets that a process serves under WSGI, and how they are closed before the server or the process ends."""

from __future__ import annotations

import random
from weakref import WeakSet

from gevent import sleep

from .events import State
from .exceptions import HandshakeError
from .frames import CloseFrame
from .http11 import refusal
from .kernels import now
from .limits import RETRY_AFTER
from .websocket import WebSocket


class Drain:
    """The open connections of all WSGI applications of one process, which may be closed together."""

    def __init__(self) -> None:
        self._websockets: WeakSet[WebSocket] = WeakSet()
        self._frame: CloseFrame | None = None

    @property
    def open(self) -> list[WebSocket]:
        return [ws for ws in self._websockets if ws.state is not State.CLOSED]

    def check(self) -> None:
        """Raises HandshakeError where no more connections are opened."""
        if self._frame is not None:
            text = "the server is about to end"
            raise HandshakeError(text, refusal(503, text, [("Retry-After", str(RETRY_AFTER))]))

    def add(self, ws: WebSocket) -> None:
        """A connection has been opened. It is closed at once where that began after `close` had begun."""
        self._websockets.add(ws)
        if self._frame is not None:
            ws.start_close(self._frame)

    def close(self, frame: CloseFrame, over: float) -> None:
        """Open no more connections, and begin to close each at a random moment within ``over`` seconds.

        So the clients come back one after the other, to this server's successor or to its neighbours. Where that is 0,
        all are told before any answer is read, which would make the last ones wait.
        """
        self._frame = frame
        websockets = self.open
        start = now()
        for ws, moment in zip(websockets, sorted(random.uniform(0, over) for _ in websockets), strict=True):
            early = start + moment - now()
            if early > 0:
                sleep(early)
            ws.start_close(frame)

    def wait(self, timeout: float | None) -> bool:
        """Wait until all connections have ended; returns whether they have in time."""
        end = None if timeout is None else now() + timeout
        return all(ws.wait_closed(None if end is None else max(0.0, end - now())) for ws in self.open)

    def reopen(self) -> None:
        """Let connections be opened again."""
        self._frame = None


drain = Drain()
"""That of this process."""
