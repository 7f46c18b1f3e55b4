"""One byte stream under the hub: reading when data is there, ordered writing that never waits.

A persistent watcher reads once per readiness into a buffer that all connections of the hub share, and hands the bytes
to the owner at once. What is written goes to the kernel at once; what the kernel does not take is kept, in order, and
drains from the hub. No method waits, so that none can be interrupted half-way: a chunk that was accepted is written
whole and before the next one, or the stream ends.

The socket is gevent's or the standard library's, plain or TLS with its handshake done, TCP or unix.
"""

from __future__ import annotations

import socket as std_socket
from collections.abc import Callable
from contextlib import suppress
from ssl import SSLWantReadError, SSLWantWriteError
from typing import TYPE_CHECKING, Any

from .kernels import Buffer, now, receive, to_bytes, transmit, transmit_many, transmit_part

if TYPE_CHECKING:
    from gevent.hub import Hub

    from .framelog import FrameLog

HIGH_WATER = 65536
"""While more bytes than this wait to be written, senders wait."""
LOW_WATER = 16384
"""Waiting senders go on once no more bytes than this wait to be written."""
CORK_LIMIT = 65536
"""Corked data is written when there is this much of it, in bytes."""
_TLS_CHUNK = 16384
"""What is handed to OpenSSL at once: one record (RFC 8446 section 5.1), of which it sends all or, as far as it tells,
nothing; of a longer chunk it may have sent whole records that are still counted."""
_READ, _WRITE = 1, 2
_LIBUV = "gevent.libuv.loop"
_CORK_LIMIT = CORK_LIMIT
_WOULD_BLOCK = (BlockingIOError, SSLWantReadError, SSLWantWriteError)


def half_close(sock: Any) -> None:
    """End this direction of the stream; raises OSError. Under TLS the peer's own close_notify is not waited for."""
    if hasattr(sock, "unwrap"):
        with suppress(OSError, ValueError):
            sock.unwrap()  # sends close_notify
    sock.shutdown(std_socket.SHUT_WR)


class Owner:
    """What a transport tells its owner. Each call but `write_failed` and `stream_ended` comes from the hub."""

    __slots__ = ()

    def bytes_received(self, data: bytearray, size: int) -> None:
        """So many bytes have come. The buffer may be written to, and is the owner's during the call only."""
        raise NotImplementedError

    def stream_ended(self, error: OSError | None) -> None:
        """Nothing more will be read: the peer closed the stream, or reading failed, or a write was broken off."""
        raise NotImplementedError

    def write_failed(self, error: OSError) -> None:
        """Nothing more can be written."""
        raise NotImplementedError

    def drained(self) -> None:
        """No more than `LOW_WATER` bytes wait to be written."""
        raise NotImplementedError


_NOBODY = Owner()


class Gathering:
    """Where the short frames of a hub's connections are put together, right behind each other.

    Attributes:
        buffer: the bytes.
        size: how many of them wait to be written.
        transport: whose they are; None while there are none.
        inherited: whether this is a forked child, whose connections are its parent's.
    """

    __slots__ = ("buffer", "inherited", "size", "transport")

    def __init__(self) -> None:
        self.buffer = bytearray(CORK_LIMIT + 8192)  # what is gathered is written before it exceeds that
        self.size = 0
        self.transport: Transport | None = None
        self.inherited = False


