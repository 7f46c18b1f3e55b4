from __future__ import annotations

import errno
import os
import socket as std_socket
import ssl as std_ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent import GreenletExit, Timeout, socket, ssl
from programs import Program
from tools import certificates, raw_http, wire
from tools.links import tcp_pair
from tools.peer import Peer
from tools.timing import EARLY, let_hub_run, stopwatch, wait_until

from geventws import client
from geventws.client import connect
from geventws.deflate import PerMessageDeflate
from geventws.exceptions import HandshakeError, InvalidHeader, InvalidStatus, InvalidURL, ProxyError
from geventws.http11 import Request, RequestParser
from geventws.options import Options
from geventws.server import WebSocketServer
from geventws.tls import start_tls
from geventws.websocket import WebSocket


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


class Host:
    """A server that a function plays: it is called with each accepted socket and the request that was read from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[Request] = []
        self._listeners: list[Any] = []
        self._greenlets: list[Any] = []
        self._sockets: list[Any] = []

    def listen(self, play: Callable[[Any, Request], object], transport: str = "tcp", context: Any = None) -> str:
        """Returns the URL; ``play`` may also be the bytes to answer with before the connection is closed."""
        family = socket.AF_UNIX if transport == "unix" else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        path = str(self.folder / f"host{len(self._listeners)}")
        listener.bind(path if transport == "unix" else ("127.0.0.1", 0))
        listener.listen()
        self._listeners.append(listener)
        if transport == "tls":
            context = context or certificates.server_context()
        self._greenlets.append(gevent.spawn(self._accept, listener, play, context))
        if transport == "unix":
            return f"ws+unix:{path}:/"
        scheme = "ws" if context is None else "wss"
        return f"{scheme}://localhost:{listener.getsockname()[1]}/"

    def _accept(self, listener: Any, play: Any, context: Any) -> None:
        while True:
            sock, _ = listener.accept()
            self._sockets.append(sock)
            self._greenlets.append(gevent.spawn(self._serve, sock, play, context))

    def _serve(self, sock: Any, play: Any, context: Any) -> None:
        with suppress(OSError):
            try:
                if context is not None:
                    sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                    self._sockets.append(sock)
                    sock.do_handshake()
                parser = RequestParser()
                request = None
                while request is None:
                    data = sock.recv(65536)
                    if not data:
                        return
                    request = parser.feed(data)
                self.requests.append(request)
                if isinstance(play, bytes):
                    sock.sendall(play)
                else:
                    play(sock, request)
            finally:
                sock.close()

    def end(self) -> None:
        gevent.killall(self._greenlets)
        for sock in self._listeners + self._sockets:
            sock.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.end()


Open = Callable[..., WebSocket]


@pytest.fixture
def open_ws(client_context: Any) -> Iterator[Open]:
    """`connect` that trusts the tests' certificates, and ends what it has opened."""
    opened: list[WebSocket] = []

    def make(url: str, **options: Any) -> WebSocket:
        if url.startswith("wss"):
            options.setdefault("ssl_context", client_context)
        opened.append(connect(url, **options))
        return opened[-1]

    yield make
    for ws in opened:
        ws.terminate()


@pytest.fixture
def serve(transport: str, tmp_path: Path, server_context: Any) -> Iterator[Callable[..., str]]:
    """Starts a WebSocketServer on the transport; returns its URL."""
    servers: list[WebSocketServer] = []

    def start(handler: Any = echo, **options: Any) -> str:
        path = tmp_path / f"server{len(servers)}"
        if transport == "tls":
            options.setdefault("ssl_context", server_context)
        server = WebSocketServer(f"unix:{path}" if transport == "unix" else ("127.0.0.1", 0), handler, **options)
        servers.append(server)
        server.start()
        if transport == "unix":
            return f"ws+unix:{path}:/"
        return f"{'wss' if transport == 'tls' else 'ws'}://localhost:{server.address[1]}/"

    yield start
    for server in servers:
        server.stop(timeout=1)


def accept(sock: Any, request: Request, *lines: str, behind: bytes = b"") -> None:
    """Answer with 101, and go on reading until the client goes."""
    sock.sendall(raw_http.answer(request.headers["Sec-WebSocket-Key"], *lines) + behind)
    while sock.recv(65536):
        pass


def stay_silent(sock: Any, request: Request) -> None:
    sock.recv(1)


# A connection


def test_client_talks_to_the_server(serve: Callable[..., str], open_ws: Open, transport: str) -> None:
    url = serve(lambda ws: echo(ws))
    ws = open_ws(f"{url}chat?room=1")
    ws.send("hello")
    assert ws.recv(timeout=5) == "hello"
    ws.send(b"x" * 300_000)
    assert ws.recv(timeout=5) == b"x" * 300_000
    assert ws.url == f"{url}chat?room=1"
    assert ws.request.target == "/chat?room=1"
    assert ws.response.status == 101
    ws.close()
    assert ws.close_code == 1000


def test_options_reach_the_connection_and_the_server(serve: Callable[..., str], open_ws: Open) -> None:
    class Mine(WebSocket):
        pass

    url = serve(subprotocols=["b"], compression=True)
    ws = open_ws(url, subprotocols=iter(["a", "b"]), websocket_class=Mine, max_size=10, ping_interval=None)
    assert type(ws) is Mine
    assert ws.subprotocol == "b"
    assert ws.extensions == "permessage-deflate"
    assert ws._options == Options(max_size=10, ping_interval=None)
    assert open_ws(url, compression=False).extensions == ""
    settings = PerMessageDeflate(client_no_context_takeover=True)
    assert "client_no_context_takeover" in open_ws(url, compression=settings).extensions


def test_version_8_and_its_origin_header_are_spoken(serve: Callable[..., str], open_ws: Open) -> None:
    ws = open_ws(serve(origins=["https://example.com"]), version=8, origin="https://example.com")
    ws.send("x")
    assert ws.recv(timeout=5) == "x"
    assert ws.request.headers["Sec-WebSocket-Origin"] == "https://example.com"


@pytest.mark.parametrize("transport", ["tcp", "tls", "unix"])
@pytest.mark.parametrize("split", [1, 2, 3, None])
def test_frames_behind_the_answer_are_received(host: Host, open_ws: Open, transport: str, split: int | None) -> None:
    frames = wire.frame(wire.TEXT, b"early") + wire.frame(wire.TEXT, b"bird")

    def play(sock: Any, request: Request) -> None:
        accept(sock, request, behind=frames[:split])

    def rest(sock: Any, request: Request) -> None:
        sock.sendall(raw_http.answer(request.headers["Sec-WebSocket-Key"]) + frames[:split])
        sock.sendall(frames[split:])
        sock.recv(1)

    ws = open_ws(host.listen(play if split is None else rest, transport))
    assert [ws.recv(timeout=5), ws.recv(timeout=5)] == ["early", "bird"]


def test_answer_may_come_byte_by_byte(host: Host, open_ws: Open) -> None:
    def play(sock: Any, request: Request) -> None:
        answer = raw_http.answer(request.headers["Sec-WebSocket-Key"]) + wire.frame(wire.TEXT, b"x")
        for byte in answer:
            sock.sendall(bytes([byte]))
            gevent.sleep(0)
        sock.recv(1)

    assert open_ws(host.listen(play)).recv(timeout=5) == "x"


def test_interim_answers_are_skipped(host: Host, open_ws: Open) -> None:
    def play(sock: Any, request: Request) -> None:
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        accept(sock, request)

    assert open_ws(host.listen(play)).response.status == 101


def test_credentials_in_the_url_are_sent_and_not_shown(host: Host, open_ws: Open) -> None:
    url = host.listen(accept).replace("ws://", "ws://ada:p%40ss@")
    ws = open_ws(url)
    assert ws.request.headers["Authorization"] == "Basic YWRhOnBAc3M="
    assert "p%40ss" not in ws.url + repr(ws)


def test_auth_is_sent(host: Host, open_ws: Open) -> None:
    assert open_ws(host.listen(accept), auth=("ada", "p@ss")).request.headers["Authorization"] == "Basic YWRhOnBAc3M="


def test_given_headers_are_sent(host: Host, open_ws: Open) -> None:
    open_ws(host.listen(accept), headers=[("Cookie", "a=1"), ("X-Y", "1"), ("X-Y", "2"), ("Host", "other.example")])
    [request] = host.requests
    assert request.headers["Cookie"] == "a=1"
    assert request.headers.get_all("X-Y") == ["1", "2"]
    assert request.headers.get_all("Host") == ["other.example"]


def test_process_request_may_edit_the_request(host: Host, open_ws: Open) -> None:
    def sign(request: Request) -> None:
        request.headers["X-Signature"] = request.target

    open_ws(host.listen(accept), process_request=sign)
    assert host.requests[0].headers["X-Signature"] == "/"


def test_process_request_sees_the_server_before_anything_is_sent(
    serve: Callable[..., str], open_ws: Open, transport: str
) -> None:
    seen: list[Any] = []
    ws = open_ws(serve(), process_request=lambda sent: seen.append((sent.remote_address, sent.peer_certificate)))
    assert seen == [(ws.remote_address, ws.peer_certificate)]
    assert bool(ws.remote_address)
    assert (ws.peer_certificate is not None) is (transport == "tls")


def test_certificate_of_the_server_is_seen(host: Host, open_ws: Open) -> None:
    ws = open_ws(host.listen(accept, "tls"))
    assert ws.peer_certificate is not None
    assert ("DNS", "localhost") in ws.peer_certificate["subjectAltName"]
    ws.terminate()
    assert ("DNS", "localhost") in ws.peer_certificate["subjectAltName"]


def test_process_request_may_take_a_header_away(host: Host, open_ws: Open) -> None:
    def anonymous(request: Request) -> None:
        del request.headers["User-Agent"]

    open_ws(host.listen(accept), process_request=anonymous)
    assert "User-Agent" not in host.requests[0].headers


def test_process_request_cannot_change_the_handshake(host: Host) -> None:
    def spoil(request: Request) -> None:
        request.headers["Sec-WebSocket-Key"] = raw_http.KEY

    with pytest.raises(ValueError, match="cannot be changed"):
        connect(host.listen(accept), process_request=spoil)
    assert not host.requests


def test_error_of_process_request_passes(host: Host) -> None:
    error = RuntimeError("a bug")

    def fail(request: Request) -> None:
        raise error

    with pytest.raises(RuntimeError) as caught:
        connect(host.listen(accept), process_request=fail)
    assert caught.value is error


def test_websocket_class_that_fails_leaves_nothing(host: Host) -> None:
    class Broken(WebSocket):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        connect(host.listen(accept), websocket_class=Broken)


def test_ipv6_addresses_are_reached(open_ws: Open) -> None:
    server = WebSocketServer(("::1", 0), echo)
    try:
        server.start()
    except OSError:
        pytest.skip("there is no IPv6 here")
    with server:
        ws = open_ws(f"ws://[::1]:{server.address[1]}/")
        assert ws.request.headers["Host"] == f"[::1]:{server.address[1]}"
        ws.close()


def test_source_address_is_used(host: Host, open_ws: Open) -> None:
    ws = open_ws(host.listen(accept).replace("localhost", "127.0.0.1"), source_address=("127.0.0.2", 0))
    assert ws.local_address[0] == "127.0.0.2"


# Answers that open no connection


def test_other_status_is_raised_with_the_answer(host: Host) -> None:
    url = host.listen(b"HTTP/1.1 403 No\r\nX-Reason: because\r\nContent-Length: 5\r\n\r\nnever, and more")
    with pytest.raises(InvalidStatus, match="403 No") as caught:
        connect(url)
    response = caught.value.response
    assert (response.status, response.reason, response.headers["X-Reason"]) == (403, "No", "because")
    assert response.body == b"never"


def test_server_refuses_and_the_client_can_read_why(serve: Callable[..., str], client_context: Any) -> None:
    url = serve(path="/chat")
    options = {"ssl_context": client_context} if url.startswith("wss") else {}
    with pytest.raises(InvalidStatus) as caught:
        connect(url, **options)
    assert caught.value.response.status == 404
    assert caught.value.response.body == b"there is no WebSocket here\n"


@pytest.mark.parametrize(
    "rest",
    [
        b"\r\nuntil the end",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nuntil\r\n8;x=y\r\n the end\r\n0\r\n\r\n",
        b"Content-Length: 13\r\n\r\nuntil the end",
    ],
)
def test_body_of_a_refusal_is_decoded(host: Host, rest: bytes) -> None:
    head = b"HTTP/1.1 500 Oops\r\n"

    def play(sock: Any, request: Request) -> None:
        for byte in head + rest:
            sock.sendall(bytes([byte]))

    for plays in (head + rest, play):
        with pytest.raises(InvalidStatus) as caught:
            connect(host.listen(plays))
        assert caught.value.response.body == b"until the end"


