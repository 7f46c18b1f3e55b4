from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import gevent
import pytest
from tools import raw_http, wire
from tools.site import Site, close
from tools.timing import wait_until

from geventws import WebSocketServer
from geventws.integrations.simple_websocket import Client, ConnectionClosed, ConnectionError, Server, install
from geventws.websocket import WebSocket

View = Callable[[Server], object]
EARLY = wire.frame(wire.TEXT, b"early", key=b"abcd")


def app(view: View, **options: Any) -> Any:
    """A WSGI application as simple-websocket's users write them, which ends its request as ``mode`` says."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ws = Server.accept(environ, **options)
        try:
            view(ws)
        except ConnectionClosed:
            pass
        assert ws.mode == "gevent"
        return []

    return application


def echo(ws: Server) -> None:
    while True:
        ws.send(ws.receive())


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.end()


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Starts a WebSocketServer for clients; returns its URL."""
    servers: list[WebSocketServer] = []

    def serve(handler: Callable[[WebSocket], object], **options: Any) -> str:
        server = WebSocketServer(("127.0.0.1", 0), handler, **options)
        server.start()
        servers.append(server)
        return f"ws://127.0.0.1:{server.address[1]}/path?query"

    yield serve
    for server in servers:
        server.stop(timeout=1)


# The server

@pytest.mark.usefixtures("spare_imports")
def test_library_is_found_under_its_name() -> None:
    install()
    from simple_websocket import ConnectionClosed as Closed
    from simple_websocket.ws import Server as TheServer

    assert (Closed, TheServer) == (ConnectionClosed, Server)


def test_frame_behind_the_request_is_received(site: Site) -> None:
    _, peer = site.open(app(echo), raw_http.request() + EARLY)
    assert peer.read_message() == "early"
    close(peer)


def test_messages_are_sent_as_a_whole(site: Site) -> None:
    data = bytes(range(256)) * 2**15
    _, peer = site.open(app(lambda ws: [ws.send(data), echo(ws)]), raw_http.request())
    peer.timeout = 20
    assert peer.read_message() == data
    close(peer)


def test_messages_of_several_greenlets_do_not_mix(site: Site) -> None:
    def view(ws: Server) -> None:
        greenlets = [gevent.spawn(ws.send, bytes([number]) * 2**20) for number in range(4)]
        gevent.joinall(greenlets, raise_error=True)

    _, peer = site.open(app(view), raw_http.request())
    received = sorted(peer.read_message() for _ in range(4))
    assert received == [bytes([number]) * 2**20 for number in range(4)]


def test_there_is_no_thread_for_a_connection(site: Site) -> None:
    threads: list[int] = []
    before = threading.active_count()

    def view(ws: Server) -> None:
        threads.append(threading.active_count())
        echo(ws)

    def spawn(*_: Any, **__: Any) -> Any:
        raise AssertionError("a thread is asked for")

    _, peer = site.open(app(view, thread_class=spawn, event_class=spawn, selector_class=spawn), raw_http.request())
    close(peer)
    assert threads == [before]


def test_receive_returns_none_where_nothing_came_in_time(site: Site) -> None:
    def view(ws: Server) -> None:
        ws.send(str(ws.receive(timeout=0)))
        ws.send(str(ws.receive(timeout=0.01)))
        echo(ws)

    _, peer = site.open(app(view), raw_http.request())
    assert [peer.read_message(), peer.read_message()] == ["None", "None"]
    peer.binary(b"\0")
    assert peer.read_message() == b"\0"
    close(peer)


def test_end_tells_the_code_and_the_reason(site: Site) -> None:
    ends: list[Any] = []

    def view(ws: Server) -> None:
        with pytest.raises(ConnectionClosed) as first:
            ws.receive()
        for call in (ws.receive, lambda: ws.send("x"), ws.close):
            with pytest.raises(ConnectionClosed):
                call()
        ends.append((first.value.reason, first.value.message, ws.connected, ws.close_reason, ws.close_message))

    _, peer = site.open(app(view), raw_http.request())
    peer.send_close(4000, "enough")
    peer.read_close()
    wait_until(lambda: ends)
    assert ends == [(4000, "enough", False, 4000, "enough")]


