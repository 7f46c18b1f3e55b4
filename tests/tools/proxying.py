"""Proxies played by functions: listeners on free ports, both sides' dialogues spoken by hand, relays that remember."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent
from gevent import socket

from .links import half_close

Play = Callable[[Any], object]

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
GRANTED_4 = b"\x00\x5a" + bytes(6)
GRANTED_5 = b"\x05\x00\x00\x01" + bytes(6)


class Listener:
    """Plays each connection to a free port of the loopback with a function, which gets the socket.

    Attributes:
        port: the port.
        count: how many connections there have been.
    """

    def __init__(self, play: Play, host: str = "127.0.0.1", context: Any = None) -> None:
        self.count = 0
        self._play = play
        self._context = context
        self._listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        self._listener.bind((host, 0))
        self._listener.listen()
        self.port = int(self._listener.getsockname()[1])
        self._sockets = [self._listener]
        self._greenlets = [gevent.spawn(self._accept)]

    def stop(self) -> None:
        gevent.killall(self._greenlets)
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.count += 1
            self._sockets.append(sock)
            self._greenlets.append(gevent.spawn(self._serve, sock))

    def _serve(self, sock: Any) -> None:
        with suppress(OSError, EOFError):
            try:
                if self._context is not None:
                    sock = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                    self._sockets.append(sock)
                    sock.do_handshake()
                self._play(sock)
            finally:
                sock.close()


def read_exactly(sock: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise EOFError("the stream has ended")
        data += piece
    return data


def read_until(sock: Any, end: bytes) -> bytes:
    """Up to and with these bytes, and nothing behind them."""
    data = b""
    while not data.endswith(end):
        data += read_exactly(sock, 1)
    return data


def read_request(sock: Any) -> bytes:
    """The head of an HTTP request."""
    return read_until(sock, b"\r\n\r\n")


def target_of(request: bytes) -> tuple[str, int]:
    """Where a CONNECT request leads."""
    host, _, port = request.split(b" ")[1].decode().rpartition(":")
    return host.strip("[]"), int(port)


def read_socks4(sock: Any) -> tuple[bytes, str, int]:
    """The user, the host and the port of a SOCKS4 or SOCKS4a request."""
    version, command, port, address = struct.unpack(">BBH4s", read_exactly(sock, 8))
    assert (version, command) == (4, 1)
    user = read_until(sock, b"\0")[:-1]
    if address[:3] == bytes(3) and address[3]:
        return user, read_until(sock, b"\0")[:-1].decode(), port
    return user, socket.inet_ntop(socket.AF_INET, address), port


def read_socks5_methods(sock: Any) -> bytes:
    """The methods that a SOCKS5 client offers."""
    version, count = read_exactly(sock, 2)
    assert version == 5
    return read_exactly(sock, count)


def read_socks5_credentials(sock: Any) -> tuple[bytes, bytes]:
    assert read_exactly(sock, 1) == b"\x01"
    user = read_exactly(sock, read_exactly(sock, 1)[0])
    return user, read_exactly(sock, read_exactly(sock, 1)[0])


def read_socks5_request(sock: Any) -> tuple[str, int]:
    assert read_exactly(sock, 3) == b"\x05\x01\x00"
    kind = read_exactly(sock, 1)
    if kind == b"\x03":
        host = read_exactly(sock, read_exactly(sock, 1)[0]).decode()
    elif kind == b"\x01":
        host = socket.inet_ntop(socket.AF_INET, read_exactly(sock, 4))
    else:
        assert kind == b"\x04"
        host = socket.inet_ntop(socket.AF_INET6, read_exactly(sock, 16))
    return host, struct.unpack(">H", read_exactly(sock, 2))[0]


def relay(sock: Any, host: str, port: int, seen: bytearray | None = None) -> None:
    """Be the tunnel to a host until both sides have ended; ``seen`` gets all that passes, in either direction."""
    with socket.create_connection((host, port), timeout=5) as other:
        other.settimeout(None)
        other.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        there = gevent.spawn(_copy, sock, other, seen)
        try:
            _copy(other, sock, seen)
            there.join()
        finally:
            there.kill()


def _copy(source: Any, sink: Any, seen: bytearray | None) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            if seen is not None:
                seen += data
            sink.sendall(data)
        half_close(sink)


def tunnel_http(sock: Any, seen: bytearray | None = None) -> None:
    """An HTTP proxy that lets everybody through."""
    host, port = target_of(read_request(sock))
    sock.sendall(ESTABLISHED)
    relay(sock, host, port, seen)


def tunnel_socks4(sock: Any, seen: bytearray | None = None) -> None:
    """A SOCKS4 and SOCKS4a proxy that lets everybody through."""
    _, host, port = read_socks4(sock)
    sock.sendall(GRANTED_4)
    relay(sock, host, port, seen)


def tunnel_socks5(sock: Any, seen: bytearray | None = None) -> None:
    """A SOCKS5 proxy that lets everybody through, and takes whatever user name and password are offered."""
    if b"\x02" in read_socks5_methods(sock):
        sock.sendall(b"\x05\x02")
        read_socks5_credentials(sock)
        sock.sendall(b"\x01\x00")
    else:
        sock.sendall(b"\x05\x00")
    host, port = read_socks5_request(sock)
    sock.sendall(GRANTED_5)
    relay(sock, host, port, seen)