class Transport:
    """A stream that has an owner.

    Attributes:
        buffered: how many bytes wait to be written.
        corked: while true, what is written waits until `flush`, or until there is `CORK_LIMIT` of it.
        closed: whether the descriptor has been closed.
        reading: whether the hub reads.
        sent: how many bytes the kernel has taken.
        frame_log: what is told of all bytes that are read and written; None for nobody.
    """

    __slots__ = (
        "_blocked",
        "_buffer",
        "_fd",
        "_gathering",
        "_latest",
        "_loop",
        "_owner",
        "_pending",
        "_progress_at",
        "_queue",
        "_raw",
        "_read_watcher",
        "_shutdown",
        "_write_error",
        "_write_watcher",
        "buffered",
        "closed",
        "corked",
        "frame_log",
        "reading",
        "sent",
        "sock",
    )

    def __init__(self, sock: Any, owner: Owner, hub: Hub, buffer: bytearray, gathering: Gathering) -> None:
        sock.settimeout(0)
        self.sock = sock
        self._fd = sock.fileno()
        # The number of decrypted bytes that no watcher sees; None without TLS.
        self._pending: Callable[[], int] | None = getattr(sock, "pending", None)
        # gevent's socket holds the one that does the work, which is faster when nothing has to wait.
        self._raw = sock if self._pending is not None else getattr(sock, "_sock", sock)
        self._owner = owner
        self._buffer = buffer
        self._gathering = gathering
        self._loop = hub.loop
        self._read_watcher: Any = self._loop.io(self._fd, _READ)
        self._write_watcher: Any = None
        self._queue: list[Buffer] = []
        self._latest: bytearray | None = None
        self._write_error: OSError | None = None
        self._blocked = False
        self._progress_at = 0.0
        self._shutdown = False
        self.buffered = 0
        self.corked = False
        self.closed = False
        self.reading = False
        self.sent = 0
        self.frame_log: FrameLog | None = None

    # Reading

    def start_reading(self) -> None:
        if self.reading or self.closed:
            return
        self.reading = True
        self._watch_readable()
        if self._pending is not None and self._pending():
            # Decrypted bytes wait in the TLS object, where no watcher sees them.
            self._loop.run_callback(self._on_readable)

    def _watch_readable(self) -> None:
        if type(self._loop).__module__ == _LIBUV:
            self._read_watcher.start(self._on_event, pass_events=True)
        else:
            self._read_watcher.start(self._on_readable)

    def _on_event(self, events: int) -> None:
        """libuv watches a descriptor no more once there is an error on it, which may stand behind data."""
        self._on_readable()
        if events < 0 and self.reading:
            self._read_watcher.stop()
            self._watch_readable()

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
        if self._gathering.inherited:
            self._leave_to_parent()
            return
        try:
            tls = self._pending is not None
            size = self._receive_tls() if tls else receive(self._raw, self._fd, self._buffer)
        except OSError as error:
            self._owner.stream_ended(error)
            return
        if size > 0:
            if self.frame_log is not None:
                self.frame_log.received(self._buffer, size)
            self._owner.bytes_received(self._buffer, size)
        elif size == 0:
            self._owner.stream_ended(None)

    def _receive_tls(self) -> int:
        """A TLS record holds 16 KiB; take those that are decrypted already, up to a whole buffer."""
        assert self._pending is not None
        size = 0
        try:
            with memoryview(self._buffer) as view:
                size = int(self._raw.recv_into(view))
                while 0 < size < len(view) and self._pending():
                    size += self._raw.recv_into(view[size:])
        except _WOULD_BLOCK:
            return size or -1
        if size and self._pending():
            self._loop.run_callback(self._on_readable)
        return size

    # Writing

    def write(self, chunk: Buffer, second: Buffer | None = None) -> None:
        """Write a chunk, or two, which must not change afterwards. They are dropped when writing has failed before."""
        if self.closed or self._write_error is not None:
            return
        if self.frame_log is not None:
            self.frame_log.sent(chunk, second)
        try:
            if not (self.buffered or self.corked) and second is None and self._pending is None:
                left = self._send_at_once(chunk)
                if left is None:
                    return
                chunk = left
            self._put(chunk)
            if second is not None:
                self._put(second)
            if not self._blocked and (not self.corked or self.buffered >= _CORK_LIMIT):
                self._write_out()
        except BaseException:
            # Thrown in by a signal handler or for want of memory: whether the chunks are counted is not known any more.
            self._fail(None)
            raise

    def _send_at_once(self, chunk: Buffer) -> Buffer | None:
        """One attempt to send a chunk for which nothing waits; what is left of it, None where that is nothing."""
        try:
            sent = transmit(self._raw, self._fd, chunk)
        except OSError as error:
            self._fail(error)
            return None
        if sent > 0:
            self.sent += sent
        if sent == len(chunk):
            return None
        return chunk if sent <= 0 else memoryview(chunk)[sent:]

    def put(self, chunk: Buffer) -> None:
        """Take a chunk, which must not change afterwards, and leave it to `flush` or to the next `write`."""
        if self.closed or self._write_error is not None:
            return
        if self.frame_log is not None:
            self.frame_log.sent(chunk, None)
        try:
            self._put(chunk)
        except BaseException:
            self._fail(None)  # as in `write`
            raise

    def _put(self, chunk: Buffer) -> None:
        if self._gathering.transport is self:
            self._settle(0)
        self._queue.append(chunk)
        self.buffered += len(chunk)

    def reserve(self) -> Gathering | None:
        """Room for a short chunk, of 8 KiB at most, behind `Gathering.size`; None where it must be written by `write`.

        To be followed by `commit` at once, or by nothing.
        """
        gathering = self._gathering
        if self._blocked or self.closed or self._write_error is not None or self.frame_log is not None:
            return None
        if gathering.transport is None:
            gathering.size = 0  # first, so that nobody ever has another one's bytes
            gathering.transport = self
        return gathering if gathering.transport is self else None

    def commit(self, size: int) -> None:
        """Write what the reserved room holds up to ``size``."""
        gathering = self._gathering
        try:
            self.buffered += size - gathering.size
            gathering.size = size
            if not self.corked or self.buffered >= _CORK_LIMIT:
                self._write_out()
        except BaseException:
            self._fail(None)  # as in `write`
            raise

    def _settle(self, sent: int) -> None:
        """Put what was gathered, and not sent, into the queue; the next one may gather."""
        gathering = self._gathering
        gathering.transport = None
        if sent < gathering.size:
            self._queue.append(to_bytes(gathering.buffer, sent, gathering.size))

    def _send_gathered(self) -> None:
        """One attempt to send what was gathered, from where it lies if nothing comes before it."""
        gathering = self._gathering
        sent = 0
        if not self._queue and self._pending is None:
            sent = max(0, transmit_part(self._raw, self._fd, gathering.buffer, gathering.size))
            self.buffered -= sent
            self.sent += sent
        self._settle(sent)

    @property
    def stuck_since(self) -> float | None:
        """When the kernel last took something, as `kernels.now` tells it, where it takes no more; else None."""
        return self._progress_at if self._blocked else None

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
        if self.buffered and not self._blocked:
            self._write_out()

    def shutdown(self) -> None:
        """Half-close the stream as soon as all is written."""
        self._shutdown = True
        self.flush()
        if not self.buffered:
            self._half_close()

    def _on_writable(self) -> None:
        waited = self.buffered
        self._write_out()
        if self.buffered < waited:
            self._progress_at = now()
        if self.buffered <= LOW_WATER and not self.closed:
            self._owner.drained()

    def _write_out(self) -> None:
        """Hand the kernel what it takes now, and let the hub go on when it takes more."""
        if self._gathering.inherited:
            self._leave_to_parent()
            return
        queue = self._queue
        try:
            if self._gathering.transport is self:
                self._send_gathered()
            while queue:
                self._latest = None
                if self._pending is not None:
                    sent = self._send_tls()
                elif len(queue) == 1:
                    sent = transmit(self._raw, self._fd, queue[0])
                else:
                    sent = transmit_many(self._raw, self._fd, queue)
                if sent <= 0:
                    break
                self._written(sent)
        except OSError as error:
            self._fail(error)
            return
        except BaseException:
            # The same as in `write`: how much was sent is not known any more.
            self._fail(None)
            raise
        if bool(queue) is not self._blocked:
            self._watch_writable(not self._blocked)
        if self._shutdown and not queue:
            self._half_close()

    def _send_tls(self) -> int:
        """One attempt under TLS. OpenSSL wants one that failed repeated with the same bytes: then the head stays."""
        queue = self._queue
        if len(queue[0]) > _TLS_CHUNK:
            view = memoryview(queue[0])
            queue[:1] = [view[:_TLS_CHUNK], view[_TLS_CHUNK:]]
        elif not self._blocked and len(queue) > 1:
            count = size = 0
            while count < len(queue) and size + len(queue[count]) <= _TLS_CHUNK:
                size += len(queue[count])
                count += 1
            queue[:count] = [b"".join(queue[:count])]
        try:
            return int(self._raw.send(queue[0]))  # gevent's SSLSocket says 0 where the others raise
        except _WOULD_BLOCK:
            return 0

    def _written(self, sent: int) -> None:
        """So much of the queue's head is gone."""
        queue = self._queue
        self.buffered -= sent
        self.sent += sent
        if not self.buffered:
            queue.clear()
            return
        whole = 0
        while sent >= len(queue[whole]):
            sent -= len(queue[whole])
            whole += 1
        if sent:
            queue[whole] = memoryview(queue[whole])[sent:]
        del queue[:whole]

    def _watch_writable(self, blocked: bool) -> None:
        if self._write_watcher is None:
            self._write_watcher = self._loop.io(self._fd, _WRITE)
        self._blocked = blocked
        if blocked:
            self._progress_at = now()
            self._write_watcher.start(self._on_writable)
        else:
            self._write_watcher.stop()

    def _fail(self, error: OSError | None) -> None:
        """Writing is over. Without an error, what was sent is not known, and the stream ends here."""
        if self.closed:
            return
        self._write_error = error or BrokenPipeError("a write was broken off")
        self._drop()
        if self._blocked:
            self._watch_writable(False)
        owner = self._owner
        if error is None:
            self.close()
            owner.stream_ended(None)
        else:
            owner.write_failed(error)

    def _drop(self) -> None:
        if self._gathering.transport is self:
            self._gathering.transport = None
        self._queue.clear()
        self._latest = None
        self.buffered = 0

    def _half_close(self) -> None:
        self._shutdown = False
        if not self.closed and self._write_error is None and not self._gathering.inherited:
            with suppress(OSError):  # the peer was faster
                half_close(self.sock)

    def _leave_to_parent(self) -> None:
        """In a forked child: close its copy of the descriptor, which the stream outlives."""
        owner = self._owner
        self.close()
        owner.stream_ended(None)

    def close(self) -> None:
        """Close the descriptor now; what waits to be written is lost."""
        if self.closed:
            return
        self.closed = True
        self.reading = False
        self._drop()
        for watcher in (self._read_watcher, self._write_watcher):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._read_watcher = self._write_watcher = None
        self._owner = _NOBODY  # which frees both as soon as nobody uses them
        self.sock.close()
