"""WebSockets made on sockets, as if the opening handshake had been done on them. This alone knows the library."""

from __future__ import annotations

from typing import Any

from geventws.deflate import Parameters
from geventws.frames import Side
from geventws.handshake import Agreement
from geventws.headers import Headers
from geventws.http11 import Request, Response
from geventws.websocket import Options, WebSocket

from .checker import Deflate
from .peer import Peer
from .timing import wait_until


def make_websocket(
    sock: Any,
    role: str,
    *,
    deflate: Parameters | None = None,
    subprotocol: str | None = None,
    websocket_class: type[WebSocket] = WebSocket,
    environ: dict[str, Any] | None = None,
    **arguments: Any,
) -> Any:
    """A WebSocket; ``arguments`` are WebSocket's and those of Options, without distinction."""
    names = ("head", "url", "settings", "on_closed")
    own = {name: arguments.pop(name) for name in names if name in arguments}
    return websocket_class(
        sock,
        Side(role),
        Agreement(13, subprotocol, deflate),
        request=Request("GET", "/chat?room=1", Headers([("Host", "localhost")]), environ=environ),
        response=Response(101),
        options=Options(**arguments),
        **own,
    )


def make_peer(sock: Any, role: str, *, deflate: Parameters | None = None, timeout: float = 5) -> Peer:
    """The peer of a WebSocket that has this role, which judges whether it keeps to what was agreed."""
    judged = None
    if deflate is not None and role == "client":
        judged = Deflate(deflate.client_max_window_bits, deflate.client_no_context_takeover)
    elif deflate is not None:
        judged = Deflate(deflate.server_max_window_bits, deflate.server_no_context_takeover)
    return Peer(sock, client=role == "server", deflate=judged, timeout=timeout)


def wait_for_messages(ws: Any, count: int = 1) -> None:
    """Let the hub run until so many messages have been received that nobody has taken."""
    wait_until(lambda: len(ws._protocol.messages) >= count)
