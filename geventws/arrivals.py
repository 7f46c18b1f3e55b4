"""Connections whose request has not come yet. The hub reads their heads, so that none of them takes a greenlet.

This serves plain connections. Where TLS comes first, or greenlets are counted, a greenlet reads the head
(`opening.read_head`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from .exceptions import HandshakeError
from .heartbeat import SHORTEST_TIMER
from .http11 import Request, RequestParser
from .hubs import shared
from .kernels import now, receive, to_bytes
from .opening import HeadParser, request_timeout, too_late

logger = logging.getLogger("geventws")

_READ = 1


class Arrivals:
    """The connections of one server, in the order in which they came and will be given up.

    All calls come from the hub, and so do those of the two functions, which have the socket from then on.

    Args:
        timeout: how long the request may take, in seconds; None for ever.
        arrived: called with the socket, its address, the request and the bytes behind its head.
        refused: called with the socket, its address and the HandshakeError where no request came of it.
        new_parser: makes what reads a request.
    """

    def __init__(
        self,
        timeout: float | None,
        arrived: Callable[[Any, Any, Request, bytes], object],
        refused: Callable[[Any, Any, HandshakeError], object],
        new_parser: Callable[[], HeadParser[Request]] = RequestParser,
    ) -> None:
        common = shared()
        self._loop = common.hub.loop
        self._buffer = common.buffer
        self._gathering = common.gathering
        self._timeout = timeout
        self._arrived = arrived
        self._refused = refused
        self._new_parser = new_parser
        self._waiting: dict[_Arrival, None] = {}
        self._timer: Any = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, sock: Any, address: Any) -> None:
        """Read the request of a connection; the socket is non-blocking, and ours from now on."""
        arrival = _Arrival(sock, address, self._new_parser())
        self._waiting[arrival] = None
        # Behind the other descriptors of this turn: who has left makes room for who comes.
        self._loop.run_callback(self._begin, arrival)

    def _begin(self, arrival: _Arrival) -> None:
        if arrival in self._waiting:
            self._read(arrival)  # where many come at a time, most requests are there by now
        if arrival in self._waiting:
            self._wait(arrival)

    def _wait(self, arrival: _Arrival) -> None:
        arrival.watcher = self._loop.io(arrival.sock.fileno(), _READ)
        self._watch(arrival)
        if self._timer is None and self._timeout is not None:
            self._start_timer(self._timeout)

    def close(self) -> None:
        """Give up all of them."""
        while self._waiting:
            self._give_up(next(iter(self._waiting)))

    def _watch(self, arrival: _Arrival) -> None:
        arrival.watcher.start(self._on_readable, arrival, pass_events=True)

    def _on_readable(self, events: int, arrival: _Arrival) -> None:
        self._read(arrival)
        if events < 0 and arrival in self._waiting:
            # libuv watches a descriptor no more once there is an error on it, which may stand behind data.
            arrival.watcher.stop()
            self._watch(arrival)

    def _read(self, arrival: _Arrival) -> None:
        sock = arrival.sock
        if self._gathering.inherited:
            self._give_up(arrival)  # in a forked child, to whose parent the request is
            return
        try:
            size = receive(sock, sock.fileno(), self._buffer)
        except OSError as error:
            logger.info("the connection from %s ended before it was open: %s", arrival.address, error)
            size = 0
        if size == 0:
            self._give_up(arrival)
        elif size > 0:
            self._take(arrival, to_bytes(self._buffer, 0, size))

    def _take(self, arrival: _Arrival, data: bytes) -> None:
        parser = arrival.parser
        try:
            request = parser.feed(data)
        except HandshakeError as error:
            self._leave(arrival)
            self._refused(arrival.sock, arrival.address, error)
            return
        if request is not None:
            self._leave(arrival)
            self._arrived(arrival.sock, arrival.address, request, parser.rest)

    def _give_up(self, arrival: _Arrival) -> None:
        self._leave(arrival)
        arrival.sock.close()

    def _leave(self, arrival: _Arrival) -> None:
        """The descriptor is not watched any more, and may be watched by others, or closed."""
        del self._waiting[arrival]
        if arrival.watcher is not None:
            arrival.watcher.stop()
            arrival.watcher.close()
        if not self._waiting and self._timer is not None:
            self._stop_timer()

    def _start_timer(self, seconds: float) -> None:
        self._timer = self._loop.timer(max(SHORTEST_TIMER, seconds), ref=False)
        self._timer.start(self._expire)

    def _stop_timer(self) -> None:
        self._timer.stop()
        self._timer.close()
        self._timer = None

    def _expire(self) -> None:
        assert self._timeout is not None
        if self._gathering.inherited:
            self.close()
            return
        oldest_allowed = now() - self._timeout
        for arrival in list(self._waiting):
            if arrival.came_at > oldest_allowed:
                break
            self._leave(arrival)
            self._refused(arrival.sock, arrival.address, request_timeout(too_late("the request", self._timeout)))
        if self._waiting:
            self._stop_timer()
            self._start_timer(next(iter(self._waiting)).came_at - oldest_allowed)


class _Arrival:
    """One connection."""

    __slots__ = ("address", "came_at", "parser", "sock", "watcher")

    def __init__(self, sock: Any, address: Any, parser: HeadParser[Request]) -> None:
        self.sock = sock
        self.address = address
        self.parser = parser
        self.watcher: Any = None
        self.came_at = now()