def test_body_of_a_refusal_is_capped(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_BODY", 100_000)

    def play(sock: Any, request: Request) -> None:
        sock.sendall(b"HTTP/1.1 500 Oops\r\n\r\n")
        while True:
            sock.sendall(b"x" * 65536)

    with pytest.raises(InvalidStatus) as caught:
        connect(host.listen(play))
    assert caught.value.response.body == b"x" * 100_000


def test_body_of_a_refusal_ends_at_the_deadline(host: Host) -> None:
    def play(sock: Any, request: Request) -> None:
        sock.sendall(b"HTTP/1.1 503 Busy\r\n\r\nsome")
        sock.recv(1)

    with stopwatch() as watch, pytest.raises(InvalidStatus) as caught:
        connect(host.listen(play), open_timeout=0.05)
    assert watch.seconds < 1
    assert caught.value.response.body == b"some"


def test_body_of_a_refusal_ends_where_the_connection_breaks(host: Host) -> None:
    def play(sock: Any, request: Request) -> None:
        from tools.links import reset

        sock.sendall(b"HTTP/1.1 503 Busy\r\n\r\nsome")
        let_hub_run()
        reset(sock)

    with pytest.raises(InvalidStatus) as caught:
        connect(host.listen(play))
    assert caught.value.response.body == b"some"


def test_timeout_of_the_callers_passes_while_the_body_is_read(host: Host) -> None:
    def play(sock: Any, request: Request) -> None:
        sock.sendall(b"HTTP/1.1 503 Busy\r\n\r\nsome")
        sock.recv(1)

    with pytest.raises(Timeout) as caught, Timeout(0.05) as timeout:
        connect(host.listen(play))
    assert caught.value is timeout


@pytest.mark.parametrize(
    "answer",
    [
        b"hello\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX",
        b"HTTP/1.1 200 OK\r\nX : 1\r\n\r\n",
        b"HTTP/1.1 101\r\nX: " + b"x" * 16384,
        b"HTTP/1.1 101\r\n" + b"X: 1\r\n" * 200,
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"",
    ],
)
def test_answer_that_is_no_http_is_an_error(host: Host, answer: bytes) -> None:
    with pytest.raises(HandshakeError):
        connect(host.listen(answer))


@pytest.mark.parametrize(
    "lines",
    [
        ["Sec-WebSocket-Protocol: other"],
        ["Sec-WebSocket-Extensions: x-other"],
        ["Sec-WebSocket-Extensions: permessage-deflate; x=1"],
        ["Upgrade: h2c"],
        ["Sec-WebSocket-Accept: again"],
    ],
)
def test_101_that_does_not_fit_is_an_error(host: Host, lines: list[str]) -> None:
    with pytest.raises(InvalidHeader) as caught:
        connect(host.listen(lambda sock, request: accept(sock, request, *lines)))
    assert caught.value.response is not None
    assert caught.value.response.status == 101


# The deadline


def hang(*arguments: Any) -> None:
    gevent.event.Event().wait()


@pytest.mark.parametrize(
    "name, step",
    [("resolve", "the name lookup"), ("dial", "the connection"), ("start_tls", "the TLS handshake")],
)
def test_each_step_ends_at_the_deadline(host: Host, monkeypatch: pytest.MonkeyPatch, name: str, step: str) -> None:
    if name == "start_tls":
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"wss://127.0.0.1:{listener.getsockname()[1]}/"
    else:
        url = "ws://localhost:1/"
        monkeypatch.setattr(client, name, hang)
    with stopwatch() as watch, pytest.raises(TimeoutError, match=f"{step} took too long: the deadline of 0.05 s"):
        connect(url, open_timeout=0.05)
    assert watch.seconds < 1
    if name == "start_tls":
        listener.close()


@pytest.mark.parametrize("transport", ["tcp", "tls", "unix"])
def test_silent_server_ends_at_the_deadline(host: Host, transport: str, client_context: Any) -> None:
    url = host.listen(stay_silent, transport)
    options = {"ssl_context": client_context} if transport == "tls" else {}
    with pytest.raises(TimeoutError, match="the opening handshake took too long"):
        connect(url, open_timeout=0.1, **options)


def test_dripping_does_not_stretch_the_deadline(host: Host) -> None:
    def play(sock: Any, request: Request) -> None:
        while True:
            sock.sendall(b"HTTP/1.1 100 Wait\r\n\r\n")
            gevent.sleep(0.005)

    with stopwatch() as watch, pytest.raises(TimeoutError):
        connect(host.listen(play), open_timeout=0.05)
    assert watch.seconds < 1


def test_deadline_is_one_for_all_redirects(host: Host) -> None:
    def play(sock: Any, request: Request) -> None:
        gevent.sleep(0.04)
        sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n")

    with stopwatch() as watch, pytest.raises(TimeoutError):
        connect(host.listen(play), open_timeout=0.1, max_redirects=100)
    assert watch.seconds < 1


def test_deadline_ends_when_the_connection_is_open(serve: Callable[..., str], open_ws: Open) -> None:
    ws = open_ws(serve(), open_timeout=0.1)
    with stopwatch() as watch:
        for _ in range(150):
            ws.send("x")
            assert ws.recv(timeout=5) == "x"
            gevent.sleep(0.001)
    assert watch.seconds > 0.1 - EARLY


def test_there_may_be_no_deadline(host: Host, open_ws: Open) -> None:
    assert open_ws(host.listen(accept), open_timeout=None).response.status == 101


@pytest.mark.parametrize("transport", ["tcp", "tls", "unix"])
@pytest.mark.parametrize("error", [GreenletExit(), Timeout(), KeyboardInterrupt(), MemoryError()])
def test_exception_thrown_in_passes_and_leaves_nothing(
    host: Host, transport: str, error: BaseException, client_context: Any
) -> None:
    url = host.listen(stay_silent, transport)
    options = {"ssl_context": client_context} if transport == "tls" else {}
    me = gevent.getcurrent()

    def throw() -> None:
        wait_until(lambda: host.requests)
        gevent.get_hub().loop.run_callback(me.throw, error)

    gevent.spawn(throw)
    with pytest.raises(type(error)) as caught:
        connect(url, **options)
    assert caught.value is error


@pytest.mark.parametrize("transport", ["tcp", "tls", "unix"])
def test_kill_at_any_time_leaves_nothing(host: Host, transport: str, client_context: Any) -> None:
    url = host.listen(accept, transport)
    options = {"ssl_context": client_context} if transport == "tls" else {}
    for turns in range(30):
        opening = gevent.spawn(connect, url, **options)
        let_hub_run(turns)
        opening.kill()
        if isinstance(opening.value, WebSocket):
            opening.value.terminate()


# The socket


def test_given_socket_is_used(serve: Callable[..., str], open_ws: Open, transport: str) -> None:
    url = serve()
    for kind in (socket.socket, std_socket.socket):
        if transport == "unix":
            sock = kind(std_socket.AF_UNIX)
            sock.connect(url.split(":")[1])
        else:
            sock = kind(std_socket.AF_INET)
            sock.connect(("127.0.0.1", int(url.rpartition(":")[2].rstrip("/"))))
        ws = open_ws("wss://localhost/" if transport == "tls" else "ws://nowhere.invalid/", sock=sock)
        ws.send("x")
        assert ws.recv(timeout=5) == "x"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 403 No\r\n\r\n"])
def test_given_socket_is_closed_when_there_is_no_connection(host: Host, answer: bytes) -> None:
    url = host.listen(answer)
    sock = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2].rstrip("/"))))
    with pytest.raises(HandshakeError):
        connect(url, sock=sock)
    assert sock.fileno() == -1


