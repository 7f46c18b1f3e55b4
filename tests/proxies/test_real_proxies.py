"""WebSockets through real proxies of each kind, with and without authentication, to each kind of address."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from daemons import PASSWORD, USER, Daemons
from gevent import socket
from tools.proxying import Listener, relay

from geventws import HandshakeError, ProxyError, WebSocket, WebSocketServer, connect
from geventws.proxy import HTTPConnectAgent, SOCKSAgent

KINDS = [
    ("tinyproxy", "http"),
    ("stunnel", "https"),
    ("squid", "http"),
    ("squid", "https"),
    ("proxy_py", "http"),
    ("proxy_py", "https"),
    ("pproxy", "http"),
    ("pproxy", "https"),
    ("pproxy", "socks4"),
    ("pproxy", "socks4a"),
    ("pproxy", "socks5"),
    ("pproxy", "socks5h"),
    ("dante", "socks4"),
    ("dante", "socks5"),
    ("dante", "socks5h"),
    ("microsocks", "socks5"),
    ("microsocks", "socks5h"),
    ("ssh", "socks4"),
    ("ssh", "socks4a"),
    ("ssh", "socks5"),
    ("ssh", "socks5h"),
]
USERLESS = [("dante", "socks4"), *(kind for kind in KINDS if kind[0] == "ssh")]
"""Proxies that ask for no user: dante has users in SOCKS5 alone, and ssh has none."""
CREDENTIALS = {"open": "", "missing": "", "unneeded": f"{USER}:{PASSWORD}", "right": f"{USER}:{PASSWORD}"}
CREDENTIALS["wrong"] = f"{USER}:wrong"
HOSTS = {"IPv4": "127.0.0.1", "IPv6": "[::1]", "name": "localhost"}
SECRET = b"mark in the clear"


def cases() -> Iterator[Any]:
    """All but names in SOCKS4a through pproxy, which sends them on as if they were the client's data."""
    for tool, scheme in KINDS:
        auths = ["open"]
        if scheme.startswith("socks5"):
            auths.append("unneeded")
        if (tool, scheme) not in USERLESS:
            auths += ["missing", "wrong", "right"]
        for auth, address in product(auths, HOSTS):
            if (tool, scheme, address) != ("pproxy", "socks4a", "name") or auth in ("missing", "wrong"):
                yield pytest.param(tool, scheme, auth, address, id=f"{tool}-{scheme}-{auth}-{address}")


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


class Target:
    """An echo server on one port of 127.0.0.1 and ::1."""

    def __init__(self, context: Any = None) -> None:
        self._servers = [WebSocketServer(listener, echo, ssl_context=context) for listener in both_listeners()]
        for server in self._servers:
            server.start()
        self.port = int(self._servers[0].address[1])

    def stop(self) -> None:
        for server in self._servers:
            server.stop()


def both_listeners() -> list[Any]:
    while True:
        four, six = socket.socket(socket.AF_INET), socket.socket(socket.AF_INET6)
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        four.bind(("127.0.0.1", 0))
        try:
            six.bind(("::1", four.getsockname()[1]))
        except OSError:
            four.close()
            six.close()
            continue
        four.listen()
        six.listen()
        return [four, six]


@pytest.fixture
def target() -> Iterator[Target]:
    target = Target()
    yield target
    target.stop()


@pytest.fixture
def secure_target(server_context: Any) -> Iterator[Target]:
    target = Target(server_context)
    yield target
    target.stop()


def port_of(daemons: Daemons, tool: str, scheme: str, auth: str) -> int:
    if tool == "pproxy" and auth in ("missing", "wrong"):
        tool = "pproxy_unknown"
    traits = ["auth"] if auth in ("missing", "wrong", "right") else []
    return daemons.port(tool, *traits, *(["tls"] if scheme == "https" else []))


def agent(scheme: str, auth: str, port: int, context: Any, via: Any = None) -> Any:
    credentials = CREDENTIALS[auth]
    if scheme.startswith("socks4"):
        credentials = credentials.replace(":", "%3A")  # all in the user name, as pproxy wants it
    url = f"{scheme}://{credentials}{'@' if credentials else ''}localhost:{port}"
    if scheme.startswith("socks"):
        return SOCKSAgent(url, via=via)
    return HTTPConnectAgent(url, ssl_context=context if scheme == "https" else None, via=via)


