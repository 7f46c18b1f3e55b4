"""Two connected WebSockets in one process, over a socket pair, with a real opening handshake."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent
from gevent import socket

from ..client import connect
from ..deflate import PerMessageDeflate
from ..headers import HeadersLike
from ..http11 import RequestParser
from ..opening import read_head
from ..upgrader import Upgrader
from ..websocket import WebSocket

if TYPE_CHECKING:
    from typing_extensions import Self


class Pair(NamedTuple):
    """Two WebSockets that are connected to each other; a context manager that closes both.

    Attributes:
        client: the client's side.
        server: the server's side.
    """

    client: WebSocket
    server: WebSocket

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close in good order; on an exception at once."""
        try:
            if error is None:
                for ws in self:
                    ws.resume()
                self.client.close()
                self.server.wait_closed()
        finally:
            self.client.terminate()
            self.server.terminate()


def pair(
    *,
    path: str = "/",
    headers: HeadersLike = None,
    subprotocols: Iterable[str] = (),
    compression: bool | PerMessageDeflate = False,
    client: Mapping[str, Any] | None = None,
    server: Mapping[str, Any] | None = None,
    **options: Any,
) -> Pair:
    """Two connected WebSockets, without a server socket and a port.

    ::

        with pair(subprotocols=["chat"]) as (client, server):
            client.send("hello")
            assert server.recv(timeout=1) == "hello"

    Args:
        path: the path and query that the client asks for.
        headers: further headers of its request.
        subprotocols: what both sides speak.
        compression: whether both sides do permessage-deflate, or its settings.
        client: further options of the client's side, those of `connect`.
        server: further options of the server's side, those of `Upgrader`.
        options: those of a connection, for both sides, such as ``ping_interval``.

    Raises what `connect` raises, InvalidStatus where the server's side refuses, and ValueError or TypeError where an
    argument makes no sense.
    """
    both = {"subprotocols": list(subprotocols), "compression": compression, **options}
    upgrader = Upgrader(**{**both, **(server or {})})
    near, far = socket.socketpair()
    work: Any = gevent.spawn(serve, far, upgrader)
    try:
        ws = connect(f"ws://localhost{path}", sock=near, headers=headers, **{**both, **(client or {})})
        return Pair(ws, work.get())
    except BaseException:
        near.close()
        work.kill()
        far.close()
        raise


def serve(sock: Any, upgrader: Upgrader) -> WebSocket | None:
    """Read the request and answer it; the server's WebSocket, None where it was refused or the client has gone."""
    sock.settimeout(0)
    parser = RequestParser()
    request = read_head(sock, parser)
    if request is None:
        return None
    return upgrader.upgrade(request, sock, parser.rest)