def test_refused_connection_is_an_oserror() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        connect(f"ws://127.0.0.1:{port}/")


def test_missing_unix_socket_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        connect(f"ws+unix:{tmp_path / 'nothing'}:/")


def test_unknown_host_is_an_oserror(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("gevent.socket.getaddrinfo", getaddrinfo)
    with pytest.raises(socket.gaierror):
        connect("ws://nowhere.invalid/")


def test_reset_by_the_server_is_an_oserror(host: Host) -> None:
    from tools.links import reset

    with pytest.raises(ConnectionResetError):
        connect(host.listen(lambda sock, request: reset(sock)))


# TLS


def test_certificate_is_verified_by_default(host: Host) -> None:
    with pytest.raises(std_ssl.SSLCertVerificationError):
        connect(host.listen(accept, "tls"))
    assert not host.requests


def test_name_in_the_certificate_is_verified(host: Host, client_context: Any) -> None:
    url = host.listen(accept, "tls")
    with pytest.raises(std_ssl.SSLCertVerificationError, match=r"other\.example"):
        connect(url, ssl_context=client_context, server_hostname="other.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates.authority().issue_cert("other.example", "b\xfccher.example").configure_cert(context)
    other = host.listen(accept, "tls", context)
    with pytest.raises(std_ssl.SSLCertVerificationError, match="localhost"):
        connect(other, ssl_context=client_context)
    for name in ("other.example", "b\xfccher.example"):
        connect(other, ssl_context=client_context, server_hostname=name).terminate()


def test_ip_addresses_are_verified_too(host: Host, open_ws: Open) -> None:
    assert open_ws(host.listen(accept, "tls").replace("localhost", "127.0.0.1")).response.status == 101


def test_name_is_told_to_the_server(host: Host, open_ws: Open) -> None:
    names: list[str] = []
    context = certificates.server_context()
    context.sni_callback = lambda connection, name, context: names.append(name)
    url = host.listen(accept, "tls", context)
    open_ws(url.replace("localhost", "LOCALHOST."), proxy=agent_for(url))
    assert names == ["localhost"]


def test_alpn_is_that_of_the_context(host: Host, open_ws: Open) -> None:
    def play(sock: Any, request: Request) -> None:
        agreed.append(sock.selected_alpn_protocol())
        accept(sock, request)

    agreed: list[str | None] = []
    server, client_ = certificates.server_context(), certificates.client_context()
    server.set_alpn_protocols(["h2", "http/1.1"])
    client_.set_alpn_protocols(["http/1.1"])
    open_ws(host.listen(play, "tls", server), ssl_context=client_)
    assert agreed == ["http/1.1"]


def test_environment_names_the_authorities_and_where_tls_keys_are_logged(host: Host, tmp_path: Path) -> None:
    certificates.authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    url = host.listen(accept, "tls")
    code = "import sys, geventws; geventws.connect(sys.argv[1]).terminate()"
    files = {"SSL_CERT_FILE": str(tmp_path / "ca.pem"), "SSLKEYLOGFILE": str(tmp_path / "keys.log")}
    with Program("-c", code, url, env={**os.environ, **files}) as program:
        assert program.finish() == (0, "", "")
    assert "CLIENT_TRAFFIC_SECRET_0" in (tmp_path / "keys.log").read_text()


def test_standard_context_is_cooperative(host: Host, open_ws: Open) -> None:
    context = std_ssl.SSLContext(std_ssl.PROTOCOL_TLS_CLIENT)
    certificates.authority().configure_trust(context)
    ws = open_ws(host.listen(accept, "tls"), ssl_context=context)
    assert ws.response.status == 101


def test_client_may_show_a_certificate(
    host: Host, open_ws: Open, mutual_server_context: Any, mutual_client_context: Any
) -> None:
    url = host.listen(accept, "tls", mutual_server_context)
    assert open_ws(url, ssl_context=mutual_client_context).response.status == 101
    with pytest.raises((std_ssl.SSLError, ConnectionError, HandshakeError)):
        open_ws(url)


def test_wss_never_goes_without_tls(host: Host) -> None:
    seen: list[bytes] = []
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()

    def sniff() -> None:
        sock, _ = listener.accept()
        seen.append(sock.recv(65536))
        sock.close()

    sniffing = gevent.spawn(sniff)
    with pytest.raises(OSError):
        connect(f"wss://localhost:{listener.getsockname()[1]}/secret")
    sniffing.join(timeout=5)
    assert b"secret" not in seen[0]
    assert seen[0][:1] == b"\x16"
    listener.close()


# Redirects


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 100\r\n\r\n".encode()


def test_redirects_are_not_followed_by_default(host: Host) -> None:
    url = host.listen(b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 2\r\n\r\nno")
    with pytest.raises(InvalidStatus) as caught:
        connect(url)
    assert caught.value.response.headers["Location"] == "/there"
    assert caught.value.response.body == b"no"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/there?x=1", "there?x=1", "../there?x=1", "{url}there?x=1", "{http}there?x=1"])
def test_redirects_are_followed(host: Host, open_ws: Open, status: int, location: str) -> None:
    def play(sock: Any, request: Request) -> None:
        if request.path == "/there":
            accept(sock, request)
        else:
            sock.sendall(redirect(location.format(url=url, http=url.replace("ws:", "http:")), status))

    url = host.listen(play)
    ws = open_ws(url, max_redirects=1, auth=("ada", "p"), headers={"Cookie": "a=1", "Host": "virtual.example"})
    assert ws.request.target == "/there?x=1"
    assert ws.url == f"{url}there?x=1"
    for name in ("Authorization", "Cookie", "Host"):
        assert host.requests[1].headers[name] == host.requests[0].headers[name]


def test_redirects_are_limited(host: Host) -> None:
    with pytest.raises(InvalidStatus):
        connect(host.listen(redirect("/")), max_redirects=3)
    assert len(host.requests) == 4


@pytest.mark.parametrize("answer", [b"HTTP/1.1 302 Found\r\n\r\n", b"HTTP/1.1 304 Same\r\nLocation: /\r\n\r\n"])
def test_answer_that_leads_nowhere_is_raised(host: Host, answer: bytes) -> None:
    with pytest.raises(InvalidStatus):
        connect(host.listen(answer), max_redirects=3)


def test_credentials_and_cookies_are_not_sent_to_another_origin(host: Host, open_ws: Open) -> None:
    given = {"Cookie": "a=1", "Host": "virtual.example", "X-Other": "1", "Proxy-Authorization": "x"}
    back = host.listen(lambda sock, request: accept(sock, request) if request.path == "/in" else sock.sendall(away))
    other = host.listen(redirect(f"{back}in"))
    away = redirect(other)
    ws = open_ws(back.replace("ws://", "ws://ada:p@"), max_redirects=2, headers=given, origin="https://page.example")
    first, second, third = host.requests
    assert "Authorization" in first.headers
    assert first.headers["Cookie"] == "a=1"
    for request in (second, third):
        for name in ("Authorization", "Cookie", "Proxy-Authorization"):
            assert name not in request.headers
        assert request.headers["Host"].startswith("localhost:")
        assert request.headers["X-Other"] == "1"
        assert request.headers["Origin"] == "https://page.example"
    assert ws.url == f"{back}in"


def test_authorization_and_auth_are_not_sent_to_another_origin(host: Host, open_ws: Open) -> None:
    url = host.listen(redirect(host.listen(accept)))
    for credentials in ({"auth": ("ada", "p")}, {"headers": {"authorization": "Bearer x"}}):
        open_ws(url, max_redirects=1, **credentials)
        first, second = host.requests[-2:]
        assert "Authorization" in first.headers
        assert "Authorization" not in second.headers


def test_credentials_in_the_location_are_sent(host: Host, open_ws: Open) -> None:
    url = host.listen(redirect(host.listen(accept).replace("//", "//bob:q@")))
    ws = open_ws(url, max_redirects=1, auth=("ada", "p"))
    assert ws.request.headers["Authorization"] == "Basic Ym9iOnE="


def test_redirect_from_wss_to_ws_is_not_followed(host: Host, client_context: Any) -> None:
    plain = host.listen(accept)
    with pytest.raises(HandshakeError, match="from wss to ws") as caught:
        connect(host.listen(redirect(plain), "tls"), max_redirects=5, ssl_context=client_context)
    assert caught.value.response is not None
    assert len(host.requests) == 1


def test_redirect_from_ws_to_wss_is_followed(host: Host, open_ws: Open, client_context: Any) -> None:
    url = host.listen(redirect(host.listen(accept, "tls")))
    assert open_ws(url, max_redirects=1, ssl_context=client_context).url.startswith("wss://")


def test_name_to_verify_is_not_kept_for_another_origin(host: Host, client_context: Any) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates.authority().issue_cert("other.example").configure_cert(context)
    first = host.listen(redirect(host.listen(accept, "tls", context)), "tls", context)
    with pytest.raises(std_ssl.SSLCertVerificationError, match="localhost"):
        connect(first, max_redirects=1, ssl_context=client_context, server_hostname="other.example")
    assert len(host.requests) == 1


@pytest.mark.parametrize("location", ["ftp://a/", "ws://", "ws://a b/", "ws+unix:/tmp/x:/", "ws://a:99999/"])
def test_location_that_is_no_url_is_an_error(host: Host, location: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        connect(host.listen(redirect(location)), max_redirects=1)
    assert caught.value.response is not None
    assert caught.value.response.status == 302


def test_on_redirect_may_edit_the_next_request(host: Host, open_ws: Open) -> None:
    seen: list[str] = []

    def again(url: str, request: Request) -> None:
        seen.append(url)
        assert "Cookie" not in request.headers
        request.headers["Cookie"] = "b=2"

    there = host.listen(accept)
    open_ws(host.listen(redirect(there)), max_redirects=1, on_redirect=again, headers={"Cookie": "a=1"})
    assert seen == [there]
    assert [request.headers["Cookie"] for request in host.requests] == ["a=1", "b=2"]


def test_on_redirect_may_give_up(host: Host) -> None:
    def refuse(url: str, request: Request) -> None:
        raise PermissionError(url)

    with pytest.raises(PermissionError):
        connect(host.listen(redirect("/there")), max_redirects=1, on_redirect=refuse)
    assert len(host.requests) == 1


def test_process_request_sees_each_request(host: Host, open_ws: Open) -> None:
    targets: list[str] = []

    def play(sock: Any, request: Request) -> None:
        if request.path == "/b":
            accept(sock, request)
        else:
            sock.sendall(redirect("/b"))

    open_ws(host.listen(play), max_redirects=1, process_request=lambda request: targets.append(request.target))
    assert targets == ["/", "/b"]


# Proxies


class Agent:
    """A proxy agent without a proxy."""

    def __init__(self, wrap: Callable[[Any], Any] = lambda sock: sock) -> None:
        self.calls: list[tuple[str, int, float | None]] = []
        self.address: Any = None
        self.wrap = wrap

    def connect(self, host: str, port: int, timeout: float | None) -> Any:
        self.calls.append((host, port, timeout))
        return self.wrap(socket.create_connection(self.address))


def agent_for(url: str, **arguments: Any) -> Agent:
    agent = Agent(**arguments)
    agent.address = ("127.0.0.1", int(url.rpartition(":")[2].rstrip("/")))
    return agent


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_agent_makes_the_connection(host: Host, open_ws: Open, transport: str) -> None:
    agent = agent_for(host.listen(accept, transport))
    url = "wss://localhost/x" if transport == "tls" else "ws://nowhere.invalid:81/x"
    open_ws(url, proxy=agent, open_timeout=5)
    [(name, port, timeout)] = agent.calls
    assert (name, port) == (("localhost", 443) if transport == "tls" else ("nowhere.invalid", 81))
    assert timeout is not None
    assert 4 < timeout <= 5


def test_agent_may_return_a_tls_stream(host: Host, open_ws: Open, client_context: Any) -> None:
    outer = certificates.server_context()
    inner = certificates.server_context()

    def play(sock: Any) -> None:
        outside = outer.wrap_socket(sock, server_side=True)
        outside.settimeout(0)
        stream = start_tls(outside, inner, server_side=True)
        ws = upgrader_of(stream)
        if ws is not None:
            echo(ws)

    def upgrader_of(stream: Any) -> WebSocket | None:
        from geventws.opening import read_head
        from geventws.upgrader import Upgrader

        parser = RequestParser()
        request = read_head(stream, parser)
        assert request is not None
        return Upgrader().upgrade(request, stream, parser.rest)

    near, far = tcp_pair()
    serving = gevent.spawn(play, far)

    class Tunnel:
        def connect(self, host: str, port: int, timeout: float | None) -> Any:
            return client_context.wrap_socket(near, server_hostname="localhost")

    ws = open_ws("wss://localhost/", proxy=Tunnel())
    for size in (0, 1, 5000, 200_000, 1_000_000):
        ws.send(bytes(size))
        assert ws.recv(timeout=5) == bytes(size)
    ws.close()
    assert ws.close_code == 1000
    serving.get(timeout=5)


def test_error_of_the_agent_passes(host: Host) -> None:
    class Broken:
        def connect(self, host: str, port: int, timeout: float | None) -> Any:
            raise ProxyError("no")

    with pytest.raises(ProxyError, match="no"):
        connect("ws://example.com/", proxy=Broken())


def test_slow_agent_ends_at_the_deadline() -> None:
    class Slow:
        def connect(self, host: str, port: int, timeout: float | None) -> Any:
            hang()

    with pytest.raises(TimeoutError, match="the proxy took too long"):
        connect("ws://example.com/", proxy=Slow(), open_timeout=0.05)


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks5h://127.0.0.1:1", ["http://127.0.0.1:1"]])
def test_proxy_that_is_named_is_never_ignored(host: Host, proxy: Any) -> None:
    with pytest.raises(ProxyError, match="refused"):
        connect(host.listen(accept), proxy=proxy)
    assert not host.requests


@pytest.mark.parametrize("proxy", [5, object(), b"http://a"[0]])
def test_proxy_of_the_wrong_type_is_a_type_error(host: Host, proxy: Any) -> None:
    with pytest.raises(TypeError):
        connect(host.listen(accept), proxy=proxy)


@pytest.mark.parametrize("name", ["ws_proxy", "http_proxy", "all_proxy", "ALL_PROXY", "HTTP_PROXY", "socks_proxy"])
def test_proxy_that_the_environment_names_is_never_ignored(
    host: Host, open_ws: Open, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    url = host.listen(accept)
    for options in ({}, {"source_address": ("127.0.0.1", 0)}):
        with pytest.raises(ProxyError, match=r"the connection to the proxy http://127\.0\.0\.1:1 failed"):
            connect(url, **options)
    assert open_ws(url, proxy=None)
    assert open_ws(url, proxy=False)
    monkeypatch.setenv("NO_PROXY", "example.com, LOCALHOST")
    assert open_ws(url)


def test_environment_is_asked_for_each_url_of_a_redirect(
    host: Host, open_ws: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "localhost")
    first = host.listen(redirect("ws://other.example/"))
    with pytest.raises(ProxyError, match="the connection to the proxy"):
        open_ws(first, max_redirects=1)
    assert len(host.requests) == 1


def test_proxies_of_the_environment_are_not_for_unix_sockets(
    host: Host, open_ws: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    assert open_ws(host.listen(accept, "unix"))


# Arguments

SOCK = SimpleNamespace(recv=None)
"""What passes for a socket until it is used."""


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "ftp://localhost/",
        "ws:///",
        "ws://localhost:99999/",
        "ws://localhost/#fragment",
        "ws://localhost/a b",
        "ws://localhost/\r\nX: y",
        "ws://local\0host/",
    ],
)
def test_bad_url_is_an_invalid_url(url: str) -> None:
    with pytest.raises(InvalidURL):
        connect(url)


@pytest.mark.parametrize(
    "arguments",
    [
        {"headers": {"X": "a\r\nb"}},
        {"headers": {"X\r\nY": "a"}},
        {"headers": {"Upgrade": "x"}},
        {"subprotocols": ["a b"]},
        {"subprotocols": ["a", "a"]},
        {"origin": "a\r\nb"},
        {"auth": ("a:b", "c")},
        {"auth": ("a", "b"), "headers": {"Authorization": "x"}},
        {"version": 12},
        {"open_timeout": 0},
        {"max_redirects": -1},
        {"max_size": 0},
        {"on_redirect": print},
        {"ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)},
        {"server_hostname": "example.com"},
        {"sock": SOCK, "max_redirects": 1},
        {"sock": SOCK, "source_address": ("127.0.0.1", 0)},
        {"sock": SOCK, "proxy": "http://127.0.0.1:1"},
        {"sock": SOCK, "proxy": Agent()},
        {"source_address": ("127.0.0.1", 0), "proxy": Agent()},
    ],
)
def test_arguments_that_make_no_sense_are_a_value_error(host: Host, arguments: dict[str, Any]) -> None:
    url = host.listen(accept)
    with pytest.raises(ValueError, match=r"."):
        connect(url, **arguments)
    assert not host.requests


@pytest.mark.parametrize(
    "arguments",
    [
        {"no_such_option": 1},
        {"subprotocols": "chat"},
        {"subprotocols": [1]},
        {"headers": {"X": 1}},
        {"compression": "yes"},
        {"open_timeout": "1"},
        {"max_redirects": "1"},
        {"max_redirects": True},
        {"max_size": "1"},
        {"masking_keys": b"abcd"},
        {"auth": "ada"},
        {"auth": ("ada", None)},
        {"headers": "X: a"},
        {"headers": [("X", "a", "b")]},
        {"subprotocols": None},
        {"process_request": 5},
        {"on_redirect": 5, "max_redirects": 1},
        {"websocket_class": dict},
        {"websocket_class": print},
        {"sock": 5},
    ],
)
def test_arguments_of_the_wrong_type_are_a_type_error(host: Host, arguments: dict[str, Any]) -> None:
    url = host.listen(accept)
    with pytest.raises(TypeError, match=next(iter(arguments)).removesuffix("s")):
        connect(url, **arguments)
    assert not host.requests


def test_option_that_there_is_not_is_told_as_python_tells_it() -> None:
    with pytest.raises(TypeError, match=r"^connect\(\) got an unexpected keyword argument 'max_length'$"):
        connect("ws://localhost/", max_length=1)  # type: ignore[call-arg]


def test_context_of_the_wrong_type_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="ssl_context"):
        connect("wss://localhost/", ssl_context="context")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        connect(b"ws://localhost/")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name, value", [("source_address", ("127.0.0.1", 0)), ("proxy", "http://127.0.0.1:1"), ("proxy", Agent())]
)
def test_source_address_and_proxies_that_are_named_are_not_for_unix_sockets(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        connect("ws+unix:/nowhere:/", **{name: value})


def test_context_of_a_server_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="ssl_context is a server's"):
        connect("wss://localhost/", ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


def test_fault_is_found_by_the_peer_after_the_handshake(host: Host, open_ws: Open) -> None:
    """What follows the handshake is judged by a strict peer: masked frames, and an answer to its close frame."""
    judged: list[Peer] = []

    def play(sock: Any, request: Request) -> None:
        sock.sendall(raw_http.answer(request.headers["Sec-WebSocket-Key"]))
        judged.append(Peer(sock, client=False))
        assert judged[0].read_message() == "x"
        judged[0].send_close(1000)
        assert judged[0].read_close() == (1000, "")

    ws = open_ws(host.listen(play))
    ws.send("x")
    assert list(ws) == []
    assert ws.wait_closed(timeout=5)
    assert judged


def test_errno_of_the_last_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "resolve", lambda host, port: [])
    with pytest.raises(OSError) as caught:
        connect("ws://localhost/")
    assert caught.value.errno == errno.EADDRNOTAVAIL