def test_client_that_vanishes_is_told_as_1006(site: Site) -> None:
    ends: list[Any] = []

    def view(ws: Server) -> None:
        with pytest.raises(ConnectionClosed) as error:
            ws.receive()
        ends.append((error.value.reason, error.value.message))

    _, peer = site.open(app(view), raw_http.request())
    peer.reset()
    wait_until(lambda: ends)
    assert ends == [(1006, None)]


def test_messages_before_the_end_can_be_received(site: Site) -> None:
    received: list[Any] = []

    def view(ws: Server) -> None:
        wait_until(lambda: not ws.connected)
        received.append(ws.receive())
        ws.receive()

    _, peer = site.open(app(view), raw_http.request())
    peer.send_bytes(peer.frame(wire.TEXT, b"last") + peer.frame(wire.CLOSE, b"\x03\xe8"))
    peer.read_close()
    wait_until(lambda: received)
    assert received == ["last"]


def test_close_has_a_code_and_a_reason(site: Site) -> None:
    states: list[Any] = []

    def view(ws: Server) -> None:
        with pytest.raises(ValueError):
            ws.close(1006)
        states.append((ws.connected, ws.close_reason))
        ws.close(4001, "bye")
        states.append((ws.connected, ws.close_reason))

    _, peer = site.open(app(view), raw_http.request())
    assert peer.finish_close(4001) == (4001, "bye")
    wait_until(lambda: len(states) == 2)
    assert states == [(True, 1005), (False, 1005)]


@pytest.mark.parametrize("subprotocols, chosen", [("two", "two"), (["three", "two"], "two"), (None, None)])
def test_subprotocol_is_the_first_offered_that_is_spoken(site: Site, subprotocols: Any, chosen: str | None) -> None:
    offer: dict[str, str | None] = {"Sec-WebSocket-Protocol": "one, two, three"}
    response, peer = site.open(
        app(lambda ws: ws.send(str(ws.subprotocol)), subprotocols=subprotocols), raw_http.request("/", offer)
    )
    assert response.headers.get("Sec-WebSocket-Protocol") == chosen
    assert peer.read_message() == str(chosen)


def test_choice_of_the_subprotocol_may_be_overridden(site: Site) -> None:
    class Choosy(Server):
        def choose_subprotocol(self, request: Any) -> str:
            assert (request.host, request.target) == ("localhost", "/x")
            assert (b"Host", b"localhost") in request.extra_headers
            return str(request.subprotocols[-1])

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        Choosy(environ).close()
        return []

    response, peer = site.open(application, raw_http.request("/x", {"Sec-WebSocket-Protocol": "one, two"}))
    assert response.headers["Sec-WebSocket-Protocol"] == "two"
    peer.finish_close()


def test_message_beyond_the_limit_is_refused(site: Site) -> None:
    _, peer = site.open(app(echo, max_message_size=10), raw_http.request())
    peer.text("x" * 11)
    assert peer.read_close()[0] == 1009


def test_pings_are_sent_where_an_interval_is_given(site: Site) -> None:
    _, peer = site.open(app(echo, ping_interval=0.05), raw_http.request())
    assert peer.read_frame().opcode == wire.PING


def test_pages_of_any_origin_may_connect(site: Site) -> None:
    _, peer = site.open(app(echo), raw_http.request("/", {"Origin": "https://other.example"}))
    close(peer)


def test_request_that_is_no_opening_handshake_is_a_connection_error(site: Site) -> None:
    errors: list[ConnectionError] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with pytest.raises(ConnectionError) as caught:
            Server(environ)
        errors.append(caught.value)
        start_response("200 OK", [])
        return []

    site.ask(application, raw_http.plain_request())
    assert [error.status_code for error in errors] == [426]


