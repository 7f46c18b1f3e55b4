"""The keyword arguments that `connect`, `Upgrader` and `WebSocketServer` have in common, as type checkers see them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypedDict

from .deflate import PerMessageDeflate

if TYPE_CHECKING:
    from .exceptions import HandshakeError
    from .handshake import Origins, SelectSubprotocol
    from .http11 import Request, Response
    from .websocket import WebSocket


class ConnectionOptions(TypedDict, total=False):
    """The fields of `connection.Options`, which has their meaning and their defaults."""

    close_timeout: float | None
    ping_interval: float | None
    ping_timeout: float | None
    max_size: int | None
    max_fragments: int | None
    send_timeout: float | None
    auto_cork: bool
    auto_pong: bool
    validate_utf8: bool
    masking_keys: Callable[[], bytes] | None


class UpgraderOptions(ConnectionOptions, total=False):
    """The arguments of `Upgrader`, which has their meaning and their defaults."""

    path: str | None
    origins: Origins
    subprotocols: Iterable[str]
    select_subprotocol: SelectSubprotocol | None
    compression: bool | PerMessageDeflate
    process_request: Callable[[Request], Response | None] | None
    process_response: Callable[[Request, Response], Response | None] | None
    on_handshake_error: Callable[[HandshakeError, Request | None], Response | None] | None
    track_clients: bool
    max_connections: int | None
    websocket_class: type[WebSocket]
    open_timeout: float | None


def deflate_settings(compression: bool | PerMessageDeflate) -> PerMessageDeflate | None:
    """What a ``compression`` argument stands for; TypeError where it is none."""
    if isinstance(compression, PerMessageDeflate):
        return compression
    if not isinstance(compression, bool):
        raise TypeError(f"compression is True, False or a PerMessageDeflate, not {compression!r}")
    return PerMessageDeflate() if compression else None


def checked_timeout(name: str, seconds: float | None) -> float | None:
    """A timeout in seconds, or None for none; raises ValueError or TypeError."""
    if seconds is None:
        return None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise TypeError(f"{name} is a number of seconds or None, not {seconds!r}")
    if not seconds > 0:
        raise ValueError(f"{name} must be more than 0, not {seconds!r}")
    return seconds
