"""What a program learns of its connections as it happens: for counters, traces, alarms."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .http11 import Request, Response
    from .stats import ConnectionStats
    from .websocket import WebSocket


class Metrics:
    """The base of what a program gives as ``metrics=``. Its methods do nothing; override those of interest.

    None of them is called in the hub, so that they may do what any code may. `opened`, `refused` and `failed` are
    called by the greenlet that opens the connection or runs its handler, which goes on when they return. `closed` and
    `measured` tell of what happened in the hub: one greenlet calls them for all connections, in order, and is there
    only while there is something to tell. An Exception that a method raises is logged, and has no other consequence.
    """

    def opened(self, ws: WebSocket) -> None:
        """A connection is open; on a server before the handler is called."""

    def refused(self, request: Request | None, response: Response) -> None:
        """An opening handshake was refused.

        ``response`` is the answer that a server is about to send, or that a client has received; ``request`` is None
        where a server could not read it.
        """

    def closed(self, ws: WebSocket, stats: ConnectionStats) -> None:
        """A connection has ended; ``stats`` are its last."""

    def measured(self, ws: WebSocket, latency: float) -> None:
        """A ping was answered after so many seconds, be it a heartbeat or the program's own."""

    def failed(self, ws: WebSocket, error: BaseException) -> None:
        """A handler has raised an Exception or a gevent.Timeout; the connection is about to be closed with 1011."""


def checked_metrics(metrics: Metrics | None) -> Metrics | None:
    """A Metrics or None; raises TypeError for anything else."""
    if metrics is not None and not isinstance(metrics, Metrics):
        raise TypeError(f"metrics is made from geventws.Metrics, not {metrics!r}")
    return metrics