def refusal_expected(tool: str, scheme: str, auth: str, address: str) -> str:
    """What the error must say; nothing where the connection must come about."""
    if auth in ("missing", "wrong"):
        if scheme.startswith("socks"):
            return "the proxy socks"
        return "401" if auth == "wrong" and tool in ("tinyproxy", "stunnel") else "407"
    if address != "IPv6":
        return ""
    if tool == "proxy_py":
        return "502"  # it knows no IPv6 addresses
    return "no IPv4 address" if scheme.startswith("socks4") else ""


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("tool, scheme, auth, address", list(cases()))
def test_websockets_go_through_where_they_may(
    daemons: Daemons,
    request: pytest.FixtureRequest,
    client_context: Any,
    tool: str,
    scheme: str,
    auth: str,
    address: str,
    secure: bool,
) -> None:
    target: Target = request.getfixturevalue("secure_target" if secure else "target")
    proxy = agent(scheme, auth, port_of(daemons, tool, scheme, auth), client_context)
    url = f"{'wss' if secure else 'ws'}://{HOSTS[address]}:{target.port}/chat"
    options = {"ssl_context": client_context} if secure else {}
    refusal = refusal_expected(tool, scheme, auth, address)
    if refusal:
        with pytest.raises(ProxyError, match=refusal):
            connect(url, proxy=proxy, **options)
        return
    with connect(url, proxy=proxy, **options) as ws:
        for message in ("", "hello", bytes(100_000)):
            ws.send(message)
            assert ws.recv(timeout=10) == message
    assert ws.close_code == 1000


@pytest.mark.parametrize("tool, scheme", KINDS)
def test_no_clear_byte_of_wss_passes_on_either_side(
    daemons: Daemons, secure_target: Target, client_context: Any, tool: str, scheme: str
) -> None:
    port = port_of(daemons, tool, scheme, "open")
    before, behind = bytearray(), bytearray()
    near = Listener(lambda sock: relay(sock, "127.0.0.1", port, before))
    far = Listener(lambda sock: relay(sock, "127.0.0.1", secure_target.port, behind))
    try:
        options = {"ssl_context": client_context, "compression": False}
        proxy = agent(scheme, "open", near.port, client_context)
        with connect(f"wss://127.0.0.1:{far.port}/chat", proxy=proxy, **options) as ws:
            ws.send(SECRET)
            assert ws.recv(timeout=10) == SECRET
    finally:
        near.stop()
        far.stop()
    assert behind[:2] == b"\x16\x03"  # a TLS record with a handshake message
    for seen in (before, behind):
        assert len(seen) > 1000
        for mark in (SECRET, b"/chat", b"Sec-WebSocket", b"101 Switching"):
            assert mark not in seen


@pytest.mark.parametrize("tool, scheme", KINDS)
def test_destination_that_refuses_is_told(daemons: Daemons, client_context: Any, tool: str, scheme: str) -> None:
    proxy = agent(scheme, "open", port_of(daemons, tool, scheme, "open"), client_context)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{sock.getsockname()[1]}/"  # nobody listens there
        if tool == "pproxy" and scheme.startswith("socks"):  # it says yes first, and then tries
            with pytest.raises((HandshakeError, ConnectionResetError)):
                connect(url, proxy=proxy)
        else:
            with pytest.raises(ProxyError, match=f"the proxy {scheme}://localhost:"):
                connect(url, proxy=proxy)


CHAINED = {
    "http": ("tinyproxy", "proxy_py"),
    "https": ("squid", "stunnel"),
    "socks4": ("dante", "ssh"),
    "socks4a": ("ssh", "ssh"),
    "socks5": ("microsocks", "dante"),
    "socks5h": ("microsocks", "pproxy"),
}
"""For each kind the proxy that the client talks to, and the one that is reached through another."""


@pytest.mark.parametrize("inner", CHAINED)
@pytest.mark.parametrize("outer", CHAINED)
def test_each_kind_goes_through_each_kind(
    daemons: Daemons, secure_target: Target, client_context: Any, outer: str, inner: str
) -> None:
    proxy: Any = None
    for scheme, tool in ((outer, CHAINED[outer][0]), (inner, CHAINED[inner][1])):
        auth = "open" if (tool, scheme) in USERLESS else "right"
        proxy = agent(scheme, auth, port_of(daemons, tool, scheme, auth), client_context, via=proxy)
    with connect(f"wss://localhost:{secure_target.port}", proxy=proxy, ssl_context=client_context) as ws:
        for message in ("hello", bytes(300_000)):
            ws.send(message)
            assert ws.recv(timeout=10) == message
