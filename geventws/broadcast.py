"""One message to many connections: framed once, compressed once, written to each without waiting for any."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .frames import CloseCode, CloseFrame
from .hubs import HOLD
from .kernels import now
from .messages import PreparedMessage, prepared
from .options import checked_count
from .websocket import WebSocket

if TYPE_CHECKING:
    from .messages import Sendable

logger = logging.getLogger("geventws")

OnSlow = str | Callable[[WebSocket], object]

MAX_QUEUED = 2**20
"""A client for which more than this waits to be written is slow, in bytes."""
LONGEST_DEFLATED = 2**19
"""Longer messages are not compressed unless that is asked for: it would hold the hub, in bytes."""
_TOO_SLOW = CloseFrame(CloseCode.TRY_AGAIN_LATER, "too slow")
_HOLD = HOLD
_CLOSE = "close"
_DROP = "drop"


def broadcast(
    clients: Iterable[WebSocket],
    message: Sendable | PreparedMessage,
    *,
    text: bool | None = None,
    compress: bool | None = None,
    on_slow: OnSlow = "close",
    max_queued: int = MAX_QUEUED,
) -> int:
    """Send a message to many connections, and wait for none of them.

    It is encoded, framed and compressed once for all. On each connection it keeps its place among the messages sent
    before and after, and comes right behind one that is being sent in fragments. Those that are not open are passed
    over. It may be called in the hub; what takes longer than 8 ms the hub writes afterwards, a slice at a time.

    Args:
        clients: WebSockets of the calling thread, in either role. They are gone through as they are now, whatever
            becomes of the set afterwards.
        message: str is sent as text, any buffer as binary; or a PreparedMessage.
        text: True sends UTF-8 bytes as text, False a str as binary.
        compress: True compresses where permessage-deflate was agreed on, False does not. None does from each
            connection's threshold on, up to 512 KiB: what is longer would hold the hub for more than a few
            milliseconds, unless it is a PreparedMessage that was compressed before.
        on_slow: what becomes of a connection for which more than ``max_queued`` bytes wait already. It does not get the
            message in any case. "close": it is closed with 1013, behind what waits, and ended where that takes longer
            than its ``close_timeout``. "drop": nothing else. A function is called with each of them, once all the
            others have been served, by the calling greenlet, and may wait there. What it raises is logged where it
            is an Exception, and leaves otherwise.
        max_queued: in bytes. With 0 a connection for which anything waits is slow.

    Returns for how many connections the message was written or queued.

    Raises:
        TypeError, ValueError, UnicodeError: an argument makes no sense; nothing was sent.
        ConcurrencyError: a connection is another thread's; nothing was sent.
    """
    if on_slow not in (_CLOSE, _DROP) and not callable(on_slow):
        raise ValueError(f'on_slow is "close", "drop" or a function, not {on_slow!r}')
    checked_count("max_queued", max_queued, 0)
    ready = prepared(message, text)
    if compress is None and ready.size > LONGEST_DEFLATED and not ready.was_deflated:
        compress = False
    slow: list[WebSocket] = []
    count = _offer_to_all(_checked(clients), ready, compress, max_queued, slow)
    if on_slow != _DROP:
        for ws in slow:
            _tell(ws, on_slow)
    return count


def _checked(clients: Iterable[WebSocket]) -> list[WebSocket]:
    """The clients as they are now; raises where there is one that cannot be written to from here."""
    if isinstance(clients, WebSocket):
        raise TypeError("clients are several WebSockets, not one")
    websockets = list(clients)
    for client in websockets:
        if not isinstance(client, WebSocket):
            raise TypeError(f"clients are WebSockets, not {client!r}")
        ws = client
        ws._check_thread()
    return websockets


def _offer_to_all(
    websockets: list[WebSocket],
    message: PreparedMessage,
    compress: bool | None,
    max_queued: int,
    slow: list[WebSocket],
) -> int:
    count = 0
    at_once = True
    end = now() + _HOLD
    for ws in websockets:
        taken = ws._offer(message, compress, max_queued, at_once)
        if taken is None:
            continue
        if not taken:
            slow.append(ws)
            continue
        count += 1
        if at_once:
            at_once = now() < end
        else:
            ws._shared.backlog.add(ws._transport)
    return count


def _tell(ws: WebSocket, on_slow: OnSlow) -> None:
    if not callable(on_slow):
        ws.start_close(_TOO_SLOW)
        return
    try:
        on_slow(ws)
    except Exception:
        logger.error("on_slow failed for %s", ws.remote_address, exc_info=True)
