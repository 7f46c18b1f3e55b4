from __future__ import annotations

import errno
import gc
import logging
import os
import resource
import socket as std_socket
import ssl as std_ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import GreenletExit, Timeout, socket, ssl
from gevent.event import Event
from gevent.pool import Pool
from tools import certificates, raw_http, wire
from tools.links import reset
from tools.peer import Peer
from tools.timing import EARLY, let_hub_run, stopwatch, wait_until

from geventws.exceptions import ConnectionClosedError, ConnectionClosedOK
from geventws.http11 import Request, Response
from geventws.server import WebSocketServer
from geventws.websocket import WebSocket


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def is_idle(server: WebSocketServer) -> bool:
    """Whether it has no connection, not even one whose request has not come."""
    return not server._connections and not server._arrivals


class Place:
    """Starts servers on one kind of transport and makes raw connections to them."""

    def __init__(self, transport: str, folder: Path, server_context: Any, client_context: Any) -> None:
        self.transport = transport
        self.folder = folder
        self.server_context = server_context
        self.client_context = client_context
        self.servers: list[WebSocketServer] = []
        self.sockets: list[Any] = []

    def start(self, handler: Any = echo, **options: Any) -> WebSocketServer:
        listener: Any = ("127.0.0.1", 0)
        if self.transport == "unix":
            listener = f"unix:{self.folder / f'socket{len(self.servers)}'}"
        if self.transport == "tls":
            options.setdefault("ssl_context", self.server_context)
        server = WebSocketServer(listener, handler, **options)
        self.servers.append(server)
        server.start()
        return server

    def dial(self, server: WebSocketServer) -> Any:
        """A plain connection to the server, also where it expects TLS."""
        family = socket.AF_UNIX if self.transport == "unix" else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        self.sockets.append(sock)
        sock.settimeout(5)
        sock.connect(server.address)
        return sock

    def connect(self, server: WebSocketServer) -> Any:
        sock = self.dial(server)
        if self.transport == "tls":
            sock = self.client_context.wrap_socket(sock, server_hostname="localhost")
            self.sockets.append(sock)
        return sock

    def ask(self, server: WebSocketServer, data: bytes) -> Response:
        sock = self.connect(server)
        sock.sendall(data)
        return raw_http.read_response(sock)[0]

    def open(self, server: WebSocketServer, data: bytes = raw_http.request()) -> Peer:
        sock = self.connect(server)
        sock.sendall(data)
        response, rest = raw_http.read_response(sock)
        assert response.status == 101
        return Peer(sock, client=True, head=rest)

    def end(self) -> None:
        for sock in self.sockets:
            sock.close()
        for server in self.servers:
            server.stop()


@pytest.fixture
def place(transport: str, tmp_path: Path, server_context: Any, client_context: Any) -> Iterator[Place]:
    place = Place(transport, tmp_path, server_context, client_context)
    yield place
    place.end()


@pytest.fixture
def tcp(tmp_path: Path) -> Iterator[Place]:
    place = Place("tcp", tmp_path, None, None)
    yield place
    place.end()


@pytest.fixture
def tls(tmp_path: Path, server_context: Any, client_context: Any) -> Iterator[Place]:
    place = Place("tls", tmp_path, server_context, client_context)
    yield place
    place.end()


@contextmanager
def running(server: WebSocketServer) -> Iterator[WebSocketServer]:
    server.start()
    try:
        yield server
    finally:
        server.stop(timeout=0)


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


# The life of a connection


def test_handler_talks_to_the_client(place: Place) -> None:
    peer = place.open(place.start())
    peer.text("hello")
    assert peer.read_message() == "hello"
    peer.binary(b"x" * 300_000)
    assert peer.read_message() == b"x" * 300_000
    peer.send_close(1000)
    assert peer.read_close() == (1000, "")
    peer.read_eof()


def test_frame_behind_the_request_is_received(place: Place) -> None:
    first = wire.frame(wire.TEXT, b"early", key=b"abcd")
    assert place.open(place.start(), raw_http.request() + first).read_message() == "early"


def test_request_may_come_byte_by_byte(place: Place) -> None:
    sock = place.connect(place.start())
    for byte in raw_http.request():
        sock.sendall(bytes([byte]))
    assert raw_http.read_response(sock)[0].status == 101


def test_connection_is_closed_with_1000_when_the_handler_returns(place: Place) -> None:
    peer = place.open(place.start(lambda ws: ws.send("bye")))
    assert peer.read_message() == "bye"
    assert peer.read_close() == (1000, "")
    peer.send_close(1000)
    peer.read_eof()


