"""One byte stream under the hub: reading when data is there, ordered writing that never waits.

A persistent watcher reads once per readiness into a buffer that all connections of the hub share, and hands the bytes to the
owner at once. What is written goes to the kernel at once; what the kernel does not take is kept, in order, and drains from
the hub. No method waits, so that none can be interrupted half-way: a chunk that was accepted is written whole and before the
next one, or the stream ends.

The socket is gevent's or the standard library's, plain or TLS with its handshake done, TCP or unix.
"""

from __future__ import annotations

import socket as std_socket
from collections import deque
from itertools import islice
from ssl import SSLWantReadError, SSLWantWriteError
from typing import TYPE_CHECKING, Any, Protocol

from .frames import Buffer

if TYPE_CHECKING:
    from gevent.hub import Hub

HIGH_WATER = 65536
"""While more bytes than this wait to be written, senders wait."""
LOW_WATER = 16384
"""Waiting senders go on once no more bytes than this wait to be written."""
CORK_LIMIT = 65536
"""Corked data is written when there is this much of it, in bytes."""
_TLS_CHUNK = 65536
_MAX_IOVECS = 64
_READ, _WRITE = 1, 2
_WOULD_BLOCK = (BlockingIOError, SSLWantReadError, SSLWantWriteError)


class Owner(Protocol):
    """What a transport tells its owner. Each call but `write_failed` and `stream_ended` comes from the hub."""

    def bytes_received(self, data: bytearray, size: int) -> None:
        """So many bytes have come. The buffer may be written to, and is the owner's during the call only."""

    def stream_ended(self, error: OSError | None) -> None:
        """Nothing more will be read: the peer closed the stream, or reading failed, or a write was broken off."""

    def write_failed(self, error: OSError) -> None:
        """Nothing more can be written."""

    def drained(self) -> None:
        """No more than `LOW_WATER` bytes wait to be written."""


