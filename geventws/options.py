"""The keyword arguments that `connect`, `Upgrader` and `WebSocketServer` have in common, and how they are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, TypeVar

from .deflate import PerMessageDeflate
from .metrics import Metrics, checked_metrics

if TYPE_CHECKING:
    from .exceptions import HandshakeError
    from .forwarding import TrustedProxy
    from .handshake import Origins, SelectSubprotocol
    from .http11 import Request, Response
    from .websocket import WebSocket

Class = TypeVar("Class")
Function = TypeVar("Function", bound=Callable[..., object] | None)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The settings of an open connection, the same in both roles; all times are in seconds.

    Attributes:
        close_timeout: how long the closing handshake may take; None for as long as the peer likes.
        ping_interval: after how much silence a ping is sent; None for no heartbeat.
        ping_timeout: how long a pinged peer may stay silent before it is taken for dead; None for ever.
        max_size: the longest message that is received, in bytes after inflating; None for no limit.
        max_fragments: the most fragments a received message may have; None for no limit.
        max_fragment_size: the longest payload of one received frame, in bytes as they come over the wire; None for no
            limit but max_size.
        send_timeout: how long `send` waits for a slow peer before it raises TimeoutError; None for ever.
        auto_cork: whether the answers to messages that came together leave together.
        auto_pong: whether pings are answered by themselves.
        validate_utf8: whether text is checked; where not, bytes that are not UTF-8 come as lone surrogates
            (surrogateescape).
        metrics: what is called when the connection opens, ends, and so on; a `metrics.Metrics`.
        masking_keys: a function that makes the 4-byte masking keys of a client's frames, for tests; None for random
            keys.
    """

    close_timeout: float | None = 10
    ping_interval: float | None = 20
    ping_timeout: float | None = 20
    max_size: int | None = 2**20
    max_fragments: int | None = 131072
    max_fragment_size: int | None = None
    send_timeout: float | None = None
    auto_cork: bool = True
    auto_pong: bool = True
    validate_utf8: bool = True
    metrics: Metrics | None = None
    masking_keys: Callable[[], bytes] | None = None

    def __post_init__(self) -> None:
        for name in ("close_timeout", "ping_timeout", "send_timeout"):
            checked_timeout(name, getattr(self, name), zero=True)
        checked_timeout("ping_interval", self.ping_interval)
        for name in ("max_size", "max_fragments", "max_fragment_size"):
            if getattr(self, name) is not None:
                checked_count(name, getattr(self, name), 1)
        for name in ("auto_cork", "auto_pong", "validate_utf8"):
            checked_switch(name, getattr(self, name))
        checked_metrics(self.metrics)
        checked_function("masking_keys", self.masking_keys)


class ConnectionOptions(TypedDict, total=False):
    """What client and server take of `Options`, for type checkers: it has their meaning and their defaults."""

    close_timeout: float | None
    ping_interval: float | None
    ping_timeout: float | None
    max_size: int | None
    max_fragments: int | None
    max_fragment_size: int | None
    send_timeout: float | None
    auto_cork: bool
    auto_pong: bool
    validate_utf8: bool
    metrics: Metrics | None


class UpgradeOptions(ConnectionOptions, total=False):
    """The arguments of `Upgrader` that are about one connection; it has their meaning and their defaults."""

    path: str | None
    origins: Origins
    subprotocols: Iterable[str]
    select_subprotocol: SelectSubprotocol | None
    compression: bool | PerMessageDeflate
    process_request: Callable[[Request], Response | None] | None
    process_response: Callable[[Request, Response], Response | None] | None
    on_handshake_error: Callable[[HandshakeError, Request | None], Response | None] | None
    trusted_proxies: int | Iterable[TrustedProxy] | None
    forwarded_header: str
    websocket_class: type[WebSocket]
    open_timeout: float | None
    masking_keys: None


class UpgraderOptions(UpgradeOptions, total=False):
    """All arguments of `Upgrader`."""

    track_clients: bool
    max_connections: int | None
    max_connections_per_address: int | None


def connection_options(
    caller: str, options: ConnectionOptions, masking_keys: Callable[[], bytes] | None = None
) -> Options:
    """The options from the further keyword arguments of ``caller``; raises ValueError or TypeError."""
    for name in options:
        if name not in ConnectionOptions.__annotations__:
            raise TypeError(f"{caller}() got an unexpected keyword argument {name!r}")
    return Options(masking_keys=masking_keys, **options)


def deflate_settings(compression: bool | PerMessageDeflate) -> PerMessageDeflate | None:
    """What a ``compression`` argument stands for; TypeError where it is none."""
    if isinstance(compression, PerMessageDeflate):
        return compression
    if not isinstance(compression, bool):
        raise TypeError(f"compression is True, False or a PerMessageDeflate, not {compression!r}")
    return PerMessageDeflate() if compression else None


def checked_timeout(name: str, seconds: float | None, *, zero: bool = False) -> float | None:
    """A timeout in seconds, also of 0 where ``zero``, or None for none; raises ValueError or TypeError."""
    check_wait(name, seconds)
    if seconds is not None and (seconds < 0 or (seconds == 0 and not zero)):
        raise ValueError(f"{name} must be {'at least' if zero else 'more than'} 0, not {seconds!r}")
    return seconds


def check_wait(name: str, seconds: float | None) -> None:
    """Raise TypeError or ValueError for what is not how long a call may wait: a number of seconds, or None for ever."""
    if seconds is None:
        return
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise TypeError(f"{name} is a number of seconds or None, not {seconds!r}")
    if seconds != seconds:
        raise ValueError(f"{name} is not a number")


def checked_count(name: str, count: int, least: int) -> int:
    """A whole number; raises TypeError where it is none, ValueError where it is less than ``least``."""
    if not isinstance(count, int) or isinstance(count, bool):
        raise TypeError(f"{name} is a whole number, not {count!r}")
    if count < least:
        raise ValueError(f"{name} is at least {least}, not {count}")
    return count


def checked_switch(name: str, switch: bool) -> bool:
    """True or False; raises TypeError for anything else."""
    if not isinstance(switch, bool):
        raise TypeError(f"{name} is True or False, not {switch!r}")
    return switch


def checked_function(name: str, function: Function) -> Function:
    """A function or None; raises TypeError for anything else."""
    if function is not None and not callable(function):
        raise TypeError(f"{name} is a function or None, not {function!r}")
    return function


def checked_class(name: str, given: type[Class], base: type[Class]) -> type[Class]:
    """A class that is ``base`` or made from it; raises TypeError for anything else."""
    if not isinstance(given, type) or not issubclass(given, base):
        raise TypeError(f"{name} is a subclass of {base.__name__}, not {given!r}")
    return given
