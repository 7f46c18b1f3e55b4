"""What has gone over a connection, or over all connections of a server, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from operator import add
from typing import TYPE_CHECKING, cast

from .kernels import now

if TYPE_CHECKING:
    from .websocket import WebSocket

Counts = tuple[int, int, int, int, int, int, int, int, int, int]
"""The fields of `Traffic`, in their order."""


@dataclass(frozen=True)
class Traffic:
    """Messages and bytes.

    Attributes:
        messages_received, messages_sent: whole messages.
        payload_received, payload_sent: the bytes of these messages, uncompressed, text in UTF-8.
        wire_received, wire_sent: all bytes behind the opening handshake, with frame headers, pings and close frames;
            of those to be sent, what the kernel has taken. What TLS and TCP add is not in it.
        inflated_from, inflated_to: the bytes of the compressed ones among the received messages, before and after.
        deflated_from, deflated_to: the bytes that were compressed for sending, before and after.
    """

    messages_received: int
    messages_sent: int
    payload_received: int
    payload_sent: int
    wire_received: int
    wire_sent: int
    inflated_from: int
    inflated_to: int
    deflated_from: int
    deflated_to: int

    @property
    def compression_received(self) -> float | None:
        """How many times longer the compressed messages that were received are uncompressed; None without any."""
        return self.inflated_to / self.inflated_from if self.inflated_from else None

    @property
    def compression_sent(self) -> float | None:
        """The same for those that were sent."""
        return self.deflated_from / self.deflated_to if self.deflated_to else None


@dataclass(frozen=True)
class ConnectionStats(Traffic):
    """The numbers of one connection, from `WebSocket.stats`.

    Attributes:
        age: how long it has been open, or was, in seconds.
        buffered_amount: how many bytes were sent and not yet taken by the kernel.
        waiting: how many messages have been received that nobody has taken.
        latency: how long the last answered ping took, in seconds; None before the first.
        close_code: with which code the connection ended: that of the close frame with which one side closed it or
            failed it; 1006 where it broke off. None before the end.
        closed_by: which side that was, "client" or "server"; None where it broke off, and before the end.
    """

    age: float
    buffered_amount: int
    waiting: int
    latency: float | None
    close_code: int | None
    closed_by: str | None


@dataclass(frozen=True)
class ServerStats(Traffic):
    """The numbers of all connections of a server, from its ``stats``; those that have ended are in the sums.

    Attributes:
        age: how long ago the server was made, in seconds.
        open: how many connections there are.
        opened: how many there have been, the open ones included.
        refused: how often an opening handshake was refused, by the status of the answer.
        close_codes: how many connections have ended, by ``ConnectionStats.close_code``.
        buffered_amount: how many bytes were sent and not yet taken by the kernel, in all open connections.
        waiting: how many messages have been received that nobody has taken, in all open connections.
    """

    age: float
    open: int
    opened: int
    refused: Mapping[int, int]
    close_codes: Mapping[int, int]
    buffered_amount: int
    waiting: int


class Totals:
    """What a server counts: the connections that have ended, and the handshakes that were refused."""

    def __init__(self) -> None:
        self._began = now()
        self._open = 0
        self._sums: Counts = (0,) * 10
        self._close_codes: Counter[int] = Counter()
        self._refused: Counter[int] = Counter()

    def refuse(self, status: int) -> None:
        self._refused[status] += 1

    def begin(self) -> None:
        """A connection is open."""
        self._open += 1

    def end(self, ws: WebSocket) -> None:
        """A connection has ended."""
        self._open -= 1
        self._sums = _sum(self._sums, ws._counts())
        code, _ = ws._ending()
        assert code is not None
        self._close_codes[code] += 1

    def stats(self, clients: list[WebSocket]) -> ServerStats:
        """All of it, with what the open connections have done so far."""
        sums = self._sums
        for ws in clients:
            sums = _sum(sums, ws._counts())
        return ServerStats(
            *sums,
            age=now() - self._began,
            open=self._open,
            opened=self._open + self._close_codes.total(),
            refused=dict(self._refused),
            close_codes=dict(self._close_codes),
            buffered_amount=sum(ws.buffered_amount for ws in clients),
            waiting=sum(ws._waiting() for ws in clients),
        )


def _sum(one: Counts, other: Counts) -> Counts:
    return cast(Counts, tuple(map(add, one, other)))
