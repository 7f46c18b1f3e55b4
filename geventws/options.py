"""The keyword arguments that `connect`, `Upgrader` and `WebSocketServer` have in common, and how they are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from .deflate import PerMessageDeflate

if TYPE_CHECKING:
    from .exceptions import HandshakeError
    from .handshake import Origins, SelectSubprotocol
    from .http11 import Request, Response
    from .websocket import WebSocket


@dataclass(frozen=True, kw_only=True)
class Options:
    """The settings of an open connection, the same in both roles; all times are in seconds.

    Attributes:
        close_timeout: how long the closing handshake may take; None for as long as the peer likes.
        ping_interval: after how much silence a ping is sent; None for no heartbeat.
        ping_timeout: how long a pinged peer may stay silent before it is taken for dead; None for ever.
        max_size: the longest message that is received, in bytes after inflating; None for no limit.
        max_fragments: the most fragments a received message may have; None for no limit.
        send_timeout: how long `send` waits for a slow peer before it raises TimeoutError; None for ever.
        auto_cork: whether the answers to messages that came together leave together.
        auto_pong: whether pings are answered by themselves.
        validate_utf8: whether text is checked; where not, bytes that are not UTF-8 come as lone surrogates
            (surrogateescape).
        masking_keys: a function that makes the 4-byte masking keys of a client's frames, for tests; None for random
            keys.
    """

    close_timeout: float | None = 10
    ping_interval: float | None = 20
    ping_timeout: float | None = 20
    max_size: int | None = 2**20
    max_fragments: int | None = 131072
    send_timeout: float | None = None
    auto_cork: bool = True
    auto_pong: bool = True
    validate_utf8: bool = True
    masking_keys: Callable[[], bytes] | None = None

    def __post_init__(self) -> None:
        for name in ("close_timeout", "ping_interval", "ping_timeout", "send_timeout"):
            self._check_number(name, float, 0)
        for name in ("max_size", "max_fragments"):
            self._check_number(name, int, 1)
        for name in ("auto_cork", "auto_pong", "validate_utf8"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} is True or False, not {getattr(self, name)!r}")
        if self.masking_keys is not None and not callable(self.masking_keys):
            raise TypeError("masking_keys is a function or None")

    def _check_number(self, name: str, kind: type[int | float], least: int) -> None:
        value: Any = getattr(self, name)
        if value is None:
            return
        if not isinstance(value, int | kind) or isinstance(value, bool):
            raise TypeError(f"{name} is a number or None, not {value!r}")
        if not value >= least or (name == "ping_interval" and value == 0):
            raise ValueError(f"{name} is too small: {value!r}")


class ConnectionOptions(TypedDict, total=False):
    """The fields of `Options`, for type checkers: it, which has their meaning and their defaults."""

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


def check_wait(name: str, seconds: float | None) -> None:
    """Raise TypeError or ValueError for what is not how long a call may wait: a number of seconds, or None for ever."""
    if seconds is None:
        return
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise TypeError(f"{name} is a number of seconds or None, not {seconds!r}")
    if seconds != seconds:
        raise ValueError(f"{name} is not a number")