def test_connection_is_closed_with_1011_when_the_handler_raises(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    def handler(ws: WebSocket) -> None:
        if ws.recv() == "fail":
            raise RuntimeError("a bug")
        echo(ws)

    server = place.start(handler)
    other, peer = place.open(server), place.open(server)
    peer.text("fail")
    assert peer.read_close() == (1011, "")
    peer.send_close(1011)
    peer.read_eof()
    [record] = errors(caplog)
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], RuntimeError)
    other.text("x")
    other.text("y")
    assert other.read_message() == "y"


@pytest.mark.parametrize("leave", [lambda peer: peer.send_close(1001), lambda peer: reset(peer.sock)])
def test_client_that_goes_is_no_error(
    tcp: Place, caplog: pytest.LogCaptureFixture, leave: Callable[[Peer], None]
) -> None:
    ended: list[BaseException] = []

    def handler(ws: WebSocket) -> None:
        try:
            while True:
                ws.recv()
        except Exception as error:
            ended.append(error)
            raise

    server = tcp.start(handler)
    leave(tcp.open(server))
    wait_until(lambda: ended)
    assert isinstance(ended[0], ConnectionClosedOK | ConnectionClosedError)
    wait_until(lambda: is_idle(server))
    assert not errors(caplog)


def test_end_of_another_connection_is_an_error(tcp: Place, caplog: pytest.LogCaptureFixture) -> None:
    def handler(ws: WebSocket) -> None:
        raise ConnectionClosedError(None, None)

    peer = tcp.open(tcp.start(handler))
    assert peer.read_close() == (1011, "")
    assert len(errors(caplog)) == 1


def test_connection_is_ended_with_1001_when_the_handler_is_killed(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    handlers: list[Any] = []

    def handler(ws: WebSocket) -> None:
        handlers.append(gevent.getcurrent())
        ws.recv()

    peer = place.open(place.start(handler))
    wait_until(lambda: handlers)
    handlers[0].kill()
    assert peer.read_close() == (1001, "")
    assert isinstance(handlers[0].value, GreenletExit)
    assert not errors(caplog)


def test_timeout_that_the_handler_does_not_catch_is_an_error(tcp: Place, caplog: pytest.LogCaptureFixture) -> None:
    def handler(ws: WebSocket) -> None:
        with Timeout(0.01):
            ws.recv()

    assert tcp.open(tcp.start(handler)).read_close() == (1011, "")
    [record] = errors(caplog)
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], Timeout)


