from __future__ import annotations

import logging
import os
import socket as std_socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import GreenletExit, Timeout, socket
from tools import raw_http, wire
from tools.links import reset, set_buffers, tls_pair
from tools.peer import Peer
from tools.timing import stopwatch, wait_until

from geventws.deflate import PerMessageDeflate
from geventws.exceptions import HandshakeError, InvalidHeader
from geventws.headers import Headers
from geventws.http11 import Request, RequestParser, Response, refusal
from geventws.options import ConnectionOptions, Options, UpgraderOptions
from geventws.upgrader import Upgrader
from geventws.websocket import WebSocket

Pair = tuple[Any, Any]


@pytest.fixture
def sockets() -> Iterator[Callable[[], Pair]]:
    """Makes connected pairs (client's socket, server's socket)."""
    opened: list[Any] = []

    def make() -> Pair:
        pair = socket.socketpair()
        opened.extend(pair)
        return pair

    yield make
    for sock in opened:
        sock.close()


def parsed(data: bytes) -> Request:
    request = RequestParser().feed(data)
    assert request is not None
    return request


class Visit:
    """One request to an Upgrader: its WebSocket or None, and the client's side."""

    def __init__(self, pair: Pair, upgrader: Upgrader, data: bytes, head: bytes = b"", **arguments: Any) -> None:
        self.client, server = pair
        self.request = parsed(data)
        self.server = server
        self.upgrade = gevent.spawn(upgrader.upgrade, self.request, server, head, **arguments)
        self.response, self.rest = raw_http.read_response(self.client)

    @property
    def ws(self) -> WebSocket:
        ws = self.upgrade.get(timeout=5)
        assert isinstance(ws, WebSocket)
        return ws

    def end(self) -> None:
        """The client goes; what the Upgrader made of the request ends."""
        self.client.close()
        ws = self.upgrade.get(timeout=5)
        if ws is not None:
            ws.terminate()
            wait_until(lambda: ws._on_closed is None)


@pytest.fixture
def visit(sockets: Callable[[], Pair]) -> Iterator[Callable[..., Visit]]:
    made: list[Visit] = []

    def make(upgrader: Upgrader, data: bytes = raw_http.request(), head: bytes = b"", **arguments: Any) -> Visit:
        made.append(Visit(sockets(), upgrader, data, head, **arguments))
        return made[-1]

    yield make
    for each in made:
        each.end()


def test_valid_request_becomes_a_websocket(visit: Callable[..., Visit]) -> None:
    seen = visit(Upgrader())
    assert seen.response.status == 101
    assert seen.response.headers["Sec-WebSocket-Accept"] == raw_http.ACCEPT
    assert seen.ws.request is seen.request
    assert seen.ws.response.status == 101
    assert seen.ws.environ is None
    peer = Peer(seen.client, client=True)
    peer.text("hello")
    assert seen.ws.recv(timeout=5) == "hello"
    seen.ws.send("you")
    assert peer.read_message() == "you"


def test_bytes_behind_the_request_are_frames(visit: Callable[..., Visit]) -> None:
    first = wire.frame(wire.TEXT, b"early", key=b"abcd")
    seen = visit(Upgrader(), head=first[:-2])
    seen.client.sendall(first[-2:])
    assert seen.ws.recv(timeout=5) == "early"


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_standard_sockets_are_taken(kind: str) -> None:
    if kind == "unix":
        client, server = std_socket.socketpair()
    else:
        with std_socket.create_server(("127.0.0.1", 0)) as listener:
            client = std_socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
    with client:
        ws = Upgrader().upgrade(parsed(raw_http.request()), server)
        assert ws is not None
        assert raw_http.read_response(client)[0].status == 101
        client.sendall(wire.frame(wire.TEXT, b"x", key=b"abcd"))
        assert ws.recv(timeout=5) == "x"
        ws.terminate()


# Refusals


