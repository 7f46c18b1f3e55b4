"""What is measured: the rows of the table, and the servers and clients that are compared in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from environment import BUILD, HERE, PYTHON, SPEED


@dataclass(frozen=True)
class Row:
    """One line of the table.

    kind: what the servers serve (see servers/common.py); "client" where clients are compared.
    load: the arguments of the load, or (task, size, connections) of the client programs.
    mode: what the load does; "memory" holds idle connections and looks at the server's size.
    """

    title: str
    kind: str
    mode: str
    load: Mapping[str, object]
    unit: str = "messages/s"

    @property
    def less_is_better(self) -> bool:
        return self.mode == "memory"


@dataclass(frozen=True)
class Peer:
    """A program under test: how it is started, and the kinds of rows it takes part in.

    variant: what it is told to serve, where that is not the row's kind.
    """

    command: tuple[str | Path, ...]
    kinds: frozenset[str]
    env: Mapping[str, str] = field(default_factory=dict)
    variant: str | None = None


def _echo(title: str, **load: object) -> Row:
    return Row(title, "echo", "echo", load)


def _deflate(size: int, takeover: bool) -> Row:
    title = f"deflate, JSON of {size} B, {'with' if takeover else 'no'} context takeover"
    load = {"json": size, "deflate": "takeover" if takeover else "no_takeover", "connections": 10}
    return Row(title, "deflate", "echo", load)


def _client(title: str, task: str, size: int, connections: int = 1) -> Row:
    return Row(f"client: {title}", "client", "client", {"task": task, "size": size, "connections": connections})


ROWS = {
    "echo-small": _echo("echo, 10 x 32 B", connections=10, size=32),
    "echo-flight": _echo("echo, 100 x 128 B, 8 in flight", connections=100, size=128, in_flight=8),
    "echo-many": _echo("echo, 1000 x 128 B", connections=1000, size=128),
    "echo-large": _echo("echo, 10 x 64 KiB", connections=10, size=65536),
    "echo-huge": _echo("echo, 4 x 1 MiB", connections=4, size=1048576),
    "tls": Row("TLS echo, 10 x 1 KiB", "tls", "echo", {"connections": 10, "size": 1024, "tls": 1}),
    "handshake": Row("handshakes, 50 at a time", "echo", "handshake", {"connections": 50}, "handshakes/s"),
    "session": Row("open and close, 50 at a time", "echo", "session", {"connections": 50}, "connections/s"),
    "broadcast": Row(
        "broadcast to 1000 x 128 B", "broadcast", "broadcast", {"connections": 1000, "size": 128}, "deliveries/s"
    ),
    "deflate-256": _deflate(256, takeover=True),
    "deflate-2k": _deflate(2048, takeover=True),
    "deflate-16k": _deflate(16384, takeover=True),
    "deflate-256-fresh": _deflate(256, takeover=False),
    "deflate-2k-fresh": _deflate(2048, takeover=False),
    "deflate-16k-fresh": _deflate(16384, takeover=False),
    "memory": Row("memory of an idle connection, 10,000 held", "echo", "memory", {"connections": 10000}, "KiB"),
    "memory-wsgi": Row(
        "memory of an idle connection under gevent.pywsgi, 10,000 held", "wsgi", "memory", {"connections": 10000}, "KiB"
    ),
    "client-roundtrip": _client("round trips of 32 B", "roundtrip", 32),
    "client-roundtrip-100": _client("round trips of 32 B, 100 connections", "roundtrip", 32, 100),
    "client-receive": _client("receiving 128 B", "receive", 128),
    "client-receive-large": _client("receiving 64 KiB", "receive", 65536),
    "client-send": _client("sending 128 B", "send", 128),
    "client-send-large": _client("sending 64 KiB", "send", 65536),
}


def _python(program: str, *kinds: str, variant: str | None = None, **env: str) -> Peer:
    return Peer((PYTHON, HERE / program), frozenset(kinds), env, variant)


def _patched(program: str, *kinds: str) -> Peer:
    """A Python program that runs under gevent.monkey."""
    path = HERE / program
    return Peer((PYTHON, "-m", "gevent.monkey", path), frozenset(kinds), {"PYTHONPATH": str(path.parent)})


def _node(program: str, *kinds: str) -> Peer:
    return Peer(("node", HERE / program), frozenset(kinds))


GEVENTWS = "servers/geventws_server.py"
SERVERS = {
    "floor": Peer((BUILD / "epoll_server",), frozenset({"echo"})),
    "geventws": _python(GEVENTWS, "echo", "deflate", "tls", "broadcast", "wsgi"),
    "geventws-loop": _python(GEVENTWS, "broadcast", variant="broadcast-loop"),
    "geventws-pure": _python(GEVENTWS, "echo", "deflate", "tls", "broadcast", GEVENTWS_PURE_PYTHON="1"),
    "geventws-speed": _python(GEVENTWS, "deflate", PYTHONPATH=str(SPEED)),
    "picows": _python("servers/picows_server.py", "echo", "tls", "broadcast"),
    "websockets": _python("servers/websockets_server.py", "echo", "deflate", "tls", "broadcast"),
    "aiohttp": _python("servers/aiohttp_server.py", "echo", "deflate", "tls", "broadcast"),
    "ws": _node("servers/ws_server.js", "echo", "deflate", "tls", "broadcast"),
    "gevent-websocket": _python("servers/gevent_websocket_server.py", "echo", "broadcast", "wsgi"),
}
CLIENTS = {
    "geventws": _python("clients/geventws_client.py", "client"),
    "geventws-pure": _python("clients/geventws_client.py", "client", GEVENTWS_PURE_PYTHON="1"),
    "picows": _python("clients/picows_client.py", "client"),
    "ws": _node("clients/ws_client.js", "client"),
    "websocket-client": _python("clients/websocket_client_client.py", "client"),
    "websockets.sync": _python("clients/websockets_sync_client.py", "client"),
    "websockets.sync-gevent": _patched("clients/websockets_sync_client.py", "client"),
}
PEERS = list({**SERVERS, **CLIENTS})


def peers_of(row: Row, names: list[str]) -> dict[str, Peer]:
    """Those of the named peers that take part in the row. A name with a slash is a directory with another geventws."""
    known = CLIENTS if row.kind == "client" else SERVERS
    chosen = {name: _checkout(known["geventws"], name) if "/" in name else known.get(name) for name in names}
    return {name: peer for name, peer in chosen.items() if peer and row.kind in peer.kinds}


def _checkout(geventws: Peer, directory: str) -> Peer:
    return replace(geventws, env={"PYTHONPATH": str(Path(directory).resolve())})