def test_websocket_class_that_fails_is_logged(tcp: Place, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(WebSocket):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            raise RuntimeError("a bug")

    server = tcp.start(websocket_class=Broken)
    sock = tcp.connect(server)
    sock.sendall(raw_http.request())
    assert raw_http.read_response(sock)[0].status == 101
    assert sock.recv(1) == b""
    assert len(errors(caplog)) == 1


def test_handler_may_be_a_method_of_a_subclass(tcp: Place) -> None:
    class Server(WebSocketServer):
        def handler(self, ws: WebSocket) -> None:  # type: ignore[override]
            ws.send("from the method")

    with running(Server(("127.0.0.1", 0))) as server:
        assert tcp.open(server).read_message() == "from the method"


def test_handler_sees_the_request_and_the_addresses(tcp: Place) -> None:
    seen: list[WebSocket] = []
    server = tcp.start(seen.append)
    peer = tcp.open(server, raw_http.request("/chat?room=1"))
    wait_until(lambda: seen)
    assert seen[0].request.path == "/chat"
    assert seen[0].request.query == "room=1"
    assert seen[0].local_address == server.address
    assert seen[0].remote_address == peer.sock.getsockname()


def test_process_request_sees_the_address_of_the_client(place: Place) -> None:
    seen: list[Any] = []
    server = place.start(process_request=lambda request: seen.append(request.remote_address))
    sock = place.connect(server)
    sock.sendall(raw_http.plain_request())
    assert raw_http.read_response(sock)[0].status == 426
    assert seen == [sock.getsockname()]


def test_nagle_is_off(tcp: Place) -> None:
    seen: list[Any] = []

    def look(ws: WebSocket) -> None:
        seen.append(ws._transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    tcp.open(tcp.start(look))
    wait_until(lambda: seen)
    assert seen[0]


def test_clients_are_those_whose_connection_is_open(place: Place) -> None:
    server = place.start()
    assert not server.clients
    peers = [place.open(server) for _ in range(3)]
    assert len(server.clients) == 3
    for peer in peers:
        peer.send_close(1000)
        peer.read_close()
        peer.read_eof()
        peer.sock.close()
    wait_until(lambda: not server.clients)


# Bad input


@pytest.mark.parametrize(
    "data, status, named",
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400, "control character"),
        (b"hello\r\n\r\n", 400, "request line"),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400, "CR LF"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "token"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 16384, 431, "16384"),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 128 + b"\r\n", 431, "128"),
        (b"\r\n" * 200, 431, "128"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/1.1"),
        (raw_http.request(version="HTTP/1.0"), 505, "HTTP/1.1"),
        (raw_http.plain_request(), 426, "Upgrade"),
        (raw_http.request(method="POST"), 405, "POST"),
        (raw_http.request(method="DELETE"), 405, "DELETE"),
        (raw_http.request(headers={"Sec-WebSocket-Version": "7"}), 426, "Sec-WebSocket-Version"),
        (raw_http.request(headers={"Sec-WebSocket-Version": None}), 426, "Sec-WebSocket-Version"),
        (raw_http.request(headers={"Sec-WebSocket-Key": None}), 400, "Sec-WebSocket-Key"),
        (raw_http.request(headers={"Sec-WebSocket-Key": "c2hvcnQ="}), 400, "Sec-WebSocket-Key"),
        (raw_http.request(headers={"Upgrade": "h2c"}), 426, "Upgrade"),
        (raw_http.request(headers={"Connection": None}), 400, "Connection"),
        (raw_http.request(headers={"Connection": "keep-alive"}), 400, "Connection"),
        (raw_http.request(headers={"Origin": "https://evil.example"}), 403, "Origin"),
        (raw_http.request(headers={"Origin": "null"}), 403, "Origin"),
        (raw_http.request(headers={"Host": None}), 400, "Host"),
        (raw_http.request(headers={"Content-Length": "5"}) + b"hello", 400, "Content-Length"),
        (raw_http.request(headers={"Transfer-Encoding": "chunked"}) + b"0\r\n\r\n", 400, "Transfer-Encoding"),
        (raw_http.request(headers={"Sec-WebSocket-Protocol": "a b"}), 400, "Sec-WebSocket-Protocol"),
        (raw_http.request(headers={"Sec-WebSocket-Extensions": "a;"}), 400, "Sec-WebSocket-Extensions"),
    ],
)
def test_bad_request_is_answered_with_one_line_that_names_the_fault(
    tcp: Place, data: bytes, status: int, named: str
) -> None:
    server = tcp.start()
    sock = tcp.connect(server)
    sock.sendall(data)
    response, _ = raw_http.read_response(sock)
    assert response.status == status
    assert named in response.body.decode()
    assert response.body.count(b"\n") == 1
    assert "close" in response.headers["Connection"]
    assert "Date" in response.headers
    assert sock.recv(1) == b""
    sock.close()
    assert tcp.open(server)


def test_refusal_is_readable_over_each_transport(place: Place) -> None:
    server = place.start(path="/chat")
    assert place.ask(server, raw_http.plain_request("/chat")).status == 426
    assert place.ask(server, raw_http.request("/other")).status == 404
    assert place.ask(server, b"nonsense\r\n\r\n").status == 400


def test_plain_http_can_be_answered(place: Place) -> None:
    def health(request: Request) -> Response | None:
        return Response(200, body=b"well") if request.path == "/health" else None

    server = place.start(process_request=health)
    assert place.ask(server, raw_http.plain_request("/health")).body == b"well"
    assert place.open(server)


@pytest.mark.parametrize("begin", [b"", b"\r\n", raw_http.request()[:-1]])
def test_slow_request_gets_408(place: Place, begin: bytes) -> None:
    server = place.start(open_timeout=0.05)
    response = place.ask(server, begin)
    assert response.status == 408
    assert b"0.05 s" in response.body


def test_dripping_does_not_stretch_the_deadline(place: Place) -> None:
    sock = place.connect(place.start(open_timeout=0.1))

    def drip() -> None:
        for byte in raw_http.request():
            try:
                sock.sendall(bytes([byte]))
            except OSError:
                return
            gevent.sleep(0.005)

    dripping = gevent.spawn(drip)
    with stopwatch() as watch:
        assert raw_http.read_response(sock)[0].status == 408
    assert watch.seconds < 0.5
    dripping.kill()


