from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

import gevent
import pytest
from gevent import socket
from gevent.pywsgi import WSGIServer
from tools import raw_http, wire
from tools.checker import Deflate
from tools.peer import Peer
from tools.site import Site, close
from tools.timing import wait_until

from geventws import connect
from geventws.integrations.gevent_websocket import (
    Resource,
    WebSocketApplication,
    WebSocketError,
    WebSocketHandler,
    WebSocketServer,
    get_version,
    install,
)
from geventws.integrations.gevent_websocket.protocols.base import BaseProtocol
from geventws.integrations.gevent_websocket.websocket import WebSocket

View = Callable[[WebSocket], object]


def app(view: View) -> Any:
    """A WSGI application as gevent-websocket's users write them."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        ws = environ.get("wsgi.websocket")
        if ws is None:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"a page"]
        view(ws)
        return [b"rubbish"]

    return application


def echo(ws: WebSocket) -> None:
    while (message := ws.receive()) is not None:
        ws.send(message)


@pytest.fixture
def make_site() -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(server_class: Any = WSGIServer, handler_class: Any = WebSocketHandler, **options: Any) -> Site:
        sites.append(Site(server_class, handler_class=handler_class, **options))
        return sites[-1]

    yield make
    for site in sites:
        site.end()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


def errors_of(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


# As the README of gevent-websocket uses it


@pytest.mark.usefixtures("spare_imports")
def test_library_is_found_under_its_name() -> None:
    install()
    import geventwebsocket
    from geventwebsocket import Resource as TheResource
    from geventwebsocket.exceptions import WebSocketError as Error
    from geventwebsocket.handler import WebSocketHandler as Handler
    from geventwebsocket.protocols.base import BaseProtocol as Protocol

    assert (TheResource, Error, Handler, Protocol) == (Resource, WebSocketError, WebSocketHandler, BaseProtocol)
    assert get_version() == geventwebsocket.get_version() == "0.10.1"
    assert issubclass(Error, OSError)


@pytest.mark.usefixtures("spare_imports")
def test_worker_of_gunicorn_is_found_under_its_name() -> None:
    ggevent = pytest.importorskip("gunicorn.workers.ggevent")
    install()
    import geventwebsocket
    from geventwebsocket.gunicorn.workers import GeventWebSocketWorker

    assert issubclass(GeventWebSocketWorker, ggevent.GeventPyWSGIWorker)
    assert GeventWebSocketWorker is geventwebsocket.GeventWebSocketWorker
    with pytest.raises(AttributeError, match="no_such_name"):
        geventwebsocket.no_such_name  # noqa: B018


def test_application_has_methods_for_what_happens(make_site: Callable[..., Site]) -> None:
    calls: list[Any] = []

    class EchoApplication(WebSocketApplication):
        def on_open(self) -> None:
            calls.append("open")

        def on_message(self, message: Any) -> None:
            assert self.ws.current_app is self
            self.ws.send(message)

        def on_close(self, reason: Any) -> None:
            calls.append(reason)

    site = make_site(WebSocketServer)
    _, peer = site.open(Resource({"/": EchoApplication}), raw_http.request())
    peer.text("hello")
    assert peer.read_message() == "hello"
    close(peer)
    wait_until(lambda: site.log)
    assert calls == ["open", None]
    assert '"GET / HTTP/1.1" 101' in site.log[0]


def test_websocket_is_in_the_environment(site: Site) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes] | None:
        if environ["PATH_INFO"] == "/echo":
            ws = environ["wsgi.websocket"]
            ws.send(ws.receive())
        return [environ["wsgi.websocket_version"].encode()]

    _, peer = site.open(application, raw_http.request("/echo") + wire.frame(wire.TEXT, b"early", key=b"abcd"))
    assert peer.read_message() == "early"
    assert peer.finish_close() == (1000, "")
    peer.read_eof()


# What an application has


def test_websocket_tells_of_its_request(site: Site) -> None:
    def view(ws: WebSocket) -> None:
        assert ws.environ["wsgi.websocket"] is ws
        ws.send(f"{ws.path} {ws.origin} {ws.protocol} {ws.version} {type(ws.handler).__name__}")

    headers: dict[str, str | None] = {"Origin": "https://other.example", "Sec-WebSocket-Protocol": "a, b"}
    _, peer = site.open(app(view), raw_http.request("/path?query", headers))
    assert peer.read_message() == "/path https://other.example a, b 13 WebSocketHandler"


def test_binary_messages_are_bytearrays(site: Site) -> None:
    def view(ws: WebSocket) -> None:
        ws.send(type(ws.receive()).__name__)
        ws.send(type(ws.receive()).__name__)

    _, peer = site.open(app(view), raw_http.request())
    peer.binary(b"x")
    peer.text("x")
    assert [peer.read_message(), peer.read_message()] == ["bytearray", "str"]


def test_end_is_none_and_after_that_an_error(site: Site) -> None:
    seen: list[Any] = []

    def view(ws: WebSocket) -> None:
        seen.extend([ws.closed, ws.receive(), ws.closed])
        for call in (ws.receive, lambda: ws.send("x"), lambda: ws.send_frame("", ws.OPCODE_PING)):
            with pytest.raises(WebSocketError):
                call()
        ws.close()
        seen.append("end")

    _, peer = site.open(app(view), raw_http.request())
    close(peer)
    wait_until(lambda: "end" in seen)
    assert seen == [False, None, True, "end"]


@pytest.mark.parametrize(
    "message, binary, expected",
    [
        ("text", None, "text"),
        (b"data", None, b"data"),
        (bytearray(b"data"), None, b"data"),
        ([1, 2], None, b"\1\2"),
        (5, False, "5"),
        (None, False, ""),
        (b"text", False, "text"),
        ("data", True, b"data"),
    ],
)
def test_anything_can_be_sent(site: Site, message: Any, binary: bool | None, expected: str | bytes) -> None:
    _, peer = site.open(app(lambda ws: ws.send(message, binary)), raw_http.request())
    assert peer.read_message() == expected


def test_frames_of_any_kind_can_be_sent(site: Site) -> None:
    def view(ws: WebSocket) -> None:
        for _ in range(2):
            ws.send_frame("same", ws.OPCODE_PING)
        ws.send_frame(b"pong", ws.OPCODE_PONG)
        ws.send_frame(b"data", ws.OPCODE_BINARY)
        with pytest.raises(ValueError, match="opcode 0"):
            ws.send_frame("x", ws.OPCODE_CONTINUATION)
        with pytest.raises(ValueError, match="close frame"):
            ws.send_frame(b"\1", ws.OPCODE_CLOSE)
        ws.send_frame(b"\x0f\xa0enough", ws.OPCODE_CLOSE)

    _, peer = site.open(app(view), raw_http.request())
    frames = [peer.read_frame() for _ in range(3)]
    assert [(frame.opcode, frame.payload) for frame in frames] == [
        (wire.PING, b"same"),
        (wire.PONG, b"pong"),
        (wire.BINARY, b"data"),
    ]
    assert peer.finish_close(4000) == (4000, "enough")


def test_close_has_a_code_and_a_message(site: Site) -> None:
    def view(ws: WebSocket) -> None:
        with pytest.raises(ValueError):
            ws.close(1006)
        ws.close(4000, b"enough")
        ws.close()
        assert ws.closed

    _, peer = site.open(app(view), raw_http.request())
    assert peer.finish_close(4000) == (4000, "enough")


# Faults of gevent-websocket that are gone


def test_messages_of_several_greenlets_do_not_mix(site: Site) -> None:
    def view(ws: WebSocket) -> None:
        greenlets = [gevent.spawn(ws.send, bytes([number]) * 2**20) for number in range(4)]
        greenlets += [gevent.spawn(ws.send, "small") for _ in range(3)]
        gevent.joinall(greenlets, raise_error=True)

    _, peer = site.open(app(view), raw_http.request())
    received = [peer.read_message() for _ in range(7)]
    assert sorted(message for message in received if isinstance(message, bytes)) == [
        bytes([number]) * 2**20 for number in range(4)
    ]
    assert received.count("small") == 3


def test_short_messages_do_not_get_into_a_long_one(site: Site) -> None:
    long = "x" * 6_000_000

    def view(ws: WebSocket) -> None:
        senders = [gevent.spawn(ws.send, long)]
        senders += [gevent.spawn(lambda: [ws.send(str(number)) for number in range(500)]) for _ in range(3)]
        gevent.joinall(senders, raise_error=True)

    _, peer = site.open(app(view), raw_http.request())
    received = [peer.read_message() for _ in range(1501)]
    assert received.count(long) == 1
    assert sorted(received) == sorted([long, *(str(number) for number in range(500) for _ in range(3))])


def test_several_greenlets_may_send_more_than_the_peer_takes(site: Site) -> None:
    def view(ws: WebSocket) -> None:
        def send(number: int) -> None:
            for _ in range(20):
                ws.send(bytes([number]) * 200_000)

        gevent.joinall([gevent.spawn(send, number) for number in range(8)], raise_error=True)

    _, peer = site.open(app(view), raw_http.request())
    received = [peer.read_message() for _ in range(160)]
    assert sorted(received) == [bytes([number]) * 200_000 for number in range(8) for _ in range(20)]


def test_peer_that_does_not_read_is_an_error_after_a_while(make_site: Callable[..., Site]) -> None:
    class Handler(WebSocketHandler):
        websocket_options: ClassVar[Any] = {"send_timeout": 0.05}

    ends: list[Any] = []

    def view(ws: WebSocket) -> None:
        with pytest.raises(TimeoutError):
            while True:
                ws.send(b"x" * 2**20)
        ends.append(ws.closed)
        ws.stream.terminate()

    make_site(handler_class=Handler).open(app(view), raw_http.request())
    wait_until(lambda: ends)


def test_frame_without_a_mask_ends_the_connection(site: Site) -> None:
    _, peer = site.open(app(echo), raw_http.request() + wire.frame(wire.BINARY, b"x" * 100))
    assert peer.read_close()[0] == 1002


def test_long_text_does_not_hold_up_others(site: Site) -> None:
    text = "\u00e4" * 2**21
    frame = wire.frame(wire.TEXT, text.encode(), key=b"abcd")
    lengths: list[int] = []
    gaps: list[float] = []

    def view(ws: WebSocket) -> None:
        message = ws.receive()
        assert message is not None
        lengths.append(len(message))

    def tick() -> None:
        while not lengths:
            before = monotonic()
            gevent.sleep(0)
            gaps.append(monotonic() - before)

    _, peer = site.open(app(view), raw_http.request())
    ticking = gevent.spawn(tick)
    peer.sock.sendall(frame)
    assert peer.finish_close() == (1000, "")
    ticking.get()
    assert lengths == [2**21]
    assert max(gaps) < 0.4


def test_close_is_answered_with_its_code(site: Site) -> None:
    _, peer = site.open(app(echo), raw_http.request())
    close(peer)  # which looks for it


def test_request_in_http_1_0_is_refused_with_a_reason(site: Site) -> None:
    response = site.ask(app(echo), raw_http.request(version="HTTP/1.0"))
    assert response.status == 505
    assert b"needs HTTP/1.1" in response.body


def test_options_are_those_of_the_upgrader(make_site: Callable[..., Site]) -> None:
    class Handler(WebSocketHandler):
        websocket_options = {"max_size": 100_000, "compression": True, "origins": "same"}  # noqa: RUF012

    site = make_site(handler_class=Handler)
    assert site.ask(app(echo), raw_http.request("/", {"Origin": "https://other.example"})).status == 403
    sock = site.connect(app(echo))
    sock.sendall(raw_http.request("/", {"Sec-WebSocket-Extensions": "permessage-deflate"}))
    response, _ = raw_http.read_response(sock)
    assert response.headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")
    peer = Peer(sock, client=True, deflate=Deflate())
    deflater = zlib.compressobj(wbits=-15)
    payload = deflater.compress(b"x" * 100_001) + deflater.flush(zlib.Z_SYNC_FLUSH)
    peer.send(wire.BINARY, payload[:-4], rsv=wire.RSV1)
    assert peer.read_close()[0] == 1009


def test_longest_message_has_16_mib(site: Site) -> None:
    _, peer = site.open(app(echo), raw_http.request())
    peer.send_bytes(wire.frame(wire.BINARY, b"", key=b"abcd", length=2**24 + 1))
    assert peer.read_close()[0] == 1009


def test_client_that_has_gone_is_no_error(make_site: Callable[..., Site], caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []

    class Talker(WebSocketApplication):
        def on_open(self) -> None:
            self.ws.send("hello")
            while True:
                self.ws.receive()
                self.ws.send("more")

        def on_close(self, reason: Any) -> None:
            ended.append("Talker")

    def view(ws: WebSocket) -> None:
        try:
            while True:
                ws.receive()
                ws.send("more")
        finally:
            ended.append("view")

    for application in (Resource([("/", Talker)]), app(view)):
        site = make_site()
        _, peer = site.open(application, raw_http.request())
        peer.reset()
        wait_until(lambda site=site: site.log)
    assert ended == ["Talker", "view"]
    assert errors_of(caplog) == []


def test_application_that_raises_is_logged_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    closed: list[str] = []

    class Broken(WebSocketApplication):
        def on_message(self, message: Any) -> None:
            raise RuntimeError("a bug")

        def on_close(self, reason: Any) -> None:
            closed.append("closed")

    _, peer = site.open(Resource([("/", Broken)]), raw_http.request())
    peer.text("x")
    assert peer.finish_close(1011) == (1011, "")
    wait_until(lambda: site.log)
    assert len(errors_of(caplog)) == 1
    assert "the handler failed" in errors_of(caplog)[0]
    assert closed == ["closed"]


def test_application_that_returns_nothing_is_no_error(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> None:
        environ["wsgi.websocket"].send("hello")

    _, peer = site.open(application, raw_http.request())
    assert peer.read_message() == "hello"
    assert peer.finish_close() == (1000, "")
    assert not errors_of(caplog)


def test_error_of_another_connection_is_an_error(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    def view(ws: WebSocket) -> None:
        raise WebSocketError("of another connection")

    _, peer = site.open(app(view), raw_http.request())
    assert peer.finish_close(1011) == (1011, "")
    assert len(errors_of(caplog, logging.ERROR)) == 1


def test_answer_that_is_an_error_is_told(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    flask = pytest.importorskip("flask")
    application = flask.Flask(__name__)
    application.add_url_rule("/echo", view_func=lambda: "not reached")
    _, peer = site.open(application, raw_http.request("/echo"))
    assert peer.finish_close(1011) == (1011, "")
    [text] = errors_of(caplog)
    assert text == "the application answers a WebSocket with 400 BAD REQUEST (a route of Flask needs websocket=True)"


# The server and the handler


def test_plain_requests_reach_the_application(site: Site) -> None:
    assert site.ask(app(echo), raw_http.plain_request()).body == b"a page"


def test_resource_has_applications_by_path(make_site: Callable[..., Site]) -> None:
    class One(WebSocketApplication):
        def on_open(self) -> None:
            self.ws.send("one")

    site = make_site()
    resource = Resource([("^/one", One), ("^/", app(echo))])
    _, peer = site.open(resource, raw_http.request("/one"))
    assert peer.read_message() == "one"
    assert site.ask(resource, raw_http.plain_request("/one")).body == b"a page"
    assert site.ask(resource, raw_http.request("/two")).body == b"a page"
    assert Resource().has_websocket("/") is False
    empty = make_site()
    for data in (raw_http.plain_request(), raw_http.request()):
        assert empty.ask(Resource(), data).status == 404


@pytest.mark.parametrize("offer, chosen", [("chat, other", "chat"), ("chatter", None)])
def test_subprotocol_is_that_of_the_application(site: Site, offer: str, chosen: str | None) -> None:
    class Chat(BaseProtocol):
        PROTOCOL_NAME = "chat"

        def on_message(self, message: Any) -> None:
            super().on_message(f"{message} {self.server is site.server} {self.handler is self.app.ws.handler}")

    class ChatApplication(WebSocketApplication):
        protocol_class = Chat

    request = raw_http.request("/", {"Sec-WebSocket-Protocol": offer})
    response, peer = site.open(Resource([("/", ChatApplication)]), request)
    assert response.headers.get("Sec-WebSocket-Protocol") == chosen
    peer.text("hello")
    assert peer.read_message() == "hello True True"


def test_server_has_its_clients(make_site: Callable[..., Site]) -> None:
    def view(ws: WebSocket) -> None:
        client = ws.handler.active_client
        ws.send(f"{client.ws is ws} {client.address == ws.handler.client_address}")
        echo(ws)

    site = make_site(WebSocketServer)
    peers = [site.open(app(view), raw_http.request())[1] for _ in range(2)]
    assert [peer.read_message() for peer in peers] == ["True True"] * 2
    for client in list(site.server.clients.values()):
        client.ws.send("to all")
    assert [peer.read_message() for peer in peers] == ["to all"] * 2
    for peer in peers:
        close(peer)
    wait_until(lambda: not site.server.clients)


def test_clients_over_a_unix_socket_are_told_apart(tmp_path: Path) -> None:
    def view(ws: WebSocket) -> None:
        ws.send(f"{ws.handler.active_client.ws is ws} {len(ws.handler.server.clients)}")
        echo(ws)

    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        server = WebSocketServer(listener, app(view), log=None)
        server.start()
        ends = [connect(f"ws+unix:{path}:/") for _ in range(2)]
        assert [ws.recv(timeout=5) for ws in ends] == ["True 1", "True 2"]
        server.stop(timeout=1)
        assert all(ws.wait_closed(timeout=5) for ws in ends)
        assert [ws.close_code for ws in ends] == [1001, 1001]
        wait_until(lambda: not server.clients)


def test_application_may_give_its_client_attributes(site: Site) -> None:
    def view(ws: WebSocket) -> None:
        ws.handler.active_client.nickname = "Ada"
        ws.send(", ".join(client.nickname for client in ws.handler.server.clients.values()))

    _, peer = site.open(app(view), raw_http.request())
    assert peer.read_message() == "Ada"


def test_server_that_stops_closes_with_1001(make_site: Callable[..., Site]) -> None:
    site = make_site(WebSocketServer)
    _, peer = site.open(app(echo), raw_http.request())
    wait_until(lambda: site.server.clients)
    site.server.stop(timeout=1)
    assert peer.finish_close(1001) == (1001, "")


@pytest.mark.parametrize("plain", [True, False])
def test_hook_may_keep_a_request_plain(make_site: Callable[..., Site], plain: bool) -> None:
    site = make_site(WebSocketServer, pre_start_hook=lambda handler: plain)
    sock = site.connect(app(echo))
    sock.sendall(raw_http.request())
    assert raw_http.read_response(sock)[0].status == (200 if plain else 101)


def test_handler_may_call_the_application_itself(make_site: Callable[..., Site]) -> None:
    class Handler(WebSocketHandler):
        prevent_wsgi_call = True

        def run_application(self) -> None:
            super().run_application()
            assert self.websocket is not None
            self.websocket.send("by hand")

    site = make_site(handler_class=Handler)
    _, peer = site.open(app(echo), raw_http.request())
    assert peer.read_message() == "by hand"
    assert peer.finish_close() == (1000, "")


def test_debug_logs_begin_and_end(make_site: Callable[..., Site], capsys: pytest.CaptureFixture[str]) -> None:
    site = make_site(WebSocketServer, debug=True)
    _, peer = site.open(app(lambda ws: ws.logger.debug("mine")), raw_http.request())
    assert peer.finish_close() == (1000, "")
    wait_until(lambda: site.log)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" for")[0] for line in lines] == ["opened a WebSocket", "mine", "the WebSocket"]
