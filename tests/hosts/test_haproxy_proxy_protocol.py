"""A server behind a real HAProxy that sends PROXY headers, with the configuration that docs/deployment.md shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gevent import socket
from host_process import close
from reverse_proxy import ReverseProxy
from tools import raw_http
from tools.peer import Peer
from tools.timing import wait_until

from geventws.server import WebSocketServer
from geventws.websocket import WebSocket


def tell(ws: WebSocket) -> None:
    header = ws.request.proxy_header
    assert header is not None
    ws.send_json([ws.client_address, ws.remote_address, header.destination])
    for message in ws:
        ws.send(message)


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "tls")


@pytest.fixture
def serve(tls: bool, server_context: Any) -> Iterator[Callable[..., int]]:
    """Starts a server, and gives its port."""
    servers = []

    def start(**options: Any) -> int:
        options = {"proxy_protocol": True, "trusted_proxies": ["127.0.0.1"], **options}
        context = server_context if tls else None
        servers.append(WebSocketServer(("127.0.0.1", 0), tell, ssl_context=context, **options))
        servers[-1].start()
        return int(servers[-1].address[1])

    yield start
    for server in servers:
        server.stop(timeout=1)


def opened(proxy: ReverseProxy, client_context: Any) -> tuple[Peer, Any]:
    """A connection through the proxy, and the address that it comes from."""
    sock = socket.create_connection(proxy.address)
    proxy.sockets.append(sock)
    address = sock.getsockname()
    if client_context is not None:
        sock = client_context.wrap_socket(sock, server_hostname="localhost")
        proxy.sockets.append(sock)
    sock.sendall(raw_http.request())
    response, rest = raw_http.read_response(sock, timeout=10)
    assert response.status == 101, proxy.log
    peer = Peer(sock, client=True, timeout=10, head=rest)
    return peer, address


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn"])
@pytest.mark.parametrize("tls, mode", [("plain", "tcp"), ("plain", "http"), ("tls", "tcp")], indirect=["tls"])
def test_the_client_has_its_own_address(
    serve: Callable[..., int], tmp_path: Path, tls: bool, client_context: Any, version: str, mode: str
) -> None:
    changes = {"send-proxy-v2 ": f"{version} ", "mode tcp": f"mode {mode}"}
    with ReverseProxy("haproxy", serve(), tmp_path, changes, "The PROXY protocol") as proxy:
        peer, address = opened(proxy, client_context if tls else None)
        destination = proxy.address
        expected = f'["127.0.0.1", ["127.0.0.1", {address[1]}], ["127.0.0.1", {destination[1]}]]'
        assert peer.read_message() == expected
        peer.binary(b"x" * 100_000)
        assert peer.read_message() == b"x" * 100_000
        close(peer)


def test_checks_of_haproxy_find_the_server_well(
    serve: Callable[..., int], tmp_path: Path, tls: bool, client_context: Any, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {"check-send-proxy": "check-send-proxy inter 10ms fall 1"}
    port = serve()
    with ReverseProxy("haproxy", port, tmp_path, changes, "The PROXY protocol") as proxy:
        for _ in range(3):
            peer, _ = opened(proxy, client_context if tls else None)
            assert peer.read_message()
            close(peer)
        assert "DOWN" not in proxy.log
    assert not [record for record in caplog.records if record.levelname != "INFO"]


def test_haproxy_that_sends_no_header_is_told(
    serve: Callable[..., int], tmp_path: Path, tls: bool, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {"send-proxy-v2 check check-send-proxy": ""}
    with ReverseProxy("haproxy", serve(), tmp_path, changes, "The PROXY protocol") as proxy:
        with socket.create_connection(proxy.address) as sock:
            sock.sendall(raw_http.request())
            try:
                assert sock.recv(1) == b""
            except ConnectionResetError:
                pass
        wait_until(lambda: caplog.records)
    assert re.fullmatch(
        r"turned the connection from \('127.0.0.1', \d+\) away: the PROXY header is not valid: .*",
        caplog.records[0].getMessage(),
    )
