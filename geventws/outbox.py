"""An outbox: messages wait in it for a connection, and for the next one where a connection breaks while it sends.

What is promised ends at the kernel. A message leaves the outbox when the kernel has taken its last byte; what the
kernel of a broken connection had not delivered is lost, and nobody can tell, since WebSocket has no acknowledgements.
"""

from __future__ import annotations

import json
from collections import deque
from queue import Full
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import gevent
from gevent.event import Event

from .exceptions import ConnectionClosed
from .kernels import now
from .options import check_wait, checked_count
from .websocket import WebSocket

if TYPE_CHECKING:
    from .messages import Sendable

_POLICIES = ("wait", "drop", "raise")


class _Item(NamedTuple):
    message: str | bytes
    text: bool | None
    compress: bool | None
    size: int


class Outbox:
    """Messages that are sent, in order, over whatever connection is attached, and kept while there is none.

    Any greenlet may put messages in at any time. A greenlet of the outbox's own sends them; it lives only while there
    is something to send and a connection to send it over.

    Each message is handed to the kernel whole before the next one. Where the connection ends before that, the message
    is sent again over the next connection, as the first one. It cannot have been received before, unless the connection
    ended in the moment between the kernel's taking its last bytes and the outbox's notice of it.

    Args:
        max_messages: the most messages that wait, besides the one that is being sent.
        max_bytes: the most bytes of payload that they have together; a message that is longer is a ValueError.
        on_full: "wait" lets `send` wait until there is room, "drop" drops the oldest messages that wait, "raise" raises
            queue.Full.

    Attributes:
        dropped: how many messages were dropped.
    """

    def __init__(
        self,
        *,
        max_messages: int = 1000,
        max_bytes: int = 2**24,
        on_full: Literal["wait", "drop", "raise"] = "wait",
    ) -> None:
        if on_full not in _POLICIES:
            raise ValueError(f"on_full is one of {', '.join(map(repr, _POLICIES))}, not {on_full!r}")
        self._max_messages = checked_count("max_messages", max_messages, 1)
        self._max_bytes = checked_count("max_bytes", max_bytes, 1)
        self._on_full = on_full
        self._waiting: deque[_Item] = deque()
        self._size = 0
        self._first: _Item | None = None  # the one that is being sent, or was when the connection ended
        self._room = Event()
        self._empty = Event()
        self._empty.set()
        self._websocket: WebSocket | None = None
        self._sender: gevent.Greenlet[..., None] | None = None
        self.dropped = 0

    def __len__(self) -> int:
        """How many messages are in it, with the one that is being sent."""
        return len(self._waiting) + (self._first is not None)

    def __bool__(self) -> bool:
        """Always true: an outbox is there also when nothing is in it."""
        return True

    def send(
        self,
        message: Sendable,
        *,
        text: bool | None = None,
        compress: bool | None = None,
        timeout: float | None = None,
    ) -> None:
        """Put a message in: str as text, any buffer as binary; a buffer is copied. It does not wait for a connection.

        Args:
            text: True sends UTF-8 bytes as text; False sends a str as binary.
            compress: as for `WebSocket.send`.
            timeout: how long to wait for room, in seconds; None for ever.

        Raises:
            TimeoutError: there was no room in time.
            queue.Full: there is no room, and ``on_full`` is "raise".
            ValueError: the message alone is longer than ``max_bytes``.
            TypeError: the message is neither text nor a buffer; fragments cannot be sent twice.
            UnicodeError: the text is not UTF-8.
        """
        check_wait("timeout", timeout)
        item = _item(message, text, compress)
        if item.size > self._max_bytes:
            raise ValueError(f"the message has {item.size} bytes, and max_bytes is {self._max_bytes}")
        if not self._has_room(item.size):
            self._make_room(item.size, timeout)
        self._waiting.append(item)
        self._size += item.size
        self._empty.clear()
        self._start()

    def send_json(self, value: Any, *, timeout: float | None = None) -> None:
        """Put a value in as JSON text; raises TypeError or ValueError where JSON has no word for it."""
        self.send(json.dumps(value), timeout=timeout)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until the kernel has taken everything; raises TimeoutError when it has not in ``timeout`` seconds."""
        check_wait("timeout", timeout)
        if not self._empty.wait(timeout):
            raise TimeoutError(f"{len(self)} messages were not sent within {timeout} s")

    def attach(self, websocket: WebSocket) -> None:
        """Send over this connection from now on, until it ends or another one is attached."""
        if not isinstance(websocket, WebSocket):
            raise TypeError(f"an outbox sends over a WebSocket, not {websocket!r}")
        self._websocket = websocket
        self._start()

    def clear(self) -> list[str | bytes]:
        """Take everything out and return it, the oldest first; a message that is being sent right now stays."""
        items = list(self._waiting)
        self._waiting.clear()
        self._size = 0
        self._room.set()
        if self._first is not None and self._sender is None:
            items.insert(0, self._first)
            self._first = None
        if self._first is None:
            self._empty.set()
        return [item.message for item in items]

    def _has_room(self, size: int) -> bool:
        return len(self._waiting) < self._max_messages and self._size + size <= self._max_bytes

    def _make_room(self, size: int, timeout: float | None) -> None:
        if self._on_full == "raise":
            raise Full(f"{len(self._waiting)} messages of {self._size} bytes wait in the outbox")
        if self._on_full == "wait":
            self._wait_for_room(size, timeout)
        while not self._has_room(size):
            self._take()
            self.dropped += 1

    def _wait_for_room(self, size: int, timeout: float | None) -> None:
        end = None if timeout is None else now() + timeout
        while not self._has_room(size):
            self._room.clear()
            if not self._room.wait(None if end is None else max(0.0, end - now())):
                raise TimeoutError(f"there was no room in the outbox within {timeout} s")

    def _take(self) -> _Item:
        item = self._waiting.popleft()
        self._size -= item.size
        return item

    def _start(self) -> None:
        if self._sender is None and self._websocket is not None and len(self):
            self._sender = gevent.spawn(self._run)

    def _run(self) -> None:
        try:
            while self._websocket is not None and len(self):
                websocket = self._websocket
                try:
                    self._send_first(websocket)
                except ConnectionClosed:
                    if self._websocket is websocket:
                        self._websocket = None
        finally:
            self._sender = None

    def _send_first(self, websocket: WebSocket) -> None:
        if self._first is None:
            self._first = self._take()
            self._room.set()
        first = self._first
        try:
            websocket.send(first.message, text=first.text, compress=first.compress)
        except TimeoutError:  # the connection's send_timeout: nothing of it was sent
            websocket.flush()
            return
        websocket.flush()
        self._first = None
        if not self._waiting:
            self._empty.set()


def _item(message: Sendable, text: bool | None, compress: bool | None) -> _Item:
    if isinstance(message, str):
        return _Item(message, text, compress, len(message.encode()))
    try:
        payload = memoryview(message).tobytes()
    except TypeError:
        raise TypeError(f"a message in an outbox is text or a buffer, not {repr(message)[:80]}") from None
    if text:
        str(payload, "utf-8")
    return _Item(payload, text, compress, len(payload))
