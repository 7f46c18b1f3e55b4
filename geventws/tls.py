"""TLS on a connected stream, in either role, with an SSLContext of gevent's or of the standard library's."""

from __future__ import annotations

import _socket
import os
from functools import cache
from ssl import (
    PROTOCOL_TLS_CLIENT,
    PROTOCOL_TLS_SERVER,
    MemoryBIO,
    SSLContext,
    SSLEOFError,
    SSLError,
    SSLWantReadError,
    SSLWantWriteError,
    SSLZeroReturnError,
    create_default_context,
)
from typing import Any

import gevent.socket
import gevent.ssl
from gevent.socket import wait_read, wait_write

from .frames import Buffer

Path = str | os.PathLike[str]

_CHUNK = 65536


def checked_context(context: SSLContext | None, *, server_side: bool = False) -> SSLContext | None:
    """The caller's context; raises TypeError where it is none, ValueError where it is for the other role.

    One that was made before the process was monkey-patched is of another class than all later ones, and as good.
    """
    if context is None:
        return None
    if not hasattr(context, "wrap_bio"):
        raise TypeError(f"ssl_context is an SSLContext, not {context!r}")
    if server_side and (context.protocol == PROTOCOL_TLS_CLIENT or context.check_hostname):
        raise ValueError("ssl_context is a client's; a server's is made with PROTOCOL_TLS_SERVER")
    if not server_side and context.protocol == PROTOCOL_TLS_SERVER:
        raise ValueError("ssl_context is a server's; a client's is made with create_default_context()")
    return context


@cache
def default_context() -> SSLContext:
    """A client's context that trusts what the system trusts; made once, which takes some 10 ms."""
    return create_default_context()


def server_name(host: str) -> str:
    """The name to tell the server and to expect in its certificate (RFC 6066 section 3: without a dot at the end)."""
    return host.partition("%")[0].removesuffix(".")


def load_certificate(context: SSLContext, certfile: Path, keyfile: Path | None) -> None:
    """Load a certificate chain and its private key, which may be in the same file.

    Raises OSError (ssl.SSLError is one), which says what is wrong with which file.
    """
    keyfile = certfile if keyfile is None else keyfile
    try:
        context.load_cert_chain(certfile, keyfile)
    except OSError as error:
        for path, what in ((certfile, "CERTIFICATE"), (keyfile, "PRIVATE KEY")):
            with open(path, "rb") as file:  # where it cannot be read, this says so and names it
                if f"{what}-----".encode() not in file.read():
                    raise SSLError(error.errno, f"{path}: there is no {what.lower()} in it") from None
        raise SSLError(error.errno, f"{certfile} with the key of {keyfile}: {error}") from None


def start_tls(
    stream: Any, context: SSLContext, *, server_side: bool = False, server_hostname: str | None = None
) -> Any:
    """Do the TLS handshake on a stream, waiting as long as it takes; returns the stream to go on with, non-blocking.

    It has the stream from then on, and closes it where the handshake fails: with an OSError (ssl.SSLError is one), or
    with what the caller's deadline throws.
    """
    try:
        tls = _wrap(stream, context, server_side, server_hostname)
    except BaseException:
        stream.close()
        raise
    try:
        tls.settimeout(0)
        while True:
            try:
                tls.do_handshake()
                return tls
            except SSLWantReadError:
                wait_read(tls.fileno())
            except SSLWantWriteError:
                wait_write(tls.fileno())
    except BaseException:
        tls.close()
        raise


def _wrap(stream: Any, context: SSLContext, server_side: bool, server_hostname: str | None) -> Any:
    plain = isinstance(stream, gevent.socket.socket | _socket.socket) and not hasattr(stream, "do_handshake")
    # gevent's SSLSocket works with any context, but what it hands to a standard context's SNI callback has no `context`
    # to set. A TLSStream does that right, and is slower.
    if plain and (isinstance(context, gevent.ssl.SSLContext) or context.sni_callback is None):
        stream.getpeername()  # raises where a reset has come already, whereupon SSLSocket would forget the descriptor
        return gevent.ssl.SSLSocket(
            sock=stream,
            _context=context,
            server_side=server_side,
            server_hostname=server_hostname,
            do_handshake_on_connect=False,
        )
    return TLSStream(stream, context, server_side=server_side, server_hostname=server_hostname)