def test_server_that_shows_no_connection_is_a_runtime_error() -> None:
    environ: dict[str, Any] = {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1", "PATH_INFO": "/"}
    environ |= {"HTTP_HOST": "localhost", "HTTP_UPGRADE": "websocket", "HTTP_CONNECTION": "Upgrade"}
    environ |= {"HTTP_SEC_WEBSOCKET_KEY": raw_http.KEY, "HTTP_SEC_WEBSOCKET_VERSION": "13"}
    with pytest.raises(RuntimeError, match="Cannot obtain socket from WSGI environment"):
        Server(environ)


# flask-sock


@pytest.fixture
def flask_app() -> Any:
    flask = pytest.importorskip("flask")
    return flask.Flask(__name__)


@pytest.mark.skipif(find_spec("flask_sock") is None, reason="flask-sock is not installed")
@pytest.mark.usefixtures("spare_imports")
def test_flask_sock_runs_on_it(site: Site, flask_app: Any) -> None:
    install()
    from flask_sock import Sock

    @Sock(flask_app).route("/echo/<name>")
    def echo(ws: Any, name: str) -> None:
        assert type(ws) is Server
        while (data := ws.receive()) != "close":
            ws.send(f"{name}: {data}")

    _, peer = site.open(flask_app, raw_http.request("/echo/ada") + EARLY)
    assert peer.read_message() == "ada: early"
    peer.text("close")
    assert peer.finish_close() == (1000, "")
    peer.read_eof()
    wait_until(lambda: site.log)
    assert '"GET /echo/ada HTTP/1.1" 101' in site.log[0]


def test_refused_upgrade_is_an_ordinary_response_of_flask(site: Site, flask_app: Any) -> None:
    from flask import request

    @flask_app.route("/", websocket=True)
    def view() -> str:
        Server.accept(request.environ)
        raise AssertionError("not reached")

    response = site.ask(flask_app, raw_http.request("/", {"Sec-WebSocket-Version": "7"}))
    assert response.status == 426
    assert "Sec-WebSocket-Version" in response.headers


def test_view_of_flask_answers_nobody(site: Site, flask_app: Any) -> None:
    from flask import request

    @flask_app.route("/", websocket=True)
    def view() -> str:
        ws = Server.accept(request.environ)
        assert ws.mode == "werkzeug"
        try:
            echo(ws)
        except ConnectionClosed:
            pass
        return "rubbish"

    _, peer = site.open(flask_app, raw_http.request())
    close(peer)
    wait_until(lambda: site.log)
    assert '"GET / HTTP/1.1" 101' in site.log[0]


@pytest.mark.parametrize(
    "error, code", [(None, 1000), (RuntimeError(), 1011), (gevent.GreenletExit(), 1001)], ids=["no", "bug", "kill"]
)
def test_connection_ends_with_the_request_of_flask(
    site: Site, flask_app: Any, error: BaseException | None, code: int, hub_errors: list[Any]
) -> None:
    from flask import request

    @flask_app.route("/", websocket=True)
    def view() -> str:
        Server.accept(request.environ)
        if error is not None:
            raise error
        return ""

    _, peer = site.open(flask_app, raw_http.request())
    assert peer.finish_close(code) == (code, "")
    peer.read_eof()
    wait_until(lambda: site.log)
    if code == 1001:  # gevent.pywsgi's traceback of what was not caught
        hub_errors.clear()


def test_server_made_outside_of_flasks_request_leaves_its_answer_alone(site: Site, flask_app: Any) -> None:
    from werkzeug.wrappers import Request

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        Request(environ)
        with flask_app.test_request_context():
            Server.accept(environ).close()
        start_response("200 OK", [])
        return []

    _, peer = site.open(application, raw_http.request())
    peer.finish_close()
    wait_until(lambda: site.log)
    assert '"GET / HTTP/1.1" 200' in site.log[0]


# The client


def test_client_sends_and_receives(serve: Callable[..., str]) -> None:
    def handler(ws: WebSocket) -> None:
        ws.send(f"{ws.request.target} {ws.request.headers['X-Mine']}")
        for message in ws:
            ws.send(message)

    ws = Client.connect(serve(handler, subprotocols=["two"]), subprotocols="two", headers={"X-Mine": "1"})
    assert (ws.subprotocol, ws.connected) == ("two", True)
    assert ws.receive(timeout=5) == "/path?query 1"
    ws.send(5)
    assert ws.receive(timeout=5) == "5"
    ws.close()
    assert not ws.connected
    with pytest.raises(ConnectionClosed):
        ws.receive()


def test_client_is_told_how_the_server_refuses(serve: Callable[..., str]) -> None:
    with pytest.raises(ConnectionError) as error:
        Client(serve(lambda ws: None, path="/other"))
    assert error.value.status_code == 404