@pytest.mark.parametrize(
    "data, status",
    [
        (raw_http.request(method="POST"), 405),
        (raw_http.request(headers={"Host": None}), 400),
        (raw_http.request(headers={"Content-Length": "11"}), 400),
        (raw_http.request(headers={"Transfer-Encoding": "chunked"}), 400),
        (raw_http.request(headers={"Upgrade": None}), 426),
        (raw_http.request(headers={"Connection": "close"}), 400),
        (raw_http.request(headers={"Sec-WebSocket-Key": "x"}), 400),
        (raw_http.request(headers={"Sec-WebSocket-Version": "99"}), 426),
        (raw_http.request(headers={"Origin": "https://evil.example"}), 403),
        (raw_http.request(version="HTTP/1.0"), 505),
        (raw_http.plain_request(), 426),
        (raw_http.plain_request(method="POST"), 405),
    ],
)
def test_other_requests_are_refused_in_one_line_of_text(visit: Callable[..., Visit], data: bytes, status: int) -> None:
    seen = visit(Upgrader(), data)
    assert seen.response.status == status
    assert seen.response.body.endswith(b"\n")
    assert seen.response.body.count(b"\n") == 1
    assert "close" in seen.response.headers["Connection"]
    assert seen.client.recv(1) == b""
    seen.client.close()
    assert seen.upgrade.get(timeout=5) is None


def test_other_paths_get_404(visit: Callable[..., Visit]) -> None:
    upgrader = Upgrader(path="/chat")
    assert visit(upgrader, raw_http.request("/chat?room=1")).response.status == 101
    assert visit(upgrader, raw_http.request("/chat/")).response.status == 404
    assert visit(upgrader, raw_http.plain_request("/other")).response.status == 404
    assert visit(upgrader, raw_http.plain_request("/chat")).response.status == 426


def test_should_handle_can_be_overridden(visit: Callable[..., Visit]) -> None:
    class Rooms(Upgrader):
        def should_handle(self, request: Request) -> bool:
            return request.path.startswith("/rooms/")

    assert visit(Rooms(), raw_http.request("/rooms/1")).response.status == 101
    assert visit(Rooms(), raw_http.request("/other")).response.status == 404


def test_answer_reaches_a_client_that_goes_on_sending(visit: Callable[..., Visit], sockets: Callable[[], Pair]) -> None:
    client, server = sockets()
    client.sendall(b"x" * 50_000)
    upgrade = gevent.spawn(Upgrader().upgrade, parsed(raw_http.plain_request()), server)
    response, _ = raw_http.read_response(client)
    assert response.status == 426
    client.sendall(b"x" * 50_000)
    assert client.recv(1) == b""
    client.close()
    upgrade.get(timeout=5)


