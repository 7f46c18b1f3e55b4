"""What the log and the program's `Metrics` are told of a connection, never from within the hub."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent

from .headers import SECRET

if TYPE_CHECKING:
    from .http11 import Request, Response
    from .metrics import Metrics
    from .websocket import WebSocket

logger = logging.getLogger("geventws")
handshakes = logging.getLogger("geventws.handshake")


class Reports:
    """What happened in the hub, and is told by a greenlet, in order. It is there only while there is something to tell.

    Attributes:
        waiting: how much has not been told yet.
    """

    def __init__(self) -> None:
        self.waiting: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._telling = False

    def add(self, tell: Callable[..., object], *arguments: Any) -> None:
        """Let ``tell(*arguments)`` be called, which raises no Exception."""
        self.waiting.append((tell, arguments))
        if not self._telling:
            self._telling = True
            gevent.spawn_raw(self._tell)

    def _tell(self) -> None:
        try:
            while self.waiting:
                tell, arguments = self.waiting.popleft()
                tell(*arguments)
        finally:
            self._telling = False


def report_opened(ws: WebSocket) -> None:
    """A connection is open. It is ended where the program interrupts its own report."""
    if logger.isEnabledFor(logging.INFO):
        terms = [f"subprotocol {ws.subprotocol}"] if ws.subprotocol else []
        terms += [ws.extensions] if ws.extensions else []
        logger.info("opened %s", ", ".join([_name(ws), *terms]))
    metrics = ws._options.metrics
    if metrics is not None:
        try:
            call(metrics.opened, ws)
        except BaseException:
            ws.terminate()
            raise


def report_refused(metrics: Metrics | None, request: Request | None, response: Response) -> None:
    """An opening handshake was refused."""
    if metrics is not None:
        call(metrics.refused, request, response)


def report_failed(ws: WebSocket, error: BaseException) -> None:
    """A handler has raised."""
    logger.error("the handler failed for %s", ws.remote_address, exc_info=error)
    metrics = ws._options.metrics
    if metrics is not None:
        call(metrics.failed, ws, error)


def wants_end(metrics: Metrics | None) -> bool:
    """Whether anybody wants to know of a connection's end."""
    return metrics is not None or logger.isEnabledFor(logging.INFO)


def report_closed(ws: WebSocket) -> None:
    """A connection has ended."""
    stats = ws.stats()
    if logger.isEnabledFor(logging.INFO):
        end = f"was closed by the {stats.closed_by}" if stats.closed_by else "broke off"
        text = "%s %s after %.3f s: %s (received %d messages, %d bytes; sent %d messages, %d bytes)"
        numbers = (stats.messages_received, stats.wire_received, stats.messages_sent, stats.wire_sent)
        logger.info(text, _name(ws), end, stats.age, ws._closed_error(), *numbers)
    metrics = ws._options.metrics
    if metrics is not None:
        call(metrics.closed, ws, stats)


def call(method: Callable[..., object], *arguments: Any) -> None:
    """Call a method of the program's Metrics; what it raises is logged."""
    try:
        method(*arguments)
    except Exception:
        logger.error("metrics.%s failed", getattr(method, "__name__", "method"), exc_info=True)


def show_head(mark: str, first_line: str, headers: Any) -> None:
    """Log a head at DEBUG, without what is nobody's business."""
    handshakes.debug("%s %s", mark, first_line)
    for name, value in headers.items():
        handshakes.debug("%s %s: %s", mark, name, "[not shown]" if name.lower() in SECRET else value)


def show_request(mark: str, request: Request) -> None:
    if handshakes.isEnabledFor(logging.DEBUG):
        query = "?[not shown]" if request.query else ""
        show_head(mark, f"{request.method} {request.path}{query} {request.version}", request.headers)


def show_response(mark: str, response: Response) -> None:
    if handshakes.isEnabledFor(logging.DEBUG):
        show_head(mark, f"HTTP/1.1 {response.status} {response.reason}", response.headers)


def _name(ws: WebSocket) -> str:
    """A connection in one line: without the query, which may be a secret."""
    if ws.url:
        return f"the connection to {ws.url.partition('?')[0]}"
    return f"the connection of {ws.remote_address or 'a client'} to {ws.request.path}"
