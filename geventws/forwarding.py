"""Who the client is where reverse proxies stand before a server: what those that are trusted say in a header.

Each proxy adds the address that it has seen at the right end of the header. What stands further left came with the
request, and the client may have made it up; so the header is read from the right, as far as those that are trusted go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from .headers import is_token

if TYPE_CHECKING:
    from .http11 import Request

TrustedProxy = str | IPv4Address | IPv6Address | IPv4Network | IPv6Network
UNIX = "unix"

_TOKEN = r"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_PAIR = rf"{_TOKEN}=(?:{_TOKEN}|\"(?:[^\"\\]|\\.)*\")"
_LAST_ELEMENT = re.compile(rf"(?:^|,)[ \t]*({_PAIR}(?:;{_PAIR})*)[ \t]*$")
_FOR = re.compile(rf"(?:^|;)for=({_TOKEN}|\"(?:[^\"\\]|\\.)*\")", re.IGNORECASE)


class TrustedProxies:
    """Which proxies are trusted, and what they say of a client.

    Args:
        trusted: how many proxies there are, one behind the other, each of them trusted; or a list of their addresses
            and networks, in which "unix" stands for whoever connects to a unix socket.
        header: where they tell the client's address: a list of addresses as in X-Forwarded-For, or "Forwarded", which
            is read as RFC 7239 has it.

    Raises ValueError or TypeError where an argument makes no sense.
    """

    def __init__(self, trusted: int | Iterable[TrustedProxy], header: str = "X-Forwarded-For") -> None:
        self._count = 0
        self._unix = False
        self._networks: list[IPv4Network | IPv6Network] = []
        if isinstance(trusted, int) and not isinstance(trusted, bool):
            if trusted < 1:
                raise ValueError(f"trusted_proxies is at least 1, or None, not {trusted}")
            self._count = trusted
        elif isinstance(trusted, str | bool) or not isinstance(trusted, Iterable):
            raise TypeError(f"trusted_proxies is a number, a list of addresses and networks, or None, not {trusted!r}")
        else:
            self._take_list(trusted)
        if not isinstance(header, str):
            raise TypeError(f"forwarded_header is a header's name, not {header!r}")
        if not is_token(header):
            raise ValueError(f"forwarded_header is a header's name, not {header!r}")
        self._header = header
        self._elements = _forwarded_for if header.lower() == "forwarded" else _listed

    def _take_list(self, trusted: Iterable[TrustedProxy]) -> None:
        for item in trusted:
            if item == UNIX:
                self._unix = True
                continue
            if not isinstance(item, TrustedProxy):
                raise TypeError(f"a trusted proxy is an address or a network, not {item!r}")
            try:
                self._networks.append(ip_network(item))
            except ValueError as error:
                raise ValueError(f"a trusted proxy is an address, a network or {UNIX!r}: {error}") from None
        if not self._unix and not self._networks:
            raise ValueError("trusted_proxies is empty: None trusts nobody")

    def trust_peer(self, address: Any) -> bool:
        """Whether the one at the other end of a socket, who has this address, is trusted."""
        if self._count:
            return True
        if not isinstance(address, tuple):
            return self._unix
        return self._has(ip_address(address[0]))

    def client_address(self, request: Request) -> str | None:
        """The IP address of the client as the trusted proxies tell it.

        None where the other end of the connection is not trusted, where nothing is told, and where what should be an
        address is none.
        """
        header = request.proxy_header
        passed = 0 if header is None or header.source is None else 1  # who sent a PROXY header is trusted
        peer = request.remote_address
        if passed >= self._count if self._count else peer is None or not self.trust_peer(peer):
            return None
        found = None
        for element in self._elements(request.headers.get(self._header) or ""):
            found = _parse_address(element)
            if found is None:
                return None
            passed += 1
            if passed == self._count or (not self._count and not self._has(found)):
                return str(found)
        # All of them are trusted, or there are fewer than there should be.
        return None if found is None or self._count else str(found)

    def _has(self, address: IPv4Address | IPv6Address) -> bool:
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)


def _listed(value: str) -> Iterator[str]:
    """The elements of a list, the last one first."""
    return (element for part in reversed(value.split(",")) if (element := part.strip(" \t")))


def _forwarded_for(value: str) -> Iterator[str]:
    """What RFC 7239 section 5.2 tells, the last one first; an element that has none is empty.

    From the right, so that a quotation mark that a client left open takes in nothing of what was added later.
    """
    while found := _LAST_ELEMENT.search(value):
        value = value[: found.start()]
        node = _FOR.search(found[1])
        yield re.sub(r"\\(.)", r"\1", node[1].strip('"')) if node else ""
    if value.strip(" \t"):
        yield ""


def _parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """An IP address, with a port or without one; None for anything else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if getattr(address, "scope_id", None) is not None:
        return None
    return getattr(address, "ipv4_mapped", None) or address
