"""A WebSocket server on gevent's StreamServer: reads each connection's request, and runs a handler on its WebSocket."""

from __future__ import annotations

import _socket
import errno
import logging
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

import gevent
from gevent import GreenletExit, Timeout, socket, ssl
from gevent.event import Event
from gevent.lock import BoundedSemaphore
from gevent.server import StreamServer

from .arrivals import Arrivals
from .clients import Broadcaster, Clients
from .exceptions import HandshakeError
from .frames import CloseCode, CloseFrame
from .handlers import Handler, run_handler
from .http11 import Request, RequestParser
from .inherited import inherited_socket, is_inherited
from .kernels import now
from .opening import Deadline, read_head, read_proxy_header, request_timeout
from .options import check_wait, checked_switch
from .proxy_protocol import InvalidProxyHeader, ProxiedRequestParser, ProxyHeader
from .stats import ServerStats
from .tls import checked_context, load_certificate, start_tls
from .upgrader import Upgrader
from .websocket import WebSocket

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import UpgraderOptions

logger = logging.getLogger("geventws")

_KILL_TIMEOUT = 1.0
_TCP = (socket.AF_INET, socket.AF_INET6)
_UNIX = "unix:"
_ALL_ADDRESSES = (":", "*:")
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_GONE_ALREADY = (errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH)
"""With what accept(2) fails where the connection that it would return has failed."""


class _Serving(gevent.Greenlet):  # type: ignore[type-arg]
    """Serves a connection. Where it was spawned is the same for all, and not worth a note in each."""

    __slots__ = ()
    spawning_stack_limit = 0


class WebSocketServer(Broadcaster, StreamServer):
    """A WebSocket server.

    Each connection has a greenlet, in which ``handler(ws)`` runs. When the handler returns, the connection is closed
    with 1000; when it raises an Exception or a gevent.Timeout, with 1011, and that is logged, except for the
    ConnectionClosed of a client that has gone. When it is killed, the connection is ended with 1001.

    Args:
        listener: where to listen, as for gevent's StreamServer: an address such as ``("127.0.0.1", 8000)``, or for all
            addresses, of IPv6 as well, ``("", 8000)``, ``":8000"`` or 8000; a listening socket of gevent's or the
            standard library's; ``"unix:/path/of/a/socket"``; or one that the process is started with: ``"fd://3"`` by
            its descriptor, ``"systemd"`` or ``"systemd:name"`` where systemd passes one or several (see
            `inherited.systemd_sockets`).
        handler: what to run. A subclass may have a method of this name instead.
        spawn: "default" (a greenlet for each connection), a number (the most connections at once), a gevent Pool, or a
            function such as `gevent.spawn_raw`.
        backlog: how many connections the kernel queues, 128 by default.
        ssl_context: makes it a TLS server; a context of gevent's or the standard library's.
        certfile: the same, with this certificate chain (a PEM file) in place of a context,
        keyfile: and its private key, where the chain's file does not hold it.
        reuse_port: whether other processes may listen at the same address (SO_REUSEPORT), which each get a share of the
            connections. All of them have to say so, and be of the same user.
        proxy_protocol: whether each connection begins with a PROXY header of HAProxy's, of version 1 or 2, in front of
            TLS too. The address that it tells is the connection's ``remote_address``. Needs ``trusted_proxies``; who is
            not one of these is turned away.
        options: those of `Upgrader`. Its ``open_timeout`` is one deadline over TLS and the request.

    Raises ValueError or TypeError where an argument makes no sense, OSError where the certificate cannot be read.

    Attributes:
        address: where it listens once it is started: host and port, or the path of a unix socket.
        clients: the open connections, a set that may be iterated over while it changes.
    """

    _spawn = _Serving.spawn
    max_delay = 0.5
    """How long it waits at most before it tries to accept again, where that has failed, in seconds."""
    stop_timeout = 5
    """How long `stop` waits for the handlers by default, in seconds."""

    def __init__(
        self,
        listener: Any,
        handler: Handler | None = None,
        *,
        spawn: Any = "default",
        backlog: int | None = None,
        ssl_context: SSLContext | None = None,
        certfile: str | os.PathLike[str] | None = None,
        keyfile: str | os.PathLike[str] | None = None,
        reuse_port: bool = False,
        proxy_protocol: bool = False,
        **options: Unpack[UpgraderOptions],
    ) -> None:
        if handler is not None:
            self.handler = handler
        if not callable(getattr(self, "handler", None)):
            raise TypeError("handler is a function that takes a WebSocket")
        if spawn is None:
            raise ValueError("spawn=None would run the handlers in the hub, where nothing can wait")
        self._upgrader = Upgrader(**options)
        self._ssl_context = _server_context(ssl_context, certfile, keyfile)
        self._proxies = self._upgrader.trusted_proxies if checked_switch("proxy_protocol", proxy_protocol) else None
        if proxy_protocol and self._proxies is None:
            raise ValueError("proxy_protocol needs trusted_proxies: those whose PROXY headers are believed")
        self._reuse_port = checked_switch("reuse_port", reuse_port)
        # What runs now: each connection's greenlet, and its WebSocket once there is one.
        self._connections: dict[Any, WebSocket | None] = {}
        self._arrivals: Arrivals | None = None
        self._gone = Event()
        self._stopping = BoundedSemaphore()
        self._own_path: Any = None
        self._kind = (-1, -1, -1)
        self._accept_delay: float = self.min_delay
        super().__init__(listener, backlog=backlog, spawn=spawn)
        if reuse_port:
            self._check_reuse_port()

    @property
    def clients(self) -> Clients:
        return self._upgrader.clients

    def stats(self) -> ServerStats:
        """The numbers of all connections so far; see `Upgrader.stats`."""
        return self._upgrader.stats()

    @property
    def ssl_enabled(self) -> bool:
        return self._ssl_context is not None

    # Listening

    def set_listener(self, listener: Any) -> None:
        if is_inherited(listener):
            listener = inherited_socket(listener)
        if isinstance(listener, str) and listener.startswith(_UNIX):
            self.family = socket.AF_UNIX
            self.address = listener.removeprefix(_UNIX)
            if not self.address:
                raise ValueError("the unix socket has no path")
            return
        if isinstance(listener, str) and listener.startswith(_ALL_ADDRESSES) and listener.count(":") == 1:
            listener = listener.partition(":")[2]  # what gevent takes for all addresses, of IPv6 as well
        super().set_listener(listener)
        if hasattr(self, "socket"):
            # It is accepted from in the hub, until nobody waits any more.
            listener.setblocking(False)

    def _check_reuse_port(self) -> None:
        if hasattr(self, "socket") or self.family not in _TCP:
            self.close()
            raise ValueError("reuse_port is for a host and a port to listen at")
        if not hasattr(socket, "SO_REUSEPORT"):
            raise ValueError("reuse_port: this system has no SO_REUSEPORT")

    def init_socket(self) -> None:
        fresh = not hasattr(self, "socket")
        if fresh:
            if self.family == socket.AF_UNIX:
                _remove_stale_socket(self.address)
            listener = self.get_listener(self.address, self.backlog, self.family, self._reuse_port)
            self.address = listener.getsockname()
            # A plain one, as gevent's servers have it; they leave behind the watchers of the one that it was.
            self.socket = _socket.socket(fileno=listener.detach())  # type: ignore[assignment]
            self.socket.setblocking(False)
        super().init_socket()
        self._kind = (int(self.socket.family), int(self.socket.type), self.socket.proto)
        if self.family in _TCP:
            self.address = self.address[:2]
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections take it over
        elif fresh:
            self._own_path = self.address

    @classmethod
    def get_listener(
        cls, address: Any, backlog: int | None = None, family: int | None = None, reuse_port: bool = False
    ) -> Any:
        """A listening socket; the error of a failure names the address."""
        try:
            return _listen(address, cls.backlog if backlog is None else backlog, family, cls.reuse_addr, reuse_port)
        except OSError as error:
            # gevent takes "all addresses" for those of IPv6, which stand for IPv4 as well, where there is IPv6.
            if family == socket.AF_INET6 and not address[0] and error.errno in _NO_IPV6:
                return cls.get_listener(address, backlog, socket.AF_INET, reuse_port)
            raise

    def close(self) -> None:
        """Stop listening; the connections go on."""
        super().close()
        if self._own_path is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._own_path)
            self._own_path = None

    def do_read(self) -> Any:
        """Accept a connection, in the hub. One that has failed already is passed over (see accept(2))."""
        try:
            # What it returns does not wait by itself, which is all the same here, and is much lighter than gevent's.
            descriptor, address = self.socket._accept()  # type: ignore[attr-defined]
        except BlockingIOError:
            return None
        except OSError as error:
            if self.is_fatal_error(error):
                raise
            if error.errno not in _GONE_ALREADY:
                self._pause_accepting(error)
            return None
        self._accept_delay = self.min_delay
        sock = _socket.socket(*self._kind, descriptor)
        sock.settimeout(0)
        return sock, address

    def _pause_accepting(self, error: OSError) -> None:
        """There are no descriptors, say, or there is no memory: try again soon, and ever later."""
        if self._accept_delay == self.min_delay:
            logger.error("cannot accept connections, will try again: %s", error)
        self.stop_accepting()
        timer: Any = self.loop.timer(self._accept_delay)
        timer.start(self._start_accepting_if_started)  # type: ignore[attr-defined]
        self._timer = timer  # which `stop_accepting` knows
        self._accept_delay = min(self.max_delay, 2 * self._accept_delay)

    # Serving

    def do_handle(self, sock: Any, address: Any) -> None:
        """In the hub: wait for the request, or leave that to a greenlet where TLS comes first or a pool counts them."""
        if self._proxies is not None and not self._proxies.trust_peer(address):
            logger.warning("turned the connection from %r away: it is not a trusted proxy's", address)
            sock.close()
            return
        if self.pool is not None or self.ssl_enabled:
            super().do_handle(sock, address)
            return
        if self._arrivals is None:
            new_parser = RequestParser if self._proxies is None else ProxiedRequestParser
            self._arrivals = Arrivals(self._upgrader.open_timeout, self._arrived, self._refused, new_parser)
        self._arrivals.add(sock, address)

    def _arrived(self, sock: Any, address: Any, request: Request, head: bytes) -> None:
        request.remote_address = _told_address(request.proxy_header, address)
        self._begin(address, sock, self._upgrader.upgrade, request, sock, head)

    def _refused(self, sock: Any, address: Any, error: HandshakeError) -> None:
        if isinstance(error, InvalidProxyHeader):
            _turn_away(sock, address, error)
            return
        self._begin(address, sock, self._upgrader.refuse, sock, error)

    def _begin(self, address: Any, sock: Any, opening: Callable[..., WebSocket | None], *arguments: Any) -> None:
        try:
            self._spawn(self._serve, address, opening, *arguments)
        except BaseException:
            sock.close()
            raise

    def handle(self, sock: Any, address: Any) -> BaseException | None:
        """Serve one connection from its begin to its end, in its own greenlet; gives what killed that."""
        return self._serve(address, self._open, sock, address) if self.started else None

    def _serve(self, address: Any, opening: Callable[..., WebSocket | None], *arguments: Any) -> BaseException | None:
        """Open a WebSocket, and run the handler where there is one."""
        me = gevent.getcurrent()
        self._connections[me] = None
        try:
            ws = opening(*arguments)
            if ws is not None:
                self._connections[me] = ws
                run_handler(self.handler, ws)
        except (Exception, Timeout):
            logger.error("the connection from %s failed", address, exc_info=True)
        except GreenletExit as error:
            # The greenlet keeps it as its value. With its traceback it would keep the WebSocket as well, and itself,
            # until the garbage collector comes.
            error.__traceback__ = None
            return error
        finally:
            del self._connections[me]
            self._gone.set()
        return None

    def _open(self, sock: Any, address: Any) -> WebSocket | None:
        """Read the request and answer it; None where no WebSocket comes of it."""
        parser = RequestParser()
        stream, secured = sock, self._ssl_context is None
        ws = header = None
        try:
            try:
                with Deadline(self._upgrader.open_timeout, "the request"):
                    if self._proxies is not None:
                        header = read_proxy_header(sock)
                        if header is None:
                            return None
                    if self._ssl_context is not None:
                        stream = start_tls(sock, self._ssl_context, server_side=True)
                        secured = True
                    request = read_head(stream, parser)
            except TimeoutError as error:
                if not secured:
                    raise
                raise request_timeout(str(error)) from None
            if request is not None:
                request.proxy_header = header
                request.remote_address = _told_address(header, address)
                ws = self._upgrader.upgrade(request, stream, parser.rest)
        except InvalidProxyHeader as error:
            _turn_away(sock, address, error)
        except HandshakeError as error:
            self._upgrader.refuse(stream, error)
        except OSError as error:
            logger.info("the connection from %s ended before it was open: %s", address, error)
        finally:
            if ws is None:
                stream.close()
        return ws

    # Stopping

    def stop(self, timeout: float | None = None, code: int = CloseCode.GOING_AWAY) -> None:
        """Stop listening, close all connections, and wait for their handlers to end.

        All close frames go out at once. Connections that are not open yet are ended. A second call waits for the first.

        Args:
            timeout: how long to wait, in seconds, before the handlers that still run are killed; by default
                `stop_timeout`.
            code: the close code; 1012 tells clients that the server will be back.

        Raises ValueError or TypeError where the code or the timeout is not allowed; nothing was stopped then.
        """
        frame = CloseFrame.checked(code, "")
        check_wait("timeout", timeout)
        with self._stopping:
            self.close()
            if self._arrivals is not None:
                self._arrivals.close()
            me = gevent.getcurrent()
            for connection, ws in list(self._connections.items()):
                if ws is not None:
                    ws.start_close(frame)
                elif connection is not me:
                    gevent.kill(connection)
            if not self._wait_for_handlers(self.stop_timeout if timeout is None else timeout):
                for connection in list(self._connections):
                    if connection is not me:
                        gevent.kill(connection)
                self._wait_for_handlers(_KILL_TIMEOUT)

    def _wait_for_handlers(self, timeout: float) -> bool:
        """Whether all handlers have ended in time, but the one that calls this, which cannot wait for itself."""
        me = gevent.getcurrent()
        deadline = now() + timeout
        while any(connection is not me for connection in self._connections):
            self._gone.clear()
            if not self._gone.wait(max(0.0, deadline - now())):
                return False
        return True


def _server_context(
    context: SSLContext | None, certfile: str | os.PathLike[str] | None, keyfile: str | os.PathLike[str] | None
) -> SSLContext | None:
    if context is not None:
        if certfile is not None or keyfile is not None:
            raise ValueError("certfile and keyfile are for a server without an ssl_context")
        return checked_context(context, server_side=True)
    if certfile is None:
        if keyfile is not None:
            raise ValueError("keyfile needs certfile")
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_certificate(made, certfile, keyfile)
    return made


def _told_address(header: ProxyHeader | None, address: Any) -> Any:
    """The address of the client as a PROXY header tells it, or else that of the connection's other end."""
    return address if header is None or header.source is None else header.source


def _turn_away(sock: Any, address: Any, error: InvalidProxyHeader) -> None:
    logger.warning("turned the connection from %r away: %s", address, error)
    sock.close()


def _listen(
    address: Any, backlog: int, family: int | None, reuse_address: int | None, reuse_port: bool
) -> socket.socket:
    sock = socket.socket(family or socket.AF_INET, socket.SOCK_STREAM)
    try:
        if reuse_address is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse_address)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        # A path that is too long for a unix socket is an error without a number.
        text = f"{error.strerror or error}: {address!r}"
        raise (OSError(text) if error.errno is None else OSError(error.errno, text)) from None
    return sock


def _remove_stale_socket(path: Any) -> None:
    """Remove a unix socket on which nobody listens any more; a program that was killed leaves it behind."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(0)
            sock.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except OSError:
        pass  # there is no such socket, or it is in use: binding to it will tell