def test_client_that_never_goes_is_cut_off(sockets: Callable[[], Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geventws.opening._LINGER", 0.02)
    client, server = sockets()
    assert Upgrader().upgrade(parsed(raw_http.plain_request()), server) is None
    assert server.fileno() == -1
    assert client.fileno() != -1


def test_client_that_never_stops_sending_is_cut_off(
    sockets: Callable[[], Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geventws.opening._LINGER_SIZE", 100_000)
    client, server = sockets()

    def flood() -> bool:
        try:
            client.sendall(b"x" * 10_000_000)
        except OSError:
            return True
        return False

    cut_off = gevent.spawn(flood)
    assert Upgrader().upgrade(parsed(raw_http.plain_request()), server) is None
    assert cut_off.get(timeout=5)


def test_client_that_has_gone_is_no_error(sockets: Callable[[], Pair], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client, server = sockets()
    client.close()
    assert Upgrader().upgrade(parsed(raw_http.request()), server) is None
    assert server.fileno() == -1
    assert [record.levelname for record in caplog.records] == ["INFO"]


def big_answer(request: Request) -> Response:
    return Response(200, body=bytes(2_000_000))


def test_client_that_does_not_read_is_given_up_at_the_deadline(sockets: Callable[[], Pair]) -> None:
    _client, server = sockets()
    upgrader = Upgrader(process_request=big_answer, open_timeout=0.05)
    with stopwatch() as watch:
        assert upgrader.upgrade(parsed(raw_http.plain_request()), server) is None
    assert watch.seconds < 1
    assert server.fileno() == -1


@pytest.mark.parametrize("error", [GreenletExit(), Timeout(), KeyboardInterrupt(), ValueError()])
def test_exception_thrown_in_while_it_writes_passes_and_closes_the_socket(
    sockets: Callable[[], Pair], error: BaseException
) -> None:
    _client, server = sockets()
    upgrader = Upgrader(process_request=big_answer)
    gevent.get_hub().loop.run_callback(gevent.getcurrent().throw, error)
    with pytest.raises(type(error)) as caught:
        upgrader.upgrade(parsed(raw_http.plain_request()), server)
    assert caught.value is error
    assert server.fileno() == -1


def test_kill_while_it_hangs_up_closes_the_socket(sockets: Callable[[], Pair]) -> None:
    client, server = sockets()
    upgrade = gevent.spawn(Upgrader().refuse, server, HandshakeError("no", refusal(400, "no")))
    assert raw_http.read_response(client)[0].status == 400
    upgrade.kill()
    assert server.fileno() == -1


def test_kill_while_it_refuses_closes_the_socket(sockets: Callable[[], Pair]) -> None:
    _client, server = sockets()
    error = HandshakeError("no", Response(400, body=bytes(2_000_000)))
    upgrade = gevent.spawn(Upgrader().refuse, server, error)
    gevent.sleep(0)
    upgrade.kill()
    assert server.fileno() == -1


# Hooks


def test_process_request_may_set_user_and_data(visit: Callable[..., Visit]) -> None:
    def authenticate(request: Request) -> None:
        request.user = "ada"
        request.data["room"] = request.query

    seen = visit(Upgrader(process_request=authenticate), raw_http.request("/?1"))
    assert seen.ws.request.user == "ada"
    assert seen.ws.data == {"room": "1"}


def test_process_request_sees_who_asks(make_link: Callable[..., Pair]) -> None:
    seen: list[Any] = []
    pair = make_link()
    address = pair[0].getsockname()
    upgrader = Upgrader(process_request=lambda request: seen.append((request.remote_address, request.peer_certificate)))
    visit = Visit(pair, upgrader, raw_http.request())
    assert seen == [(address, None)]
    assert visit.ws.remote_address == address
    assert visit.ws.peer_certificate is None
    visit.end()


def test_process_request_sees_the_certificate_of_the_client(
    mutual_client_context: Any, mutual_server_context: Any
) -> None:
    def known(request: Request) -> Response | None:
        assert request.peer_certificate is not None
        names = dict(request.peer_certificate["subjectAltName"])
        return None if names["email"] == "client@example.com" and request.path == "/mine" else Response(403)

    upgrader = Upgrader(process_request=known)
    visits = [
        Visit(tls_pair(mutual_client_context, mutual_server_context), upgrader, raw_http.request(path))
        for path in ("/mine", "/yours")
    ]
    assert [visit.response.status for visit in visits] == [101, 403]
    certificate = visits[0].ws.peer_certificate
    assert certificate is not None
    for visit in visits:
        visit.end()
    assert visits[0].ws.peer_certificate is certificate


def test_on_handshake_error_sees_who_asked(make_link: Callable[..., Pair]) -> None:
    seen: list[Any] = []
    pair = make_link()
    upgrader = Upgrader(path="/chat", on_handshake_error=lambda error, request: seen.append(request))
    visit = Visit(pair, upgrader, raw_http.request("/elsewhere"))
    assert [request.remote_address for request in seen] == [pair[0].getsockname()]
    visit.end()


def test_process_request_may_refuse_with_anything(visit: Callable[..., Visit]) -> None:
    answer = Response(401, headers=[("WWW-Authenticate", 'Basic realm="x"'), ("Date", "then")], body=b"who are you?")
    seen = visit(Upgrader(process_request=lambda request: answer))
    assert seen.response.status == 401
    assert seen.response.headers["WWW-Authenticate"] == 'Basic realm="x"'
    assert seen.response.headers["Connection"] == "close"
    assert seen.response.headers["Date"] == "then"
    assert seen.response.body == b"who are you?"
    assert answer.headers.get("Connection") is None


def test_process_request_may_answer_plain_http(visit: Callable[..., Visit]) -> None:
    def health(request: Request) -> Response | None:
        return Response(200, body=b"well") if request.path == "/health" else None

    upgrader = Upgrader(path="/chat", process_request=health)
    assert visit(upgrader, raw_http.plain_request("/health")).response.body == b"well"
    assert visit(upgrader, raw_http.plain_request("/health", method="POST")).response.status == 200
    assert visit(upgrader, raw_http.plain_request("/chat")).response.status == 426
    assert visit(upgrader, raw_http.request("/chat")).response.status == 101


def test_answer_to_head_has_no_body(sockets: Callable[[], Pair]) -> None:
    client, server = sockets()
    upgrader = Upgrader(process_request=lambda request: Response(200, body=b"well"))
    upgrade = gevent.spawn(upgrader.upgrade, parsed(raw_http.plain_request(method="HEAD")), server)
    data = b""
    while piece := client.recv(1000):
        data += piece
    assert b"\r\nContent-Length: 4\r\n" in data
    assert data.endswith(b"\r\n\r\n")
    client.close()
    upgrade.get(timeout=5)


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-WebSocket-Key": "x"}])
def test_process_request_sees_valid_requests_only(visit: Callable[..., Visit], headers: dict[str, str | None]) -> None:
    seen: list[Request] = []
    visit(Upgrader(process_request=seen.append), raw_http.request(headers=headers))
    assert not seen


def fail(*arguments: Any, **options: Any) -> Any:
    raise RuntimeError("a bug")


class Broken(Upgrader):
    should_handle = fail


@pytest.mark.parametrize(
    "upgrader, name",
    [
        (Upgrader(process_request=fail), "process_request"),
        (Upgrader(process_request=lambda request: Response(101)), "process_request"),
        (Upgrader(process_request=lambda request: Response(199)), "process_request"),
        (
            Upgrader(process_request=lambda request: Response(200, None, {"Content-Length": "1"}, b"ab")),
            "process_request",
        ),
        (Upgrader(process_request=lambda request: (403, "no")), "process_request"),  # type: ignore[arg-type, return-value]
        (Upgrader(select_subprotocol=fail), "select_subprotocol"),
        (Upgrader(select_subprotocol=lambda offered, request: "other"), "select_subprotocol"),
        (Upgrader(process_response=fail), "process_response"),
        (Upgrader(process_response=lambda request, response: Response(403)), "process_response"),
        (Upgrader(process_response=lambda request, response: Response(101)), "process_response"),
        (Broken(), "should_handle"),
    ],
)
def test_hook_that_fails_is_logged_and_answered_with_500(
    visit: Callable[..., Visit], caplog: pytest.LogCaptureFixture, upgrader: Upgrader, name: str
) -> None:
    seen = visit(upgrader, raw_http.request(headers={"Sec-WebSocket-Protocol": "chat"}))
    assert seen.response.status == 500
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == f"{name} failed"
    assert record.exc_info is not None
    assert b"bug" not in seen.response.body


@pytest.mark.parametrize(
    "name", ["Sec-WebSocket-Accept", "upgrade", "Connection", "Sec-WebSocket-Protocol", "Content-Length"]
)
def test_process_response_cannot_change_the_handshake(visit: Callable[..., Visit], name: str) -> None:
    def edit(request: Request, response: Response) -> None:
        response.headers[name] = "1"

    assert visit(Upgrader(process_response=edit)).response.status == 500


def test_process_response_may_add_headers(visit: Callable[..., Visit]) -> None:
    def edit(request: Request, response: Response) -> None:
        response.headers.add("Set-Cookie", f"path={request.path}")

    seen = visit(Upgrader(process_response=edit), raw_http.request("/x"))
    assert seen.response.headers["Set-Cookie"] == "path=/x"
    assert seen.ws.response.headers["Set-Cookie"] == "path=/x"


def test_process_response_may_return_another_response(visit: Callable[..., Visit]) -> None:
    def edit(request: Request, response: Response) -> Response:
        return Response(101, "Yes", Headers([*response.headers.items(), ("X", "1")]))

    seen = visit(Upgrader(process_response=edit))
    assert (seen.response.reason, seen.response.headers["X"]) == ("Yes", "1")


@pytest.mark.parametrize("name", ["process_request", "process_response", "on_handshake_error"])
@pytest.mark.parametrize("answer", [True, (403, "no")])
def test_log_says_what_a_hook_should_have_returned(
    visit: Callable[..., Visit], caplog: pytest.LogCaptureFixture, name: str, answer: Any
) -> None:
    data = raw_http.request(headers={"Upgrade": None} if name == "on_handshake_error" else None)
    visit(Upgrader(**{name: lambda *arguments: answer}), data)
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == f"{name} returns a Response or None, not {answer!r}"


def test_exception_of_the_callers_passes_through_a_hook(sockets: Callable[[], Pair]) -> None:
    error = Timeout()

    def interrupted(request: Request) -> None:
        raise error

    _client, server = sockets()
    with pytest.raises(Timeout) as caught:
        Upgrader(process_request=interrupted).upgrade(parsed(raw_http.request()), server)
    assert caught.value is error
    assert server.fileno() == -1


def test_on_handshake_error_may_replace_the_answer(visit: Callable[..., Visit]) -> None:
    seen: list[tuple[HandshakeError, Request | None]] = []

    def on_error(error: HandshakeError, request: Request | None) -> Response:
        seen.append((error, request))
        return Response(418, body=b"short and stout")

    visited = visit(Upgrader(on_handshake_error=on_error), raw_http.request(headers={"Sec-WebSocket-Key": None}))
    assert (visited.response.status, visited.response.body) == (418, b"short and stout")
    [(error, request)] = seen
    assert isinstance(error, InvalidHeader)
    assert error.name == "Sec-WebSocket-Key"
    assert request is visited.request


@pytest.mark.parametrize("hook", [lambda error, request: None, fail, lambda error, request: Response(101)])
def test_on_handshake_error_may_leave_the_answer(visit: Callable[..., Visit], hook: Any) -> None:
    assert visit(Upgrader(on_handshake_error=hook), raw_http.plain_request()).response.status == 426


def test_on_handshake_error_is_not_for_what_process_request_refuses(visit: Callable[..., Visit]) -> None:
    upgrader = Upgrader(process_request=lambda request: Response(403), on_handshake_error=fail)
    assert visit(upgrader).response.status == 403


def test_error_without_an_answer_gets_500(sockets: Callable[[], Pair]) -> None:
    client, server = sockets()
    refused = gevent.spawn(Upgrader().refuse, server, HandshakeError("no"))
    assert raw_http.read_response(client)[0].status == 500
    client.close()
    refused.get(timeout=5)


# Subprotocols and compression


def test_subprotocols_are_chosen_in_the_servers_order(visit: Callable[..., Visit]) -> None:
    data = raw_http.request(headers={"Sec-WebSocket-Protocol": "a, b, c"})
    assert visit(Upgrader(subprotocols=["b", "a"]), data).ws.subprotocol == "b"
    assert visit(Upgrader(select_subprotocol=lambda offered, request: offered[2]), data).ws.subprotocol == "c"


def test_compression_is_off_by_default(visit: Callable[..., Visit]) -> None:
    data = raw_http.request(headers={"Sec-WebSocket-Extensions": "permessage-deflate"})
    assert visit(Upgrader(), data).ws.extensions == ""
    assert visit(Upgrader(compression=True), data).ws.extensions == "permessage-deflate"
    settings = PerMessageDeflate(server_no_context_takeover=True)
    seen = visit(Upgrader(compression=settings), data)
    assert seen.ws.extensions == "permessage-deflate; server_no_context_takeover"
    assert seen.ws._settings is settings


# Clients


def test_clients_are_the_connections_until_they_end(visit: Callable[..., Visit]) -> None:
    upgrader = Upgrader()
    assert len(upgrader.clients) == 0
    first, second = visit(upgrader), visit(upgrader)
    assert set(upgrader.clients) == {first.ws, second.ws}
    assert first.ws in upgrader.clients
    assert upgrader.clients - {first.ws} == {second.ws}
    assert repr(upgrader.clients) == "<Clients: 2>"
    first.end()
    assert list(upgrader.clients) == [second.ws]


def test_clients_may_change_while_they_are_iterated_over(visit: Callable[..., Visit]) -> None:
    upgrader = Upgrader()
    for _ in range(3):
        visit(upgrader)
    seen = []
    for ws in upgrader.clients:
        seen.append(ws)
        ws.terminate()
        wait_until(lambda ws=ws: ws not in upgrader.clients)
    assert len(seen) == 3
    assert len(upgrader.clients) == 0


def test_refused_requests_are_no_clients(visit: Callable[..., Visit]) -> None:
    upgrader = Upgrader()
    visit(upgrader, raw_http.plain_request())
    assert not upgrader.clients


def test_clients_are_not_kept_where_they_are_not_wanted(visit: Callable[..., Visit]) -> None:
    upgrader = Upgrader(track_clients=False, max_connections=1)
    first = visit(upgrader)
    assert not upgrader.clients
    assert visit(upgrader).response.status == 503
    first.end()
    assert visit(upgrader).response.status == 101


def test_there_are_no_more_connections_than_allowed(visit: Callable[..., Visit]) -> None:
    upgrader = Upgrader(max_connections=2)
    first = visit(upgrader)
    assert visit(upgrader, raw_http.plain_request()).response.status == 426
    assert visit(upgrader).response.status == 101
    full = visit(upgrader)
    assert full.response.status == 503
    assert full.response.headers["Retry-After"] == "5"
    first.end()
    assert visit(upgrader).response.status == 101


def test_connections_that_are_being_opened_count(visit: Callable[..., Visit], sockets: Callable[[], Pair]) -> None:
    waiting = gevent.event.Event()

    def slow(request: Request) -> None:
        if request.path == "/slow":
            waiting.wait()

    upgrader = Upgrader(max_connections=1, process_request=slow)
    _client, server = sockets()
    opening = gevent.spawn(upgrader.upgrade, parsed(raw_http.request("/slow")), server)
    gevent.sleep(0)
    assert visit(upgrader).response.status == 503
    opening.kill()
    assert visit(upgrader).response.status == 101


def test_places_are_given_back_however_the_request_ends(
    visit: Callable[..., Visit], sockets: Callable[[], Pair]
) -> None:
    upgrader = Upgrader(max_connections=1)
    for _ in range(3):
        client, server = sockets()
        reset(client)
        assert upgrader.upgrade(parsed(raw_http.request()), server) is None
    assert visit(upgrader).response.status == 101


# Options


def test_websocket_class_and_options_are_used(visit: Callable[..., Visit]) -> None:
    class Mine(WebSocket):
        pass

    ws = visit(Upgrader(websocket_class=Mine, max_size=10, ping_interval=None)).ws
    assert type(ws) is Mine
    assert ws._options == Options(max_size=10, ping_interval=None)


def test_websocket_class_that_fails_closes_the_socket(sockets: Callable[[], Pair]) -> None:
    class Mine(WebSocket):
        __init__ = fail

    _client, server = sockets()
    with pytest.raises(RuntimeError, match="a bug"):
        Upgrader(websocket_class=Mine).upgrade(parsed(raw_http.request()), server)
    assert server.fileno() == -1


@pytest.mark.parametrize(
    "arguments",
    [
        {"path": "chat"},
        {"path": ""},
        {"path": "/x?y"},
        {"path": "/x#y"},
        {"path": "/x y"},
        {"path": "/ä"},
        {"origins": "https://example.com"},
        {"origins": ["https://example.com/"]},
        {"subprotocols": ["a b"]},
        {"subprotocols": ["a", "a"]},
        {"max_connections": 0},
        {"open_timeout": 0},
        {"open_timeout": -1},
        {"open_timeout": float("nan")},
        {"max_size": 0},
        {"masking_keys": lambda: b"abcd"},
    ],
)
def test_arguments_that_make_no_sense_are_a_value_error(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Upgrader(**arguments)


def test_masking_keys_may_be_none() -> None:
    assert Upgrader(masking_keys=None)


def test_option_that_there_is_not_is_told_as_python_tells_it() -> None:
    with pytest.raises(TypeError, match=r"^Upgrader\(\) got an unexpected keyword argument 'max_length'$"):
        Upgrader(max_length=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "arguments",
    [
        {"no_such_option": 1},
        {"origins": 5},
        {"subprotocols": "chat"},
        {"select_subprotocol": "chat"},
        {"compression": 1},
        {"compression": "yes"},
        {"process_request": Response(403)},
        {"process_response": 1},
        {"on_handshake_error": 1},
        {"open_timeout": "10"},
        {"open_timeout": True},
        {"max_size": "1"},
        {"path": 5},
        {"origins": None},
        {"subprotocols": None},
        {"track_clients": "no"},
        {"max_connections": "5"},
        {"max_connections": 1.5},
        {"max_connections": True},
        {"websocket_class": dict},
        {"websocket_class": print},
    ],
)
def test_arguments_of_the_wrong_type_are_a_type_error(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(arguments))):
        Upgrader(**arguments)


def test_type_checkers_know_the_same_options() -> None:
    options = set(Options.__dataclass_fields__)
    assert set(ConnectionOptions.__annotations__) == options - {"masking_keys"}
    own = set(Upgrader.__init__.__kwdefaults__ or {})
    assert set(UpgraderOptions.__annotations__) == options | own


def test_narrow_client_gets_the_whole_answer(sockets: Callable[[], Pair]) -> None:
    client, server = sockets()
    set_buffers(server, 4096)
    upgrade = gevent.spawn(Upgrader(process_request=big_answer).upgrade, parsed(raw_http.plain_request()), server)
    assert len(raw_http.read_response(client)[0].body) == 2_000_000
    client.close()
    upgrade.get(timeout=5)


def test_no_descriptor_is_made_at_construction() -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    Upgrader(compression=True)
    assert before == (len(os.listdir("/proc/self/fd")) if before else 0)
