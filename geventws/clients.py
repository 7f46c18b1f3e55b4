"""The connections that a server holds, and a message to all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from typing import TYPE_CHECKING, Any

from .broadcast import MAX_QUEUED, OnSlow, broadcast
from .exceptions import InvalidState
from .websocket import WebSocket

if TYPE_CHECKING:
    from .messages import PreparedMessage, Sendable


class Clients(Set[WebSocket]):
    """The WebSockets whose TCP connection has not ended yet.

    A WebSocket leaves by itself. Iterating goes over those that are there when it begins, whatever happens meanwhile.

    Attributes:
        tracked: whether it holds any; see ``track_clients``.
    """

    def __init__(self, tracked: bool = True) -> None:
        self.tracked = tracked
        self._websockets: set[WebSocket] = set()

    def __contains__(self, ws: object) -> bool:
        return ws in self._websockets

    def __iter__(self) -> Iterator[WebSocket]:
        return iter(list(self._websockets))

    def __len__(self) -> int:
        return len(self._websockets)

    def __repr__(self) -> str:
        return f"<Clients: {len(self)}>"

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> set[Any]:
        return set(it)  # what & and - make


class Broadcaster:
    """What holds `Clients`, and can send a message to all of them."""

    @property
    def clients(self) -> Clients:
        """The open connections, a set that may be iterated over while it changes."""
        raise NotImplementedError

    def broadcast(
        self,
        message: Sendable | PreparedMessage,
        *,
        text: bool | None = None,
        compress: bool | None = None,
        exclude: WebSocket | Iterable[WebSocket] = (),
        on_slow: OnSlow = "close",
        max_queued: int = MAX_QUEUED,
    ) -> int:
        """`broadcast.broadcast` to all `clients` but those of ``exclude``, which is one or several.

        Raises InvalidState also where ``track_clients`` is False, so that nobody knows the clients.
        """
        if not self.clients.tracked:
            raise InvalidState("the clients are not known: track_clients is False")
        excluded = {id(ws) for ws in ([exclude] if isinstance(exclude, WebSocket) else exclude)}
        clients = [ws for ws in self.clients if id(ws) not in excluded]
        return broadcast(clients, message, text=text, compress=compress, on_slow=on_slow, max_queued=max_queued)
