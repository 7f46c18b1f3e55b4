"""Connections to servers. A host's addresses are tried in turn, without waiting long for any of them (RFC 8305)."""

from __future__ import annotations

import errno
import os
from itertools import chain, zip_longest
from select import POLLOUT
from typing import Any

from gevent import socket
from gevent.select import poll

_STAGGER = 0.25
"""How long an attempt has before the next address is tried beside it, in seconds (RFC 8305 section 5)."""
_IN_PROGRESS = (0, errno.EINPROGRESS)

Address = tuple[Any, ...]


def dial(addresses: list[tuple[int, Address]], source_address: tuple[str, int] | None = None) -> socket.socket:
    """The first connection that comes about to one of these (family, address) pairs; non-blocking.

    Raises OSError, that of the last attempt, when all have failed. Whatever it raises, no socket is left open.
    """
    attempts = poll()
    sockets: dict[int, socket.socket] = {}
    error: OSError = OSError(errno.EADDRNOTAVAIL, "the host has no address")
    waiting = list(addresses)
    try:
        while waiting or sockets:
            if waiting:
                try:
                    sock = _begin(*waiting.pop(0), source_address)
                except OSError as failure:
                    error = failure
                    continue
                sockets[sock.fileno()] = sock
                attempts.register(sock, POLLOUT)
            for descriptor, _ in attempts.poll(_STAGGER * 1000 if waiting else None):
                attempts.unregister(descriptor)
                sock = sockets[descriptor]
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                del sockets[descriptor]
                if not code:
                    return sock
                sock.close()
                error = OSError(code, os.strerror(code))
    finally:
        for sock in sockets.values():
            sock.close()
    raise error


def resolve(host: str, port: int) -> list[tuple[int, Address]]:
    """The (family, address) pairs of a host, the families in turn (RFC 8305 section 4); raises socket.gaierror."""
    found = [(info[0], info[4]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    first = [pair for pair in found if pair[0] == found[0][0]]
    second = [pair for pair in found if pair[0] != found[0][0]]
    return [pair for pair in chain.from_iterable(zip_longest(first, second)) if pair is not None]


def dial_unix(path: str) -> socket.socket:
    """A connection to a unix socket; raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _begin(family: int, address: Address, source_address: tuple[str, int] | None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source_address is not None:
            sock.bind(source_address)
        code = sock.connect_ex(address)
        if code not in _IN_PROGRESS:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock
