"""Scripts at the other end: of a WebSocket of the library's, or of whoever connects to an address."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent
from gevent import socket
from gevent.server import StreamServer

from ..client import connect
from ..frames import Side
from ..upgrader import Upgrader
from ..websocket import WebSocket
from .peer import ScriptedPeer
from .sides import serve

if TYPE_CHECKING:
    from typing_extensions import Self

Script = Callable[[ScriptedPeer], object]


def scripted(side: Side | str = Side.CLIENT, *, timeout: float = 5, **options: Any) -> tuple[WebSocket, ScriptedPeer]:
    """A WebSocket and the scripted peer that it is connected to, in one process and without a port.

    Args:
        side: which side the WebSocket is, "client" or "server".
        timeout: the peer's.
        options: those of `connect` or `Upgrader` for the WebSocket.

    The opening handshake has been done. Whoever calls closes both.
    """
    upgrader = Upgrader(**options) if Side(side) is Side.SERVER else None
    mine, other = socket.socketpair()
    peer = ScriptedPeer(other, client=upgrader is not None, timeout=timeout)
    work: Any = gevent.spawn(peer.accept) if upgrader is None else gevent.spawn(serve, mine, upgrader)
    try:
        if upgrader is None:
            return connect("ws://localhost/", sock=mine, **{"compression": False, **options}), peer
        peer.open()
        return work.get(), peer
    except BaseException:
        work.kill()
        mine.close()
        other.close()
        raise


class ScriptedServer:
    """A server on the loopback, on a free port, whose connections are served by scripts.

    ::

        def refuse(peer):
            peer.read_request()
            peer.answer(Response(503))

        def greet(peer):
            peer.accept()
            peer.text("hello")
            peer.finish_close()

        with ScriptedServer(refuse, greet) as server:
            client_that_tries_twice(server.url)

    When the ``with`` statement ends, the server stops and waits for its scripts, and raises the first exception that
    one of them has raised.

    Args:
        scripts: functions that are called with a `ScriptedPeer`, on which no opening handshake has been done: the first
            for the first connection, and so on; the last one for all that follow. The connection is closed behind them.
        timeout: that of the peers, and how long is waited for the scripts at the end, in seconds.

    Attributes:
        url: the URL to connect to.
        connections: how many there have been.
    """

    def __init__(self, *scripts: Script, timeout: float = 5) -> None:
        if not scripts or not all(map(callable, scripts)):
            raise TypeError("a scripted server needs functions that take a ScriptedPeer")
        self._scripts = scripts
        self._timeout = timeout
        self._running: set[gevent.Greenlet[Any, Any]] = set()
        self._errors: list[BaseException] = []
        self.connections = 0
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.url = f"ws://127.0.0.1:{self._server.address[1]}"

    def _serve(self, sock: Any, address: Any) -> None:
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        me: Any = gevent.getcurrent()
        self._running.add(me)
        try:
            with ScriptedPeer(sock, client=False, timeout=self._timeout) as peer:
                script(peer)
        except (Exception, gevent.Timeout) as error:  # noqa: BLE001  (raised in the test)
            self._errors.append(error)
        finally:
            self._running.discard(me)

    def close(self) -> None:
        """Stop at once, and end the scripts that still run."""
        self._server.stop()
        gevent.killall(list(self._running))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        try:
            if kind is None:
                self._server.close()
                gevent.joinall(list(self._running), timeout=self._timeout)
        finally:
            self.close()
        if kind is None and self._errors:
            raise self._errors[0]
