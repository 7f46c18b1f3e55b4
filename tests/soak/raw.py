"""Clients that cost next to nothing, so that a figure is the server's: sockets, prepared frames, one epoll object.

They believe the server: the handshake's answer is not looked at closely, and each frame has to be whole and unmasked.
"""

from __future__ import annotations

import errno
import select
import socket
import struct

REQUEST = (
    "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n"
)
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""What answers this key (RFC 6455 section 1.3)."""
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
"""What browsers offer."""
RSV1, TEXT, BINARY, CLOSE, PING, PONG = 0x40, 0x1, 0x2, 0x8, 0x9, 0xA
MASK = b"\x37\xfa\x21\x3d"


def frame(first: int, payload: bytes) -> bytes:
    """A client's last frame of a message; ``first`` is the opcode, and perhaps RSV1."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([0x80 | first]) + length + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))


class Connection:
    """A client's socket, and what has come on it and is not a whole frame.

    Attributes:
        number: how many the process had begun before it.
        opened: whether the opening handshake is over.
        left: whether a close frame was sent.
        closing: whether the server is about to close it, as it should.
    """

    __slots__ = ("closing", "data", "left", "number", "opened", "sock")

    def __init__(self, address: tuple[str, int], number: int) -> None:
        self.number = number
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""
        self.opened = self.left = self.closing = False
        code = self.sock.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "connect")

    def take_head(self) -> bytes | None:
        """The answer to the request, once all of it is there."""
        head, end, rest = self.data.partition(b"\r\n\r\n")
        if not end:
            return None
        self.data = rest
        return head

    def take_frame(self) -> tuple[int, bytes] | None:
        """The next whole frame: its first byte without FIN, and the payload."""
        data = self.data
        if len(data) < 2:
            return None
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        if len(data) < start + size:
            return None
        self.data = data[start + size :]
        return data[0] & 0x7F, data[start : start + size]


class Clients:
    """The connections of one process. A subclass says what is done with them, in the methods that are empty here."""

    def __init__(self, address: tuple[str, int], fields: str = "") -> None:
        self.address = address
        self.request = REQUEST.format(fields=fields).encode()
        self.epoll = select.epoll()
        self.connections: dict[int, Connection] = {}
        self.begun = 0

    def began(self, connection: Connection) -> bytes:
        """It is connected; the request that is sent."""
        return self.request

    def opened(self, connection: Connection) -> None:
        """The opening handshake is over."""

    def came(self, connection: Connection, first: int, payload: bytes) -> None:
        """A message has come, or a pong."""

    def closed(self, connection: Connection, code: int) -> None:
        """The first close frame has come; it is answered behind this."""

    def refused(self, connection: Connection, head: bytes) -> None:
        """The answer to the request is not a 101."""

    def ended(self, connection: Connection) -> None:
        """The server has closed the connection, or it has failed."""

    def begin(self) -> None:
        """Open one more connection."""
        connection = Connection(self.address, self.begun)
        self.begun += 1
        self.connections[connection.sock.fileno()] = connection
        self.epoll.register(connection.sock, select.EPOLLOUT)

    def leave(self, connection: Connection, *, reset: bool = False) -> None:
        """Close a connection, in order or with a reset."""
        del self.connections[connection.sock.fileno()]
        if reset:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sock.close()
        connection.data = b""

    def turn(self, timeout: float) -> bool:
        """Wait for what comes, and handle it; whether something came on another descriptor that was registered."""
        other = False
        for descriptor, events in self.epoll.poll(timeout):
            connection = self.connections.get(descriptor)
            if connection is None:
                other = True
            elif events & select.EPOLLOUT and not events & select.EPOLLIN:
                self.epoll.modify(descriptor, select.EPOLLIN)
                self.send(connection, self.began(connection))
            else:
                self.read(connection)
        return other

    def send(self, connection: Connection, data: bytes) -> None:
        """Send something short. A server that does not take it is one that does not read."""
        try:
            if connection.sock.send(data) != len(data):
                raise BlockingIOError(errno.EAGAIN, "the server does not read")
        except ConnectionError:
            pass  # reading tells

    def read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self.ended(connection)
            self.leave(connection)
            return
        connection.data += data
        if not connection.opened and not self.is_open(connection):
            return
        while connection.data and (taken := connection.take_frame()) is not None:
            self.handle(connection, *taken)

    def is_open(self, connection: Connection) -> bool:
        head = connection.take_head()
        if head is None:
            return False
        if not head.startswith(b"HTTP/1.1 101") or ACCEPT not in head:
            self.refused(connection, head)
            return False
        connection.opened = True
        self.opened(connection)
        return True

    def handle(self, connection: Connection, first: int, payload: bytes) -> None:
        if first == PING:
            self.send(connection, frame(PONG, payload))
        elif first == CLOSE:
            if not connection.closing:
                connection.closing = True
                self.closed(connection, int.from_bytes(payload[:2], "big"))
                self.send(connection, frame(CLOSE, payload[:2]))
        else:
            self.came(connection, first, payload)


def share(total: int, processes: int) -> list[int]:
    """So many for each process."""
    return [total // processes + (number < total % processes) for number in range(processes)]
