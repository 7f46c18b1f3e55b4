"""What a connection has to tell: its state, and what was received."""

from __future__ import annotations

from enum import Enum
from sys import getsizeof
from typing import NamedTuple

from .exceptions import ProtocolError
from .frames import CloseFrame


class State(Enum):
    """The states of a connection, with the names of RFC 6455 and of the browsers' readyState."""

    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


class Ping(NamedTuple):
    """A ping frame was received."""

    data: bytes


class Pong(NamedTuple):
    """A pong frame was received."""

    data: bytes


class Fragment(NamedTuple):
    """A part of a message that is streamed; ``final`` where nothing of the message follows."""

    data: str | bytes
    final: bool

    def __sizeof__(self) -> int:
        return tuple.__sizeof__(self) + getsizeof(self.data)


Message = str | bytes
Item = Message | Fragment | Ping | Pong
Event = Ping | Pong | CloseFrame | ProtocolError
