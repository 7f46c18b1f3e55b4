"""Pairs of connected gevent sockets over each transport, and ways to spoil them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import gevent
from gevent import socket, ssl

from geventws.testing.peer import half_close, reset, truncate

__all__ = [
    "TRANSPORTS",
    "half_close",
    "read_tickets",
    "reset",
    "set_buffers",
    "tcp_pair",
    "tls_pair",
    "truncate",
    "unix_pair",
]

TRANSPORTS = ("tcp", "tls", "unix")


def tcp_pair(buffers: int | None = None) -> tuple[Any, Any]:
    """A client's and a server's TCP socket; ``buffers`` bytes of kernel memory each way make a narrow link."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with listener:
        if buffers is not None:
            # The windows of a TCP connection are settled by what is set before it is opened. Segments as long as those
            # of the loopback would fill such a window, and the kernel would send them by a timer.
            for sock in (listener, client):
                set_buffers(sock, buffers)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
    for end in (client, server):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, server


def unix_pair(buffers: int | None = None) -> tuple[Any, Any]:
    client, server = socket.socketpair()
    set_buffers(client, buffers)
    set_buffers(server, buffers)
    return client, server


def tls_pair(
    client_context: ssl.SSLContext, server_context: ssl.SSLContext, buffers: int | None = None
) -> tuple[Any, Any]:
    """As `tcp_pair`, with the TLS handshake done."""
    client, server = tcp_pair(buffers)
    accepting = gevent.spawn(server_context.wrap_socket, server, server_side=True)
    secure_client = client_context.wrap_socket(client, server_hostname="localhost")
    return secure_client, accepting.get()


def read_tickets(client: Any) -> None:
    """Take in the session tickets that follow a TLS handshake, before any data comes.

    The kernel resets a connection that is closed with them unread, and later Pythons tell a reset from an end of TLS.
    """
    if isinstance(client, ssl.SSLSocket):
        client.settimeout(0)
        with suppress(ssl.SSLWantReadError):
            client.recv(1)
        client.settimeout(None)


def set_buffers(sock: Any, size: int | None) -> None:
    if size is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
