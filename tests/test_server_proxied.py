"""A server behind proxies that send a PROXY header in front of each connection."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket
from tools import raw_http, wire
from tools.links import reset
from tools.peer import Peer
from tools.timing import EARLY, let_hub_run, stopwatch, wait_until

from geventws.http11 import Request
from geventws.server import WebSocketServer
from geventws.websocket import WebSocket

CLIENT = ("192.0.2.1", 56324)
LINE = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
BINARY = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb"
WITH_NAME = BINARY[:15] + b"\x15" + BINARY[16:] + b"\x02\x00\x06a.test"
LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"


class Site:
    """A server of one kind (over TLS or not, with a pool or not), and connections to it."""

    def __init__(self, kind: str, folder: Path, server_context: Any, client_context: Any) -> None:
        self.kind = kind
        self.folder = folder
        self.server_context = server_context
        self.client_context = client_context
        self.servers: list[WebSocketServer] = []
        self.sockets: list[Any] = []
        self.seen: list[Request] = []

    def start(self, **options: Any) -> None:
        listener: Any = f"unix:{self.folder / 'socket'}" if self.kind == "unix" else ("127.0.0.1", 0)
        options = {"proxy_protocol": True, "trusted_proxies": ["127.0.0.1", "unix"], **options}
        if self.kind == "tls":
            options["ssl_context"] = self.server_context
        if self.kind == "pool":
            options["spawn"] = 100
        server = WebSocketServer(listener, self.handle, **options)
        self.servers.append(server)
        server.start()

    def handle(self, ws: WebSocket) -> None:
        self.seen.append(ws.request)
        for message in ws:
            ws.send(f"{message} {ws.client_address} {ws.remote_address}")

    def dial(self) -> Any:
        sock = socket.socket(socket.AF_UNIX if self.kind == "unix" else socket.AF_INET, socket.SOCK_STREAM)
        self.sockets.append(sock)
        sock.settimeout(5)
        sock.connect(self.servers[0].address)
        if self.kind != "unix":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def secured(self, sock: Any) -> Any:
        if self.kind != "tls":
            return sock
        sock = self.client_context.wrap_socket(sock, server_hostname="localhost")
        self.sockets.append(sock)
        return sock

    def open(self, *pieces: bytes, **headers: str | None) -> Peer:
        """Send a PROXY header in these pieces, and open a WebSocket."""
        sock = self.dial()
        for piece in pieces:
            sock.sendall(piece)
            if len(pieces) > 1:
                let_hub_run(2)
        return self.switch(sock, **headers)

    def switch(self, sock: Any, **headers: str | None) -> Peer:
        sock = self.secured(sock)
        sock.sendall(raw_http.request(headers={name.replace("_", "-"): value for name, value in headers.items()}))
        response, rest = raw_http.read_response(sock)
        assert response.status == 101
        return Peer(sock, client=True, head=rest)

    def end(self) -> None:
        for sock in self.sockets:
            sock.close()
        for server in self.servers:
            server.stop()


@pytest.fixture(params=["plain", "unix", "tls", "pool"])
def site(request: pytest.FixtureRequest, tmp_path: Path, server_context: Any, client_context: Any) -> Iterator[Site]:
    site = Site(request.param, tmp_path, server_context, client_context)
    yield site
    site.end()


plain = pytest.mark.parametrize("site", ["plain"], indirect=True)
Log = pytest.LogCaptureFixture


def asked(peer: Peer) -> Any:
    peer.text("I am")
    return peer.read_message()


@pytest.mark.parametrize("header", [LINE, BINARY, WITH_NAME])
def test_the_address_is_the_one_that_the_header_tells(site: Site, header: bytes) -> None:
    site.start()
    assert asked(site.open(header)) == f"I am 192.0.2.1 {CLIENT}"
    [request] = site.seen
    assert request.proxy_header is not None
    assert request.proxy_header.destination == ("198.51.100.2", 443)
    assert request.proxy_header.tlvs == (((2, b"a.test"),) if header == WITH_NAME else ())


@pytest.mark.parametrize("header", [LINE, WITH_NAME])
def test_the_header_may_be_split_at_every_byte(site: Site, header: bytes) -> None:
    site.start()
    for size in range(1, len(header)):
        assert asked(site.open(header[:size], header[size:])) == f"I am 192.0.2.1 {CLIENT}"
    assert asked(site.open(*(bytes([byte]) for byte in header))) == f"I am 192.0.2.1 {CLIENT}"


@pytest.mark.parametrize("site", ["plain", "pool"], indirect=True)
@pytest.mark.parametrize("header", [LINE, BINARY])
def test_header_request_and_first_frame_may_come_together(site: Site, header: bytes) -> None:
    site.start()
    sock = site.dial()
    sock.sendall(header + raw_http.request() + wire.frame(wire.TEXT, b"I am", key=b"abcd"))
    response, rest = raw_http.read_response(sock)
    peer = Peer(sock, client=True, head=rest)
    assert response.status == 101
    assert peer.read_message() == f"I am 192.0.2.1 {CLIENT}"


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"])
def test_a_proxy_that_tells_nothing_is_the_client_itself(site: Site, header: bytes) -> None:
    site.start()
    peer = site.open(header)
    address = peer.sock.getsockname()
    assert asked(peer) == f"I am {None if site.kind == 'unix' else '127.0.0.1'} {address}"


@pytest.mark.parametrize("begin", [LOCAL, b"", LINE[:10], LINE + b"GET"])
def test_a_proxy_that_only_looks_whether_one_listens_is_no_error(site: Site, caplog: Log, begin: bytes) -> None:
    caplog.set_level(logging.INFO if site.kind != "tls" else logging.WARNING)
    site.start()
    sock = site.dial()
    sock.sendall(begin)
    let_hub_run()
    sock.close()
    wait_until(lambda: not site.servers[0]._connections and not site.servers[0]._arrivals)
    assert not caplog.records


@pytest.mark.parametrize("garbage", [raw_http.request(), b"\x16\x03\x01\x02\x00\x01", b"PROXY TCP4 nobody\r\n"])
def test_what_is_no_header_is_closed_without_an_answer_and_one_line_in_the_log(
    site: Site, caplog: Log, garbage: bytes
) -> None:
    site.start()
    sock = site.dial()
    sock.sendall(garbage)
    try:
        assert sock.recv(100) == b""
    except ConnectionResetError:
        pass
    wait_until(lambda: not site.servers[0]._connections)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "PROXY header is not valid" in record.getMessage()
    assert site.open(LINE)


def test_who_is_not_trusted_is_turned_away(site: Site, caplog: Log) -> None:
    site.start(trusted_proxies=["192.0.2.0/24"])
    sock = site.dial()
    try:
        sock.sendall(LINE)
        assert sock.recv(100) == b""
    except (ConnectionResetError, BrokenPipeError):
        pass
    wait_until(lambda: caplog.records)
    assert [record.getMessage() for record in caplog.records] == [
        f"turned the connection from {sock.getsockname()!r} away: it is not a trusted proxy's"
    ]
    assert not site.servers[0]._connections


def test_one_deadline_holds_for_the_header_and_the_request(site: Site) -> None:
    site.start(open_timeout=0.1)
    sock = site.dial()

    def drip() -> None:
        for byte in LINE:
            try:
                sock.sendall(bytes([byte]))
            except OSError:
                return
            gevent.sleep(0.01)

    dripping = gevent.spawn(drip)
    with stopwatch() as watch:
        try:
            while sock.recv(1000):
                pass
        except ConnectionResetError:
            pass
    assert 0.1 - EARLY <= watch.seconds < 0.5
    dripping.kill()


def test_reset_in_the_header_leaves_nothing(site: Site, caplog: Log) -> None:
    caplog.set_level(logging.INFO)
    site.start()
    sock = site.dial()
    sock.sendall(LINE[:10])
    let_hub_run()
    reset(sock)
    wait_until(lambda: not site.servers[0]._connections and not site.servers[0]._arrivals)
    assert all(record.levelname == "INFO" for record in caplog.records)


@plain
def test_a_request_that_is_refused_is_answered(site: Site) -> None:
    site.start(path="/chat")
    sock = site.dial()
    sock.sendall(LINE + raw_http.request("/other"))
    assert raw_http.read_response(sock)[0].status == 404
    sock = site.dial()
    sock.sendall(BINARY + b"nonsense\r\n\r\n")
    assert raw_http.read_response(sock)[0].status == 400


@plain
def test_a_header_counts_as_one_proxy(site: Site) -> None:
    site.start(trusted_proxies=2)
    assert asked(site.open(LINE, X_Forwarded_For="6.6.6.6, 192.0.2.7")) == f"I am 192.0.2.7 {CLIENT}"


@plain
def test_a_client_that_says_more_is_not_believed(site: Site) -> None:
    site.start()
    assert asked(site.open(LINE, X_Forwarded_For="6.6.6.6")) == f"I am 192.0.2.1 {CLIENT}"


@plain
def test_connections_are_limited_by_the_address_that_the_header_tells(site: Site) -> None:
    site.start(max_connections_per_address=1)
    site.open(LINE)
    sock = site.dial()
    sock.sendall(LINE + raw_http.request())
    assert raw_http.read_response(sock)[0].status == 429
    site.open(LINE.replace(b"192.0.2.1", b"192.0.2.2"))


@plain
def test_without_the_option_a_header_is_a_malformed_request(site: Site) -> None:
    site.start(proxy_protocol=False)
    sock = site.dial()
    sock.sendall(LINE + raw_http.request())
    assert raw_http.read_response(sock)[0].status == 400


@plain
def test_many_slow_headers_hold_up_nobody(site: Site) -> None:
    site.start(backlog=1024)
    for _ in range(500):
        site.dial().sendall(LINE[:10])
    with stopwatch() as watch:
        assert asked(site.open(LINE)) == f"I am 192.0.2.1 {CLIENT}"
    assert watch.seconds < 0.5


@pytest.mark.parametrize(
    "options, error",
    [
        ({"proxy_protocol": True}, ValueError),
        ({"proxy_protocol": 1, "trusted_proxies": 1}, TypeError),
        ({"proxy_protocol": True, "trusted_proxies": []}, ValueError),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    handler: Callable[[WebSocket], None] = WebSocket.close
    with pytest.raises(error):
        WebSocketServer(("127.0.0.1", 0), handler, **options)