def test_deadline_does_not_hold_for_the_handler(tcp: Place) -> None:
    peer = tcp.open(tcp.start(open_timeout=0.05))
    with stopwatch() as watch:
        for _ in range(100):
            peer.text("x")
            assert peer.read_message() == "x"
            gevent.sleep(0.001)
    assert watch.seconds > 0.05 - EARLY


def test_connection_without_a_request_is_no_error(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    server = place.start()
    for begin in (b"", b"GET / HTTP"):
        sock = place.connect(server)
        sock.sendall(begin)
        let_hub_run()
        sock.close()
    wait_until(lambda: is_idle(server))
    assert not caplog.records


def test_reset_before_the_request_is_one_line(tcp: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server = tcp.start()
    sock = tcp.connect(server)
    sock.sendall(b"GET")
    let_hub_run()
    reset(sock)
    wait_until(lambda: is_idle(server))
    assert [record.levelname for record in caplog.records] == ["INFO"]


# TLS


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b""])
def test_failed_tls_handshake_is_one_line(tls: Place, caplog: pytest.LogCaptureFixture, data: bytes) -> None:
    caplog.set_level(logging.INFO)
    server = tls.start()
    sock = tls.dial(server)
    sock.sendall(data)
    let_hub_run()
    sock.close()
    wait_until(lambda: is_idle(server))
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert tls.open(server)


def test_slow_tls_handshake_is_ended(tls: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sock = tls.dial(tls.start(open_timeout=0.05))
    assert sock.recv(1) == b""
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_slow_tls_handshake_holds_up_nobody(tls: Place) -> None:
    server = tls.start()
    for _ in range(5):
        tls.dial(server)
    with stopwatch() as watch:
        assert tls.open(server)
    assert watch.seconds < 1


def test_certificate_may_be_given_as_files(tls: Place, tmp_path: Path) -> None:
    certificate = certificates.authority().issue_cert("localhost")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    server = tls.start(ssl_context=None, certfile=chain, keyfile=key)
    assert server.ssl_enabled
    assert tls.open(server)
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + chain.read_bytes())
    assert tls.open(tls.start(ssl_context=None, certfile=str(both)))


def test_client_must_show_a_certificate_where_the_context_says_so(
    tls: Place, mutual_server_context: Any, mutual_client_context: Any
) -> None:
    server = tls.start(ssl_context=mutual_server_context)
    with pytest.raises((ssl.SSLError, EOFError, ConnectionError)):
        tls.open(server)
    tls.client_context = mutual_client_context
    assert tls.open(server)


@pytest.mark.parametrize("standard", [False, True], ids=["gevent", "standard"])
def test_certificate_of_the_client_is_seen(
    tls: Place, mutual_server_context: Any, mutual_client_context: Any, standard: bool
) -> None:
    seen: list[Any] = []
    context = mutual_server_context
    if standard:
        context = standard_server_context()
        context.verify_mode = ssl.CERT_REQUIRED
        certificates.authority().configure_trust(context)
        context.sni_callback = lambda connection, name, context: None  # what makes it a TLSStream
    server = tls.start(
        lambda ws: seen.append(ws.peer_certificate),
        ssl_context=context,
        process_request=lambda request: seen.append(request.peer_certificate),
    )
    tls.client_context = mutual_client_context
    tls.open(server)
    wait_until(lambda: len(seen) == 2)
    assert seen[0] == seen[1]
    assert seen[0]["subjectAltName"] == (("email", "client@example.com"),)


def test_client_that_need_not_show_a_certificate_has_none(place: Place) -> None:
    seen: list[WebSocket] = []
    place.open(place.start(seen.append))
    wait_until(lambda: seen)
    assert seen[0].peer_certificate is None


def standard_server_context() -> std_ssl.SSLContext:
    context = std_ssl.SSLContext(std_ssl.PROTOCOL_TLS_SERVER)
    certificates.authority().issue_cert("localhost").configure_cert(context)
    return context


def test_standard_context_is_cooperative(tls: Place) -> None:
    server = tls.start(ssl_context=standard_server_context())
    silent = tls.dial(server)
    peer = tls.open(server)
    peer.text("x")
    assert peer.read_message() == "x"
    silent.close()


@pytest.mark.parametrize("make", [standard_server_context, certificates.server_context])
def test_context_may_choose_the_certificate_by_name(tls: Place, make: Callable[[], Any]) -> None:
    asked: list[str] = []
    other = make()

    def choose(connection: Any, name: str, context: Any) -> None:
        asked.append(name)
        connection.context = other

    chooser = type(other)(std_ssl.PROTOCOL_TLS_SERVER)
    chooser.sni_callback = choose
    peer = tls.open(tls.start(ssl_context=chooser))
    assert asked == ["localhost"]
    peer.binary(b"x" * 300_000)
    assert peer.read_message() == b"x" * 300_000
    peer.send_close(1000)
    assert peer.read_close() == (1000, "")


# Listeners


@pytest.mark.parametrize("listener", [("127.0.0.1", 0), "127.0.0.1:0", ":0", 0, ("", 0)])
def test_listener_may_be_an_address(tcp: Place, listener: Any) -> None:
    with running(WebSocketServer(listener, echo)) as server:
        assert len(server.address) == 2
        server_port = server.address[1]
        sock = socket.create_connection(("127.0.0.1", server_port))
        tcp.sockets.append(sock)
        sock.sendall(raw_http.request())
        assert raw_http.read_response(sock)[0].status == 101


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="Linux tells how long the queue may be")
@pytest.mark.parametrize("options, length", [({}, 128), ({"backlog": 7}, 7)])
def test_backlog_is_how_many_connections_the_kernel_queues(options: dict[str, int], length: int) -> None:
    with running(WebSocketServer(("127.0.0.1", 0), echo, **options)) as server:
        information = server.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    assert int.from_bytes(information[28:32], sys.byteorder) == length  # tcpi_sacked of a listening socket


@pytest.mark.parametrize("listener", [":0", "*:0", "0", 0, ("", 0)])
def test_all_addresses_are_those_of_ipv6_too(tcp: Place, listener: Any) -> None:
    try:
        std_socket.create_server(("::1", 0), family=std_socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    with running(WebSocketServer(listener, echo)) as server:
        for host in ("127.0.0.1", "::1"):
            sock = socket.create_connection((host, server.address[1]))
            tcp.sockets.append(sock)
            sock.sendall(raw_http.request())
            assert raw_http.read_response(sock)[0].status == 101


def test_all_addresses_are_those_of_ipv4_where_there_is_no_ipv6(tcp: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def without_ipv6(family: Any, kind: Any) -> Any:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, kind)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    with running(WebSocketServer(("", 0), echo)) as server:
        assert server.address[0] == "0.0.0.0"
    with WebSocketServer(("::1", 0), echo) as server, pytest.raises(OSError, match="not supported"):
        server.start()


@pytest.mark.parametrize("kind", [socket.socket, std_socket.socket])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_listener_may_be_a_listening_socket(tcp: Place, tmp_path: Path, kind: Any, family: int) -> None:
    listener = kind(family, socket.SOCK_STREAM)
    address: Any = ("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "socket")
    listener.bind(address)
    listener.listen()
    with running(WebSocketServer(listener, echo)) as server:
        tcp.transport = "tcp" if family == socket.AF_INET else "unix"
        assert tcp.open(server)
        assert tcp.open(server)
    if family == socket.AF_UNIX:
        assert os.path.exists(address)
    listener.close()


def test_unix_socket_is_removed_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = WebSocketServer(f"unix:{path}", echo)
    server.start()
    assert server.address == str(path)
    assert path.is_socket()
    server.stop()
    assert not path.exists()
    server.stop()


def test_unix_socket_that_somebody_else_removed_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with running(WebSocketServer(f"unix:{path}", echo)):
        path.unlink()


def test_unix_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
    with running(WebSocketServer(f"unix:{path}", echo)) as server:
        assert server.address == str(path)


def test_unix_path_that_is_too_long_is_told(tmp_path: Path) -> None:
    server = WebSocketServer(f"unix:{tmp_path}/{'x' * 200}", echo)
    with pytest.raises(OSError, match=r"^AF_UNIX path too long: '.*xxx'$"):
        server.start()
    server.close()


def test_unix_socket_in_use_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with running(WebSocketServer(f"unix:{path}", echo)):
        second = WebSocketServer(f"unix:{path}", echo)
        with pytest.raises(OSError, match="in use"):
            second.start()
        second.close()
        assert path.is_socket()
    plain = tmp_path / "file"
    plain.write_text("precious")
    third = WebSocketServer(f"unix:{plain}", echo)
    with pytest.raises(OSError, match="in use"):
        third.start()
    third.close()
    assert plain.read_text() == "precious"


@pytest.mark.parametrize("spawn", ["default", 10, "pool", gevent.spawn_raw])
def test_spawn_is_that_of_gevent(tcp: Place, spawn: Any) -> None:
    server = tcp.start(spawn=Pool(10) if spawn == "pool" else spawn)
    peers = [tcp.open(server) for _ in range(3)]
    for peer in peers:
        peer.text("x")
        assert peer.read_message() == "x"
    stopping = gevent.spawn(server.stop)
    for peer in peers:
        assert peer.read_close() == (1001, "")
        peer.send_close(1001)
        peer.read_eof()
        peer.sock.close()
    stopping.get(timeout=5)


def test_full_pool_accepts_when_a_place_is_free(tcp: Place) -> None:
    server = tcp.start(spawn=1)
    first = tcp.open(server)
    second = tcp.connect(server)
    second.sendall(raw_http.request())
    let_hub_run()
    assert len(server.clients) == 1
    first.send_close()
    first.read_close()
    first.read_eof()
    first.sock.close()
    assert raw_http.read_response(second)[0].status == 101


def test_a_client_that_has_left_makes_room_for_one_that_comes_at_the_same_time(tcp: Any) -> None:
    server = tcp.start(max_connections=1)
    # Sockets that hold the hub: to the server, the end of the first and all of the second happen at once.
    with std_socket.create_connection(server.address, timeout=5) as sock:
        sock.sendall(raw_http.request())
        wait_until(lambda: server.clients)
    with std_socket.create_connection(server.address, timeout=5) as sock:
        sock.sendall(raw_http.request())
        wait_until(lambda: server.stats().opened == 2 or server.stats().refused)
    assert not server.stats().refused


def test_there_are_no_more_connections_than_allowed(tcp: Place) -> None:
    server = tcp.start(max_connections=1)
    tcp.open(server)
    assert tcp.ask(server, raw_http.request()).status == 503


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"handler": None}, TypeError),
        ({"handler": "echo"}, TypeError),
        ({"spawn": None}, ValueError),
        ({"listener": "unix:"}, ValueError),
        ({"listener": "nowhere:x"}, ValueError),
        ({"listener": None}, TypeError),
        ({"keyfile": "key.pem"}, ValueError),
        ({"certfile": "cert.pem", "ssl_context": std_ssl.SSLContext(std_ssl.PROTOCOL_TLS_SERVER)}, ValueError),
        ({"certfile": "/no/such/file"}, OSError),
        ({"ssl_context": "context"}, TypeError),
        ({"ssl_context": std_ssl.SSLContext(std_ssl.PROTOCOL_TLS_CLIENT)}, ValueError),
        ({"masking_keys": lambda: b"abcd"}, ValueError),
        ({"no_such_option": 1}, TypeError),
        ({"max_size": 0}, ValueError),
        ({"open_timeout": 0}, ValueError),
        ({"path": "chat"}, ValueError),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        WebSocketServer(**({"listener": ("127.0.0.1", 0), "handler": echo} | arguments))


# Exhaustion


def test_server_survives_a_lack_of_descriptors(tcp: Place, caplog: pytest.LogCaptureFixture) -> None:
    server = tcp.start()
    tcp.open(server)
    server.stop_accepting()
    sock = tcp.dial(server)  # the kernel completes it, though nobody can accept it
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir("/proc/self/fd"))
    fillers = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
    try:
        while True:
            try:
                fillers.append(os.dup(0))
            except OSError:
                break
        server.start_accepting()
        wait_until(lambda: errors(caplog))
        let_hub_run(200)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in fillers:
            os.close(descriptor)
    [record] = errors(caplog)
    assert "cannot accept" in record.getMessage()
    sock.sendall(raw_http.request())
    assert raw_http.read_response(sock)[0].status == 101


def failing_accept(server: WebSocketServer, monkeypatch: pytest.MonkeyPatch, *codes: int) -> None:
    """The next calls of accept() fail with these codes."""
    left = list(codes)
    real = server.socket._accept

    class Listener:
        def __getattr__(self, name: str) -> Any:
            return getattr(listener, name)

        def _accept(self) -> Any:
            if left:
                code = left.pop(0)
                raise OSError(code, os.strerror(code))
            return real()

    listener = server.socket
    monkeypatch.setattr(server, "socket", Listener())


def test_connection_that_was_aborted_before_accept_is_passed_over(
    tcp: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = tcp.start()
    failing_accept(server, monkeypatch, errno.ECONNABORTED)
    assert tcp.open(server)
    assert not caplog.records


def test_other_errors_of_accept_are_logged_once_and_waited_out(
    tcp: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = tcp.start()
    failing_accept(server, monkeypatch, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
    assert tcp.open(server)
    assert len(errors(caplog)) == 1
    failing_accept(server, monkeypatch, errno.ENOMEM)
    assert tcp.open(server)
    assert len(errors(caplog)) == 2


def test_lost_listener_ends_the_server(
    tcp: Place,
    monkeypatch: pytest.MonkeyPatch,
    hub_errors: list[Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = tcp.start()
    failing_accept(server, monkeypatch, errno.EBADF)
    listener = server.socket
    with suppress(ConnectionResetError):  # the listener may be lost before the client has seen that it is connected
        tcp.dial(server)
    wait_until(lambda: server.closed)
    assert "failed with" in capsys.readouterr().err
    assert len(hub_errors) == 1
    hub_errors.clear()
    monkeypatch.undo()
    server.__dict__.pop("socket", None)
    listener.close()


# Stopping


def test_stop_closes_all_clients_with_1001(place: Place) -> None:
    server = place.start()
    peers = [place.open(server) for _ in range(5)]
    stopping = gevent.spawn(server.stop)
    for peer in peers:
        assert peer.read_close() == (1001, "")
    for peer in peers:
        peer.send_close(1001)
        peer.read_eof()
        peer.sock.close()
    stopping.get(timeout=5)
    assert not server.clients


def test_stop_may_use_another_code(tcp: Place) -> None:
    server = tcp.start()
    peer = tcp.open(server)
    gevent.spawn(server.stop, code=1012)
    assert peer.read_close() == (1012, "")
    peer.send_close(1012)
    peer.sock.close()


@pytest.mark.parametrize("code, error", [(1005, ValueError), (999, ValueError), ("1001", TypeError)])
def test_stop_with_a_code_that_may_not_be_sent_stops_nothing(tcp: Place, code: Any, error: type[Exception]) -> None:
    server = tcp.start()
    with pytest.raises(error):
        server.stop(code=code)
    assert tcp.open(server)


@pytest.mark.parametrize("timeout, error", [("5", TypeError), (True, TypeError), (float("nan"), ValueError)])
def test_stop_with_a_timeout_that_is_none_stops_nothing(tcp: Place, timeout: Any, error: type[Exception]) -> None:
    server = tcp.start()
    peer = tcp.open(server)
    with pytest.raises(error, match="timeout"):
        server.stop(timeout)
    assert server.started
    peer.text("x")
    assert peer.read_message() == "x"


def test_stop_without_clients_returns_at_once(place: Place) -> None:
    server = place.start()
    with stopwatch() as watch:
        server.stop()
    assert watch.seconds < 0.1
    assert server.closed
    with pytest.raises(OSError):
        place.connect(server)


def test_stop_of_a_server_that_was_never_started_is_no_error() -> None:
    WebSocketServer(("127.0.0.1", 0), echo).stop()


def test_stop_waits_for_handlers(tcp: Place) -> None:
    finish = Event()

    def handler(ws: WebSocket) -> None:
        echo(ws)
        finish.wait()

    server = tcp.start(handler)
    peer = tcp.open(server)
    stopping = gevent.spawn(server.stop)
    assert peer.read_close() == (1001, "")
    peer.send_close(1001)
    peer.read_eof()
    let_hub_run()
    assert not stopping.dead
    finish.set()
    stopping.get(timeout=5)


def test_stop_kills_handlers_that_take_too_long(tcp: Place, caplog: pytest.LogCaptureFixture) -> None:
    ended: list[BaseException] = []

    def handler(ws: WebSocket) -> None:
        try:
            Event().wait()
        except BaseException as error:
            ended.append(error)
            raise

    server = tcp.start(handler)
    peer = tcp.open(server)
    with stopwatch() as watch:
        server.stop(timeout=0.05)
    assert 0.05 - EARLY <= watch.seconds < 1
    assert isinstance(ended[0], GreenletExit)
    assert peer.read_close() == (1001, "")
    assert not errors(caplog)


def test_stop_gives_up_on_handlers_that_do_not_die(tcp: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geventws.server._KILL_TIMEOUT", 0.05)
    finish = Event()

    def handler(ws: WebSocket) -> None:
        while not finish.is_set():
            try:
                finish.wait()
            except GreenletExit:
                pass

    server = tcp.start(handler)
    peer = tcp.open(server)
    with stopwatch() as watch:
        server.stop(timeout=0)
    assert watch.seconds < 1
    peer.send_close(1001)
    finish.set()
    wait_until(lambda: is_idle(server))


def test_stop_ends_connections_that_are_not_open_yet(place: Place) -> None:
    server = place.start()
    sock = place.dial(server)
    sock.sendall(b"" if place.transport == "tls" else b"GET /")
    wait_until(lambda: not is_idle(server))
    with stopwatch() as watch:
        server.stop()
    assert watch.seconds < 1
    try:
        assert sock.recv(1) == b""
    except ConnectionResetError:
        pass


def test_connection_that_was_accepted_right_before_stop_is_ended(tcp: Place) -> None:
    server = tcp.start()
    sock = tcp.dial(server)
    server._do_read()
    server.stop()
    assert sock.recv(1) == b""


def test_handler_may_stop_the_server(tcp: Place) -> None:
    def handler(ws: WebSocket) -> None:
        ws.recv()
        server.stop()

    server = tcp.start(handler)
    peers = [tcp.open(server), tcp.open(server)]
    peers[0].text("stop")
    for peer in peers:
        assert peer.read_close() == (1001, "")
        peer.send_close(1001)
        peer.read_eof()
        peer.sock.close()
    wait_until(lambda: is_idle(server))
    assert server.closed


def test_second_stop_waits_for_the_first(tcp: Place) -> None:
    finish = Event()
    server = tcp.start(lambda ws: finish.wait())
    peer = tcp.open(server)
    first = gevent.spawn(server.stop, timeout=30, code=1012)
    second = gevent.spawn(server.stop, timeout=0)
    assert peer.read_close() == (1012, "")
    let_hub_run()
    assert not second.dead
    peer.send_close(1012)
    finish.set()
    gevent.joinall([first, second], timeout=5, raise_error=True)
    assert second.dead


def test_killed_stop_can_be_repeated(tcp: Place) -> None:
    finish = Event()
    server = tcp.start(lambda ws: finish.wait())
    peer = tcp.open(server)
    first = gevent.spawn(server.stop, timeout=30)
    let_hub_run()
    first.kill()
    finish.set()
    peer.send_close(1001)
    server.stop()
    assert not server._connections


def test_serve_forever_returns_after_stop(tcp: Place) -> None:
    server = WebSocketServer(("127.0.0.1", 0), echo)
    serving = gevent.spawn(server.serve_forever)
    wait_until(lambda: server.started)
    peer = tcp.open(server)
    gevent.spawn(server.stop)
    assert peer.read_close() == (1001, "")
    peer.send_close(1001)
    peer.sock.close()
    serving.get(timeout=5)


def test_close_leaves_the_connections_open(tcp: Place) -> None:
    server = tcp.start()
    peer = tcp.open(server)
    server.close()
    peer.text("x")
    assert peer.read_message() == "x"


def test_server_can_be_started_again(tcp: Place) -> None:
    server = tcp.start()
    server.stop()
    server.start()
    assert tcp.open(server)


def test_connections_leave_no_garbage(tcp: Place) -> None:
    before = list(filter(is_websocket, gc.get_objects()))  # what other tests have left
    server = tcp.start()
    for _ in range(3):
        peer = tcp.open(server)
        peer.send_close()
        peer.read_close()
        peer.sock.close()
    wait_until(lambda: is_idle(server) and not server.clients)
    let_hub_run()
    gc.collect()
    assert not [ws for ws in filter(is_websocket, gc.get_objects()) if not any(ws is other for other in before)]


def is_websocket(thing: object) -> bool:
    return isinstance(thing, WebSocket)


def test_request_that_cannot_be_read_is_told_to_on_handshake_error(tcp: Place) -> None:
    seen: list[Any] = []

    def on_error(error: Exception, request: Request | None) -> Response:
        seen.append((str(error), request))
        return Response(418)

    server = tcp.start(on_handshake_error=on_error, open_timeout=0.05)
    assert tcp.ask(server, b"nonsense\r\n\r\n").status == 418
    assert tcp.ask(server, b"").status == 418
    [(malformed, first), (slow, second)] = seen
    assert "request line" in malformed
    assert "too long" in slow
    assert first is second is None