class Transport:
    """A stream that has an owner.

    Attributes:
        buffered: how many bytes wait to be written.
        corked: while true, what is written waits until `flush`, or until there is `CORK_LIMIT` of it.
        closed: whether the descriptor has been closed.
        reading: whether the hub reads.
    """

    __slots__ = (
        "_blocked",
        "_buffer",
        "_latest",
        "_loop",
        "_owner",
        "_pending",
        "_queue",
        "_read_watcher",
        "_recv_into",
        "_send",
        "_sendmsg",
        "_shutdown",
        "_write_error",
        "_write_watcher",
        "buffered",
        "closed",
        "corked",
        "reading",
        "sock",
    )

    def __init__(self, sock: Any, owner: Owner, hub: Hub, buffer: bytearray) -> None:
        sock.settimeout(0)
        if hasattr(sock, "pending"):  # TLS
            raw = sock
            self._pending = sock.pending
            self._sendmsg = None
        else:
            # gevent's socket holds the one that does the work, which is faster when nothing has to wait.
            raw = getattr(sock, "_sock", sock)
            self._pending = None
            self._sendmsg = raw.sendmsg
        self._recv_into = raw.recv_into
        self._send = raw.send
        self.sock = sock
        self._owner = owner
        self._buffer = buffer
        self._loop = hub.loop
        self._read_watcher: Any = self._loop.io(sock.fileno(), _READ)
        self._write_watcher: Any = None
        self._queue: deque[Buffer] = deque()
        self._latest: bytearray | None = None
        self._write_error: OSError | None = None
        self._blocked = False
        self._shutdown = False
        self.buffered = 0
        self.corked = False
        self.closed = False
        self.reading = False

    # Reading

    def start_reading(self) -> None:
        if self.reading or self.closed:
            return
        self.reading = True
        self._read_watcher.start(self._on_readable)
        if self._pending is not None and self._pending():
            # Decrypted bytes wait in the TLS object, where no watcher sees them.
            self._loop.run_callback(self._on_readable)

    def stop_reading(self) -> None:
        if self.reading:
            self.reading = False
            self._read_watcher.stop()

    def poll(self) -> None:
        """Read what is there now, without the hub; for a caller that does not want to wait."""
        if self.reading:
            self._on_readable()

    def _on_readable(self) -> None:
        if not self.reading:
            return
        try:
            size = self._recv_into(self._buffer)
            if self._pending is not None:
                size = self._read_pending(size)
        except _WOULD_BLOCK:
            return
        except OSError as error:
            self._owner.stream_ended(error)
            return
        if size:
            self._owner.bytes_received(self._buffer, size)
        else:
            self._owner.stream_ended(None)

    def _read_pending(self, size: int) -> int:
        """A TLS record holds 16 KiB; take those that are decrypted already, up to a whole buffer."""
        assert self._pending is not None
        with memoryview(self._buffer) as view:
            while 0 < size < len(view) and self._pending():
                size += self._recv_into(view[size:])
        if size and self._pending():
            self._loop.run_callback(self._on_readable)
        return size

    # Writing

    def write(self, *chunks: Buffer) -> None:
        """Write the chunks, in order; they must not change afterwards. Dropped when writing has failed before."""
        if self.closed or self._write_error is not None:
            return
        for chunk in chunks:
            self._queue.append(chunk)
            self.buffered += len(chunk)
        if not self._blocked and (not self.corked or self.buffered >= CORK_LIMIT):
            self._write_out()

    def write_latest(self, chunk: bytes) -> None:
        """Write a chunk that takes the place of the last one written so, if that still waits as a whole."""
        if self._latest is not None:
            self.buffered += len(chunk) - len(self._latest)
            self._latest[:] = chunk
            return
        latest = bytearray(chunk)
        if self._blocked or self.corked:
            self._latest = latest
        self.write(latest)

    def flush(self) -> None:
        """Write what was corked."""
        if self._queue and not self._blocked:
            self._write_out()

    def shutdown(self) -> None:
        """Half-close the stream as soon as all is written."""
        self._shutdown = True
        self.flush()
        if not self._queue:
            self._half_close()

    def _on_writable(self) -> None:
        self._write_out()
        if self.buffered <= LOW_WATER and not self.closed:
            self._owner.drained()

    def _write_out(self) -> None:
        """Hand the kernel what it takes now, and let the hub go on when it takes more."""
        queue = self._queue
        try:
            while queue:
                if self._sendmsg is None:
                    wanted, sent = self._send_tls()
                elif len(queue) == 1:
                    wanted = len(queue[0])
                    self._latest = None
                    sent = self._send(queue[0])
                else:
                    batch = list(islice(queue, _MAX_IOVECS))
                    wanted = sum(map(len, batch))
                    self._latest = None
                    sent = self._sendmsg(batch)
                self._written(sent)
                if sent < wanted:
                    break
        except _WOULD_BLOCK:
            pass
        except OSError as error:
            self._fail(error)
            return
        except BaseException:
            # Thrown in by a signal handler or for want of memory: how much was sent is not known any more.
            self._fail(None)
            raise
        self._watch_writable(bool(queue))
        if self._shutdown and not queue:
            self._half_close()

    def _send_tls(self) -> tuple[int, int]:
        """One attempt under TLS. OpenSSL wants an attempt that failed repeated with the same bytes: they stay the head."""
        queue = self._queue
        head = queue[0]
        self._latest = None
        if len(head) > _TLS_CHUNK:
            view = memoryview(queue.popleft())
            queue.appendleft(view[_TLS_CHUNK:])
            queue.appendleft(view[:_TLS_CHUNK])
        elif not self._blocked and len(queue) > 1:
            parts = []
            size = 0
            while queue and size + len(queue[0]) <= _TLS_CHUNK:
                size += len(queue[0])
                parts.append(queue.popleft())
            queue.appendleft(b"".join(parts))
        wanted = len(queue[0])
        # gevent's SSLSocket says 0 where the standard library's raises.
        sent = self._send(queue[0])
        return wanted, sent

    def _written(self, sent: int) -> None:
        queue = self._queue
        self.buffered -= sent
        while sent:
            head = queue[0]
            if len(head) > sent:
                queue[0] = memoryview(head)[sent:]
                return
            sent -= len(head)
            queue.popleft()

    def _watch_writable(self, blocked: bool) -> None:
        if blocked is self._blocked:
            return
        self._blocked = blocked
        if not blocked:
            self._write_watcher.stop()
            return
        if self._write_watcher is None:
            self._write_watcher = self._loop.io(self.sock.fileno(), _WRITE)
        self._write_watcher.start(self._on_writable)

    def _fail(self, error: OSError | None) -> None:
        """Writing is over. Without an error, what was sent is not known, and the stream ends here."""
        self._write_error = error or BrokenPipeError("a write was broken off")
        self._queue.clear()
        self._latest = None
        self.buffered = 0
        self._watch_writable(False)
        if error is None:
            self.close()
            self._owner.stream_ended(None)
        else:
            self._owner.write_failed(error)

    def _half_close(self) -> None:
        self._shutdown = False
        if self.closed or self._write_error is not None:
            return
        try:
            if self._pending is not None:
                try:
                    self.sock.unwrap()  # sends close_notify
                except (OSError, ValueError):
                    pass  # ... and would wait for the peer's, which nobody needs
            self.sock.shutdown(std_socket.SHUT_WR)
        except OSError:
            pass  # the peer was faster

    def close(self) -> None:
        """Close the descriptor now; what waits to be written is lost."""
        if self.closed:
            return
        self.closed = True
        self.reading = False
        self._queue.clear()
        self._latest = None
        self.buffered = 0
        for watcher in (self._read_watcher, self._write_watcher):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._read_watcher = self._write_watcher = None
        self.sock.close()
