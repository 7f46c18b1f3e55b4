"""How many connections a server has at once: in all, and from one address."""

from __future__ import annotations

from ipaddress import IPv6Address

from .exceptions import HandshakeError
from .http11 import refusal

RETRY_AFTER = 5
"""What the Retry-After header of a refusal says, in seconds."""

_SUBNET = 64


class Place:
    """A connection that is counted, until it leaves; it may leave more than once."""

    __slots__ = ("_key", "_limits")

    def __init__(self, limits: Limits, key: str | int | None) -> None:
        self._limits: Limits | None = limits
        self._key = key

    def leave(self) -> None:
        if self._limits is not None:
            self._limits._leave(self._key)
            self._limits = None


class Limits:
    """Counts connections.

    Args:
        total: how many there may be; None for any number.
        per_address: how many there may be from one address; None for any number.
    """

    def __init__(self, total: int | None, per_address: int | None) -> None:
        self._total = total
        self._per_address = per_address
        self._count = 0
        self._counts: dict[str | int, int] = {}

    def enter(self, address: str | None) -> Place:
        """Count a connection from this address, None for one that has none, before it is known whether it may stay."""
        self._count += 1
        key = None
        if self._per_address is not None and address is not None:
            key = _key(address)
            self._counts[key] = self._counts.get(key, 0) + 1
        return Place(self, key)

    def check(self, address: str | None) -> None:
        """Raise HandshakeError where there are too many, the one that asks being counted already."""
        if self._total is not None and self._count > self._total:
            _refuse(503, f"the server has its {self._total} connections")
        if self._per_address is None or address is None:
            return
        if self._counts.get(_key(address), 0) > self._per_address:
            _refuse(429, f"there are {self._per_address} connections from this address already")

    def _leave(self, key: str | int | None) -> None:
        self._count -= 1
        if key is None:
            return
        left = self._counts[key] - 1
        if left:
            self._counts[key] = left
        else:
            del self._counts[key]


def _key(address: str) -> str | int:
    """What is counted as one: an address of IPv4, or a /64 of IPv6, any address of which its owner may take."""
    return int(IPv6Address(address)) >> (128 - _SUBNET) if ":" in address else address


def _refuse(status: int, text: str) -> None:
    raise HandshakeError(text, refusal(status, text, [("Retry-After", str(RETRY_AFTER))]))