class TLSStream:
    """TLS over any stream, also over TLS; it has the methods of a non-blocking SSLSocket that a connection needs.

    The stream has ``recv``, ``send``, ``shutdown``, ``close``, ``fileno``, ``settimeout``, and raises BlockingIOError,
    SSLWantReadError or SSLWantWriteError where it would have to wait.
    """

    def __init__(
        self, stream: Any, context: SSLContext, *, server_side: bool = False, server_hostname: str | None = None
    ) -> None:
        self._stream = stream
        self._incoming = MemoryBIO()
        self._outgoing = MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)
        self._unsent = memoryview(b"")
        self._accepted = 0
        self._more = False
        stream.settimeout(0)

    def do_handshake(self) -> None:
        """Go on with the handshake; raises SSLWantReadError or SSLWantWriteError where the peer must act first."""
        while True:
            try:
                self._tls.do_handshake()
            except SSLWantReadError:
                self._flush()
                self._receive()
            except OSError:
                self._try_to_flush()  # the alert that tells the peer why
                raise
            else:
                self._flush()
                return

    def recv(self, size: int) -> bytes:
        buffer = bytearray(size)
        return bytes(buffer[: self.recv_into(memoryview(buffer))])

    def recv_into(self, buffer: memoryview) -> int:
        """Read as much as there is, up to the buffer's size; 0 at the end of the stream."""
        filled = 0
        while filled < len(buffer):
            try:
                size: Any = self._tls.read(len(buffer) - filled, buffer[filled:])
            except SSLWantReadError:
                self._try_to_flush()
                if filled:
                    break
                self._receive()
                continue
            except (SSLEOFError, SSLZeroReturnError):
                break  # without close_notify: the WebSocket's own closing handshake tells more
            if not size:
                break
            filled += size
        self._more = filled == len(buffer)
        return filled

    def pending(self) -> int:
        """How many bytes are here already that no watcher of the descriptor tells of."""
        here = self._tls.pending() or (self._incoming.pending if self._more else 0)
        return here or (self._stream.pending() if hasattr(self._stream, "pending") else 0)

    def send(self, data: Buffer) -> int:
        """Write; returns how much was written, once all of that is in the stream below.

        Where it raises instead, it has to be called again with the same bytes, as OpenSSL's own functions.
        """
        if not self._accepted:
            self._accepted = self._tls.write(data)
        self._flush()
        accepted, self._accepted = self._accepted, 0
        return accepted

    def unwrap(self) -> None:
        """Send close_notify, and raise SSLWantReadError until the peer's has come."""
        try:
            self._tls.unwrap()
        finally:
            self._flush()

    def shutdown(self, how: int) -> None:
        self._stream.shutdown(how)

    def close(self) -> None:
        self._stream.close()

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def settimeout(self, timeout: float | None) -> None:
        if timeout != 0:
            raise ValueError("this stream is always non-blocking")

    def getsockname(self) -> Any:
        return self._stream.getsockname()

    def getpeername(self) -> Any:
        return self._stream.getpeername()

    def getpeercert(self, binary_form: bool = False) -> Any:
        return self._tls.getpeercert(binary_form)

    def _receive(self) -> None:
        try:
            data = self._stream.recv(_CHUNK)
        except BlockingIOError:
            raise SSLWantReadError from None
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        while self._unsent or self._outgoing.pending:
            if not self._unsent:
                self._unsent = memoryview(self._outgoing.read())
            try:
                sent = self._stream.send(self._unsent)
            except BlockingIOError:
                sent = 0
            if not sent:
                raise SSLWantWriteError
            self._unsent = self._unsent[sent:]

    def _try_to_flush(self) -> None:
        """Write what reading made necessary (an answer of TLS itself), or leave it to the next write."""
        try:
            self._flush()
        except (SSLWantReadError, SSLWantWriteError):
            pass
