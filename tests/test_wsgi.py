from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import GreenletExit, Timeout, pywsgi, socket
from gevent.pool import Pool
from tools import raw_http, wire
from tools.peer import Peer
from tools.timing import EARLY, let_time_pass, wait_until

import geventws
from geventws.exceptions import ConnectionClosedError, HandshakeError, InvalidState
from geventws.http11 import Request, Response
from geventws.options import UpgradeOptions
from geventws.upgrader import Upgrader
from geventws.websocket import WebSocket
from geventws.wsgi import (
    WebSocketApp,
    WebSocketMiddleware,
    close_on_stop,
    close_websockets,
    request_of,
    respond,
    upgrade,
)

Environ = dict[str, Any]


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def page(environ: Environ, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


class Log:
    """What a server writes to its access log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, text: str) -> None:
        self.lines.append(text.rstrip())

    def entry(self, number: int = -1) -> tuple[str, str, float]:
        """The path, the status and the duration that a line tells of."""
        words = self.lines[number].split('"')
        status, _, seconds = words[2].split()
        return words[1].split()[1], status, float(seconds)


class Site:
    """Serves applications with gevent.pywsgi, over TCP or TLS, and makes raw connections to it."""

    def __init__(self, transport: str, server_context: Any, client_context: Any) -> None:
        self.log = Log()
        self._tls = {"ssl_context": server_context} if transport == "tls" else {}
        self._client_context = client_context
        self._servers: list[Any] = []
        self._sockets: list[Any] = []

    def start(self, application: Any, **options: Any) -> Any:
        server = pywsgi.WSGIServer(("127.0.0.1", 0), application, log=self.log, **self._tls, **options)
        self._servers.append(server)
        server.start()
        return server

    def connect(self, server: Any) -> Any:
        sock = socket.create_connection(server.address)
        self._sockets.append(sock)
        sock.settimeout(5)
        if self._tls:
            sock = self._client_context.wrap_socket(sock, server_hostname="localhost")
            self._sockets.append(sock)
        return sock

    def ask(self, server: Any, data: bytes) -> Response:
        sock = self.connect(server)
        sock.sendall(data)
        return raw_http.read_response(sock)[0]

    def open(self, server: Any, data: bytes = raw_http.request()) -> Peer:
        sock = self.connect(server)
        sock.sendall(data)
        return self.switch(sock)

    def switch(self, sock: Any) -> Peer:
        """Read the 101."""
        response, rest = raw_http.read_response(sock)
        assert response.status == 101
        return Peer(sock, client=True, head=rest)

    def wait_for_log(self, lines: int = 1) -> None:
        wait_until(lambda: len(self.log.lines) >= lines)

    def end(self) -> None:
        for sock in self._sockets:
            sock.close()
        for server in self._servers:
            server.stop(timeout=1)


@pytest.fixture(params=["tcp", "tls"])
def site(request: pytest.FixtureRequest, server_context: Any, client_context: Any) -> Iterator[Site]:
    site = Site(request.param, server_context, client_context)
    yield site
    site.end()


@pytest.fixture
def tcp(server_context: Any, client_context: Any) -> Iterator[Site]:
    site = Site("tcp", server_context, client_context)
    yield site
    site.end()


def close(peer: Peer, code: int = 1000) -> None:
    """Close from the client's side; nothing but frames may have come, and nothing comes behind."""
    peer.send_close(code)
    assert peer.read_close() == (code, "")
    end(peer)


def end(peer: Peer) -> None:
    peer.read_eof()
    peer.close()


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_public_names() -> None:
    assert geventws.WebSocketApp is WebSocketApp
    assert geventws.upgrade is upgrade


# WebSocketApp


def test_handler_talks_to_the_client(site: Site) -> None:
    peer = site.open(site.start(WebSocketApp(echo)))
    for size in (0, 1, 300_000):
        peer.binary(b"x" * size)
        assert peer.read_message() == b"x" * size
    close(peer)


def test_access_log_has_the_101_and_how_long_the_connection_lasted(site: Site) -> None:
    peer = site.open(site.start(WebSocketApp(echo)), raw_http.request("/chat?room=1"))
    assert not site.log.lines
    let_time_pass(0.05)
    close(peer)
    site.wait_for_log()
    target, status, seconds = site.log.entry()
    assert (target, status) == ("/chat?room=1", "101")
    assert 0.05 - EARLY <= seconds < 1
    assert len(site.log.lines) == 1


def test_frames_behind_the_request_are_received_however_they_are_split(site: Site) -> None:
    server = site.start(WebSocketApp(echo))
    data = raw_http.request() + wire.frame(wire.TEXT, b"early", key=b"abcd")
    for split in range(len(data) - 20, len(data) + 1):
        sock = site.connect(server)
        sock.sendall(data[:split])
        gevent.sleep(0)
        sock.sendall(data[split:])
        peer = site.switch(sock)
        assert peer.read_message() == "early", split
        close(peer)


def test_many_bytes_behind_the_request_are_received(site: Site) -> None:
    first = wire.frame(wire.BINARY, b"x" * 20_000, key=b"abcd")
    peer = site.open(site.start(WebSocketApp(echo)), raw_http.request() + first)
    assert peer.read_message() == b"x" * 20_000


def test_upgrade_that_pywsgi_does_not_take_for_one_is_served(site: Site) -> None:
    data = raw_http.request(headers={"Connection": "keep-alive, Upgrade", "Upgrade": "WebSocket, other"})
    peer = site.open(site.start(WebSocketApp(echo)), data + wire.frame(wire.TEXT, b"early", key=b"abcd"))
    assert peer.read_message() == "early"


def test_ordinary_requests_share_the_server_and_the_connection(site: Site) -> None:
    chat = WebSocketApp(echo)

    def application(environ: Environ, start_response: Any) -> Any:
        return {"/chat": chat}.get(environ["PATH_INFO"], page)(environ, start_response)

    sock = site.connect(site.start(application))
    for _ in range(2):
        sock.sendall(raw_http.plain_request())
        assert raw_http.read_response(sock)[0].body == b"hello"
    sock.sendall(raw_http.request("/chat"))
    peer = site.switch(sock)
    peer.text("x")
    assert peer.read_message() == "x"
    close(peer)
    site.wait_for_log(3)
    assert [site.log.entry(number)[1] for number in range(3)] == ["200", "200", "101"]


def test_connection_is_closed_with_1000_when_the_handler_returns(site: Site) -> None:
    peer = site.open(site.start(WebSocketApp(lambda ws: ws.send("bye"))))
    assert peer.read_message() == "bye"
    assert peer.finish_close() == (1000, "")
    end(peer)
    site.wait_for_log()
    assert site.log.entry()[1] == "101"


@pytest.mark.parametrize("error", [RuntimeError("a bug"), StopIteration(), Timeout()])
def test_connection_is_closed_with_1011_when_the_handler_raises(
    site: Site, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def handler(ws: WebSocket) -> None:
        raise error

    peer = site.open(site.start(WebSocketApp(handler)))
    assert peer.finish_close(1011) == (1011, "")
    end(peer)
    [record] = errors(caplog)
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    site.wait_for_log()
    assert site.log.entry()[1] == "101"


def test_connection_is_ended_with_1001_when_the_handler_is_killed(site: Site) -> None:
    pool = Pool()
    peer = site.open(site.start(WebSocketApp(echo), spawn=pool))
    pool.kill()
    assert peer.read_close() == (1001, "")
    end(peer)
    assert site.log.entry()[1] == "101"


def test_client_that_goes_is_no_error(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    app = WebSocketApp(echo)
    peer = site.open(site.start(app))
    peer.reset()
    site.wait_for_log()
    assert site.log.entry()[1] == "101"
    assert not errors(caplog)
    assert not app.clients


def test_refusal_is_an_ordinary_response(site: Site) -> None:
    server = site.start(WebSocketApp(echo))
    response = site.ask(server, raw_http.request(headers={"Origin": "https://evil.example"}))
    assert response.status == 403
    assert response.headers["Connection"] == "close"
    assert len(response.headers.get_all("Date")) == 1
    assert site.log.entry()[1] == "403"


@pytest.mark.parametrize(
    "data, status",
    [
        (raw_http.request(headers={"Sec-WebSocket-Version": "99"}), 426),
        (raw_http.request(headers={"Content-Length": "4"}) + b"body", 400),
        (raw_http.request(version="HTTP/1.0"), 505),
        (raw_http.plain_request(), 426),
        (raw_http.plain_request(method="POST"), 405),
    ],
)
def test_nothing_behind_a_refused_upgrade_is_read_as_a_request(tcp: Site, data: bytes, status: int) -> None:
    sock = tcp.connect(tcp.start(WebSocketApp(echo)))
    sock.sendall(data + raw_http.plain_request())
    response, _ = raw_http.read_response(sock)
    assert response.status == status
    assert response.body.count(b"\n") == 1
    assert sock.recv(1) == b""
    tcp.wait_for_log()
    assert len(tcp.log.lines) == 1


def test_answer_to_head_has_no_body(tcp: Site) -> None:
    sock = tcp.connect(tcp.start(WebSocketApp(echo, process_request=lambda request: Response(200, body=b"well"))))
    sock.sendall(raw_http.plain_request(method="HEAD"))
    data = b""
    while piece := sock.recv(1000):
        data += piece
    assert b"\r\nContent-Length: 4\r\n" in data
    assert data.endswith(b"\r\n\r\n")


def test_options_are_those_of_upgrader(tcp: Site) -> None:
    server = tcp.start(WebSocketApp(echo, path="/chat", subprotocols=["chat"], max_connections=1))
    assert tcp.ask(server, raw_http.request("/other")).status == 404
    sock = tcp.connect(server)
    sock.sendall(raw_http.request("/chat", headers={"Sec-WebSocket-Protocol": "chat"}))
    response, _ = raw_http.read_response(sock)
    assert response.headers["Sec-WebSocket-Protocol"] == "chat"
    full = tcp.ask(server, raw_http.request("/chat"))
    assert (full.status, full.headers["Retry-After"]) == (503, "5")


def test_hooks_and_handler_see_the_environment(tcp: Site) -> None:
    seen: list[Any] = []

    def authenticate(request: Request) -> Response | None:
        assert request.environ is not None
        if "HTTP_COOKIE" not in request.environ:
            return Response(401)
        request.user = request.environ["HTTP_COOKIE"]
        return None

    def handler(ws: WebSocket) -> None:
        seen.append((ws.request.user, ws.environ))

    server = tcp.start(WebSocketApp(handler, process_request=authenticate))
    assert tcp.ask(server, raw_http.request()).status == 401
    tcp.open(server, raw_http.request("/x", headers={"Cookie": "ada"})).finish_close()
    [(user, environ)] = seen
    assert user == "ada"
    assert environ["PATH_INFO"] == "/x"


def test_hooks_know_who_is_at_the_other_end(mutual_server_context: Any, mutual_client_context: Any) -> None:
    seen: list[Any] = []

    def look(request: Request) -> None:
        seen.append((request.remote_address, request.peer_certificate))

    site = Site("tls", mutual_server_context, mutual_client_context)
    try:
        peer = site.open(site.start(WebSocketApp(echo, process_request=look)))
        [(address, certificate)] = seen
        assert address == peer.sock.getsockname()
        assert certificate["subject"]
        close(peer)
    finally:
        site.end()


def test_hook_that_fails_is_answered_with_500(tcp: Site, caplog: pytest.LogCaptureFixture) -> None:
    def fail(request: Request) -> None:
        raise RuntimeError("a bug")

    assert tcp.ask(tcp.start(WebSocketApp(echo, process_request=fail)), raw_http.request()).status == 500
    assert len(errors(caplog)) == 1


def test_clients_are_the_open_connections(tcp: Site) -> None:
    app = WebSocketApp(echo)
    server = tcp.start(app)
    peers = [tcp.open(server), tcp.open(server)]
    wait_until(lambda: len(app.clients) == 2)
    close(peers[0])
    wait_until(lambda: len(app.clients) == 1)


def test_nothing_of_a_connection_stays_behind(site: Site) -> None:
    seen: list[Any] = []

    def handler(ws: WebSocket) -> None:
        seen.append(weakref.ref(ws))
        seen.append(weakref.ref(ws.request))
        echo(ws)

    server = site.start(WebSocketApp(handler))
    for _ in range(3):
        close(site.open(server))
    site.wait_for_log(3)
    gc.collect()
    assert len(seen) == 6
    assert not any(each() for each in seen)


def test_arguments_are_checked() -> None:
    with pytest.raises(TypeError):
        WebSocketApp("echo")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        WebSocketApp(echo, no_such_option=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="path"):
        WebSocketApp(echo, path="chat")


# upgrade()


def serve_view(site: Site, leave: Callable[[Any], Any], *, hidden: bool = False, within: bool = True) -> Any:
    """Serve a view that makes a WebSocket, echoes, and then does what ``leave(start_response)`` does."""

    def view(environ: Environ, start_response: Any) -> Any:
        ws = upgrade(environ, None if hidden else start_response)
        if within:
            with ws:
                echo(ws)
        else:
            gevent.spawn(echo, ws)
        return leave(start_response)

    return site.start(view)


def test_view_serves_a_websocket(site: Site) -> None:
    peer = site.open(serve_view(site, lambda start_response: []))
    peer.text("hello")
    assert peer.read_message() == "hello"
    close(peer)
    site.wait_for_log()
    assert site.log.entry()[1] == "101"


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_what_a_view_returns_does_not_reach_the_client(site: Site, hidden: bool, within: bool, again: bool) -> None:
    def leave(start_response: Any) -> list[bytes]:
        if again or hidden:
            start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"rubbish"] * 3

    first = wire.frame(wire.TEXT, b"early", key=b"abcd")
    peer = site.open(serve_view(site, leave, hidden=hidden, within=within), raw_http.request() + first)
    if not within:
        site.wait_for_log()
    assert peer.read_message() == "early"
    peer.text("x")
    assert peer.read_message() == "x"
    close(peer)
    site.wait_for_log()
    assert len(site.log.lines) == 1


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("error", [RuntimeError("a bug"), StopIteration(), Timeout(), GreenletExit()])
def test_what_a_view_raises_does_not_reach_the_client(
    site: Site, hub_errors: list[Any], hidden: bool, error: BaseException
) -> None:
    def leave(start_response: Any) -> Any:
        raise error

    peer = site.open(serve_view(site, leave, hidden=hidden, within=False))
    site.wait_for_log()
    peer.text("x")
    assert peer.read_message() == "x"
    close(peer)
    assert [seen for _, seen in hub_errors] == ([] if isinstance(error, GreenletExit) else [error])
    hub_errors.clear()
    assert site.log.entry()[1] == ("500" if hidden else "101")


def test_exception_in_the_with_statement_closes_with_1011(site: Site, hub_errors: list[Any]) -> None:
    def view(environ: Environ, start_response: Any) -> Any:
        with upgrade(environ, start_response):
            raise RuntimeError("a bug")

    peer = site.open(site.start(view))
    assert peer.finish_close(1011) == (1011, "")
    end(peer)
    site.wait_for_log()
    assert len(hub_errors) == 1
    hub_errors.clear()


def test_wrapped_start_response_tells_the_log_as_well(site: Site) -> None:
    def middleware(environ: Environ, start_response: Any) -> Any:
        def wrapped(status: str, headers: Any, exc_info: Any = None) -> Any:
            return start_response(status, headers, exc_info)

        return WebSocketApp(echo)(environ, wrapped)

    close(site.open(site.start(middleware)))
    site.wait_for_log()
    assert site.log.entry()[1] == "101"


def test_refused_upgrade_is_an_error_with_the_response_to_give(site: Site) -> None:
    seen: list[HandshakeError] = []

    def view(environ: Environ, start_response: Any) -> Any:
        try:
            upgrade(environ, start_response, subprotocols=["chat"], origins=["https://example.com"])
        except HandshakeError as error:
            seen.append(error)
            assert error.response is not None
            return respond(error.response, environ, start_response)

    server = site.start(view)
    assert site.ask(server, raw_http.request(headers={"Origin": "https://evil.example"})).status == 403
    assert str(seen[0]) == "the request was answered with 403 Forbidden"
    plain = site.ask(server, raw_http.plain_request())
    assert (plain.status, plain.headers["Upgrade"]) == (426, "websocket")
    assert plain.headers["Connection"] == "upgrade, close"


FOR_MANY_CONNECTIONS = ["max_connections", "max_connections_per_address", "track_clients"]


@pytest.mark.parametrize("name", FOR_MANY_CONNECTIONS)
def test_options_for_many_connections_are_a_type_error(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        upgrade({}, **{name: 1})  # type: ignore[arg-type]


def test_type_checkers_know_the_options_of_upgrade() -> None:
    known = set(Upgrader.__init__.__kwdefaults__ or {}) - set(FOR_MANY_CONNECTIONS)
    assert known <= set(UpgradeOptions.__annotations__)
    assert not set(FOR_MANY_CONNECTIONS) & set(UpgradeOptions.__annotations__)


# WebSocketMiddleware


def framework(view: Callable[[Environ], str]) -> WebSocketMiddleware:
    """An application that does not show its views the server's start_response; ``view`` returns the status."""

    def application(environ: Environ, start_response: Any) -> list[bytes]:
        status = view(environ)
        write = start_response(status, [("Content-Type", "text/plain"), ("Connection", "keep-alive")])
        write(b"more ")
        return [b"rubbish"]

    return WebSocketMiddleware(application)


def test_middleware_tells_the_log_of_the_101_whatever_the_view_answers(site: Site) -> None:
    def view(environ: Environ) -> str:
        with upgrade(environ) as ws:
            echo(ws)
        return "200 OK"

    peer = site.open(site.start(framework(view)))
    peer.text("x")
    assert peer.read_message() == "x"
    close(peer)
    site.wait_for_log()
    assert site.log.entry()[1] == "101"


def test_middleware_tells_the_log_of_the_101_when_the_view_raises(site: Site, hub_errors: list[Any]) -> None:
    def view(environ: Environ) -> str:
        with upgrade(environ):
            raise RuntimeError("a bug")

    peer = site.open(site.start(framework(view)))
    assert peer.finish_close(1011) == (1011, "")
    end(peer)
    site.wait_for_log()
    assert site.log.entry()[1] == "101"
    hub_errors.clear()


def test_websocket_app_works_within_the_middleware(site: Site) -> None:
    close(site.open(site.start(WebSocketMiddleware(WebSocketApp(echo)))))
    site.wait_for_log()
    assert site.log.entry()[1] == "101"


def test_middleware_has_the_connection_end_behind_another_answer(tcp: Site) -> None:
    sock = tcp.connect(tcp.start(framework(lambda environ: "200 OK")))
    sock.sendall(raw_http.request() + raw_http.plain_request())
    response, _ = raw_http.read_response(sock)
    assert (response.status, response.headers["Connection"], response.body) == (200, "close", b"more rubbish")
    try:
        assert sock.recv(1) == b""
    except ConnectionResetError:
        pass  # what was not read makes the kernel end it so
    tcp.wait_for_log()
    assert len(tcp.log.lines) == 1


def test_middleware_leaves_ordinary_requests_alone(tcp: Site) -> None:
    sock = tcp.connect(tcp.start(WebSocketMiddleware(page)))
    for _ in range(2):
        sock.sendall(raw_http.plain_request())
        assert raw_http.read_response(sock)[0].body == b"hello"


def test_middleware_is_around_an_application() -> None:
    with pytest.raises(TypeError, match="WSGI application"):
        WebSocketMiddleware("module:application")  # type: ignore[arg-type]


# Before the server stops


def test_all_websockets_are_closed_before_the_server_stops(site: Site) -> None:
    server = site.start(WebSocketApp(echo), spawn=Pool())
    peers = [site.open(server), site.open(server)]
    idle = site.connect(server)
    closing = gevent.spawn(close_websockets, 1012, over=0.01)
    for peer in peers:
        assert peer.read_close() == (1012, "")
    idle.sendall(raw_http.request())
    response, _ = raw_http.read_response(idle)
    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    for peer in peers:
        peer.send_close(1012)
        end(peer)
    assert closing.get()
    site.wait_for_log(3)
    server.stop(timeout=0)
    assert sorted(site.log.entry(number)[1] for number in range(3)) == ["101", "101", "503"]


def test_server_may_close_its_websockets_when_it_stops(site: Site) -> None:
    server = site.start(WebSocketApp(echo), spawn=Pool())
    close_on_stop(server, 1012, over=0.01, timeout=5)
    serving = gevent.spawn(server.serve_forever)
    peer = site.open(server)
    stopping = gevent.spawn(server.stop)
    assert peer.read_close() == (1012, "")
    assert not serving.ready()
    peer.send_close(1012)
    end(peer)
    gevent.joinall([serving, stopping], raise_error=True)
    assert not server.started


def test_what_happens_when_a_server_stops_is_checked_before() -> None:
    with pytest.raises(TypeError, match="WSGIServer"):
        close_on_stop(object())
    server = pywsgi.WSGIServer(("127.0.0.1", 0))
    with pytest.raises(ValueError, match="1006"):
        close_on_stop(server, 1006)
    with pytest.raises(TypeError, match="timeout"):
        close_on_stop(server, timeout="1")  # type: ignore[arg-type]


def test_websockets_are_opened_again_after_that(tcp: Site) -> None:
    server = tcp.start(WebSocketApp(echo))
    tcp.open(server)
    assert not close_websockets(timeout=0)
    close(tcp.open(server))
    with pytest.raises(ValueError, match="1006"):
        close_websockets(1006)
    with pytest.raises(TypeError, match="over"):
        close_websockets(over="1")  # type: ignore[arg-type]


# The request that an environment tells of


def an_environ(**changes: Any) -> Environ:
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_KEY": raw_http.KEY,
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
    }
    return environ | changes


@pytest.mark.parametrize(
    "script, path, query, target",
    [
        ("", "/", "", "/"),
        ("", "", "", "/"),
        ("/app", "/chat", "room=1&x=%20", "/app/chat?room=1&x=%20"),
        ("", "/caf\u00c3\u00a9 au lait", "", "/caf%C3%A9%20au%20lait"),
        ("", "/a;b=1,2:3@$!*'()~", "", "/a;b=1,2:3@$!*'()~"),
        ("", "*", "", "/*"),
    ],
)
def test_target_is_that_of_the_whole_site(script: str, path: str, query: str, target: str) -> None:
    request = request_of(an_environ(SCRIPT_NAME=script, PATH_INFO=path, QUERY_STRING=query))
    assert request.target == target


def test_headers_are_those_of_the_request() -> None:
    environ = an_environ(HTTP_X_FORWARDED_FOR="a,b", CONTENT_TYPE="text/plain", CONTENT_LENGTH="", HTTP_ODD=5)
    request = request_of(environ)
    assert request.environ is environ
    assert request.headers["X-Forwarded-For"] == "a,b"
    assert request.headers["Content-Type"] == "text/plain"
    assert request.headers["Sec-WebSocket-Key"] == raw_http.KEY
    assert "Content-Length" not in request.headers
    assert "Odd" not in request.headers


@pytest.mark.parametrize(
    "changes, status",
    [
        ({"SERVER_PROTOCOL": "HTTP/2.0"}, 505),
        ({"SERVER_PROTOCOL": "HTTP/0.9"}, 505),
        ({"QUERY_STRING": "a b"}, 400),
        ({"QUERY_STRING": "#"}, 400),
        ({"PATH_INFO": "/\u20ac"}, 400),
        ({"HTTP_X": "a\nb"}, 400),
        ({"REQUEST_METHOD": "G T"}, 400),
    ],
)
def test_request_that_is_not_valid_is_refused(changes: dict[str, str], status: int) -> None:
    seen: list[Any] = []
    result = WebSocketApp(echo)(an_environ(**changes), lambda *arguments: seen.append(arguments))
    assert seen[0][0].startswith(str(status))
    [body] = result
    assert body.count(b"\n") == 1


def test_request_over_another_protocol_is_told_so() -> None:
    with pytest.raises(HandshakeError, match=r"HTTP/2\.0"):
        request_of(an_environ(SERVER_PROTOCOL="HTTP/2.0"))


# Servers that show no connection


def test_server_that_shows_no_connection_is_an_error_that_names_it() -> None:
    environ = an_environ(SERVER_SOFTWARE="waitress")
    with pytest.raises(InvalidState, match=r"waitress .* gunicorn -k gevent"):
        WebSocketApp(echo)(environ, lambda *arguments: None)
    with pytest.raises(InvalidState, match="waitress"):
        upgrade(environ)


def test_plain_requests_are_answered_under_any_server() -> None:
    seen: list[Any] = []
    environ = an_environ(SERVER_SOFTWARE="waitress", HTTP_UPGRADE="", HTTP_CONNECTION="")
    WebSocketApp(echo)(environ, lambda *arguments: seen.append(arguments))
    [(status, headers)] = seen
    assert status == "426 Upgrade Required"
    # PEP 3333 forbids them, and servers check that.
    assert not {"connection", "upgrade"} & {name.lower() for name, _ in headers}


def test_client_that_has_gone_is_a_closed_connection() -> None:
    client, server = socket.socketpair()
    client.close()
    with server, server.makefile("rb") as file:
        environ = an_environ(**{"wsgi.input": file, "SERVER_SOFTWARE": "gevent/26.9"})
        with pytest.raises(ConnectionClosedError):
            upgrade(environ)
        assert WebSocketApp(echo).clients == set()
