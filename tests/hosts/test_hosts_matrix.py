"""The real hosts, with a plain WSGI application: what is on the wire, and what is in their logs."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from host_process import GEVENT, OTHERS, THREADS, Host, Kind, close, end
from tools import circumstances, raw_http, wire
from tools.checker import Deflate
from tools.timing import let_time_pass, wait_until

pytest.importorskip("gunicorn")
pytest.importorskip("werkzeug")

SIZES = [0, 1, 125, 126, 65_535, 65_536, 2**22]


@pytest.fixture(scope="module", params=GEVENT + OTHERS, ids=str)
def process(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, client_context: Any, certificate: Any
) -> Iterator[Host]:
    with Host(request.param, tmp_path_factory.mktemp("host"), client_context, certificate) as host:
        yield host


def test_access_log_has_the_101_and_how_long_the_connection_lasted(host: Host) -> None:
    peer = host.open("/echo?room=1")
    let_time_pass(0.1)
    assert not host.accesses
    peer.text("hello")
    assert peer.read_message() == "hello"
    close(peer)
    access = host.wait_for_access()
    assert (access.target, access.status) == ("/echo?room=1", "101")
    if host.kind.host != "werkzeug":  # whose log tells neither
        assert 0.1 <= access.seconds < 5
        assert int(access.size) > 100


@pytest.mark.parametrize("size", SIZES)
def test_messages_of_any_size_are_echoed(host: Host, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    peer = host.open("/echo")
    sending = gevent.spawn(peer.binary, data)
    assert peer.read_message() == data
    sending.get()
    close(peer)


@pytest.mark.parametrize("size", [1, 20_000])
def test_frames_behind_the_request_are_received(host: Host, size: int) -> None:
    first = wire.frame(wire.BINARY, b"x" * size, key=b"abcd")
    peer = host.open("/echo", first)
    assert peer.read_message() == b"x" * size
    close(peer)


def test_frames_behind_the_request_are_received_however_they_are_split(host: Host) -> None:
    data = raw_http.request("/echo") + wire.frame(wire.TEXT, b"early", key=b"abcd")
    begun: dict[int, Any] = {}
    for split in range(1, len(data)):
        begun[split] = host.connect()
        begun[split].sendall(data[:split])
        if len(begun) < THREADS - 1 and split < len(data) - 1:  # each takes one of gthread's threads
            continue
        host.ask(raw_http.plain_request())  # once that is answered, the first parts have been read
        for number, sock in begun.items():
            sock.sendall(data[number:])
            peer = host.switch(sock)
            assert peer.read_message() == "early", number
            close(peer)
        begun.clear()


def test_messages_are_compressed(host: Host) -> None:
    sock = host.connect()
    offer: dict[str, str | None] = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    sock.sendall(raw_http.request("/compressed", offer))
    peer = host.switch(sock, Deflate())
    text = b"compress me " * 50_000
    deflater = zlib.compressobj(wbits=-15)
    payload = deflater.compress(text) + deflater.flush(zlib.Z_SYNC_FLUSH)
    peer.send(wire.TEXT, payload[:-4], rsv=wire.RSV1)
    assert peer.read_message() == text.decode()
    [frame] = [each for each in peer.checker.frames if each.opcode == wire.TEXT]
    assert len(frame.payload) < len(text) // 20
    close(peer)


def test_server_closes(host: Host) -> None:
    peer = host.open("/bye")
    assert peer.read_message() == "bye"
    assert peer.finish_close() == (1000, "")
    end(peer)
    assert host.wait_for_access().status == "101"


def test_client_that_goes_without_a_close_frame_is_no_error(host: Host) -> None:
    peer = host.open("/echo")
    peer.text("x")
    assert peer.read_message() == "x"
    peer.reset()
    assert host.wait_for_access().status == "101"


@pytest.mark.parametrize("name", ["RuntimeError", "StopIteration", "Timeout"])
def test_handler_that_raises_is_logged_once(host: Host, name: str) -> None:
    peer = host.open(f"/fail?{name}")
    assert peer.finish_close(1011) == (1011, "")
    end(peer)
    assert host.wait_for_access().status == "101"
    assert host.log.count("Traceback") == 1
    assert host.log.count("ERROR: the handler failed for") == 1
    host.turn_page()


@pytest.mark.not_under("gthread", "werkzeug")  # whose threads are no greenlets, or not only
def test_handler_that_is_killed_ends_with_1001(host: Host) -> None:
    peer = host.open("/fail?GreenletExit")
    assert peer.read_close() == (1001, "")
    end(peer)
    if host.kind.host != "gevent":  # which does not log a request that was killed
        assert host.wait_for_access().status == "101"


def test_refused_upgrade_is_an_ordinary_response(host: Host) -> None:
    response = host.ask(raw_http.request("/echo", {"Origin": "https://evil.example"}))
    assert response.status == 403
    assert response.body.count(b"\n") == 1
    assert response.headers["Connection"] in ("close", "close, close")
    assert len(response.headers.get_all("Date")) == 1
    assert host.wait_for_access().status == "403"


def leave_out_where_werkzeug_is_misled(host: Host) -> None:
    """On libuv, gevent's select tells it of what it has read already. It reads on then, until the client closes."""
    if host.kind.host == "werkzeug" and host.kind.patched and circumstances.is_libuv():
        pytest.skip("gevent's select on libuv tells of what was read already, and werkzeug waits for more")


@pytest.mark.parametrize("path", ["/echo", "/view"])
def test_nothing_behind_a_refused_upgrade_is_read_as_a_request(host: Host, path: str) -> None:
    leave_out_where_werkzeug_is_misled(host)
    sock = host.connect()
    sock.sendall(raw_http.request(path, {"Sec-WebSocket-Version": "7"}) + raw_http.plain_request())
    response, _ = raw_http.read_response(sock)
    assert response.status == 426
    try:
        assert sock.recv(1) == b""
    except ConnectionResetError:
        pass  # what was not read makes the kernel end it so
    assert host.wait_for_access().status == "426"


@pytest.mark.parametrize("path", ["/echo", "/view?hidden"])
@pytest.mark.parametrize("field", ["Content-Length", "Transfer-Encoding"])
def test_upgrade_with_a_body_is_refused_and_nothing_in_or_behind_it_is_read_as_a_request(
    host: Host, path: str, field: str
) -> None:
    leave_out_where_werkzeug_is_misled(host)
    inner, chunked = raw_http.plain_request(), field == "Transfer-Encoding"
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner) if chunked else inner
    sock = host.connect()
    sock.sendall(raw_http.request(path, {field: "chunked" if chunked else str(len(inner))}) + body + inner)
    response, _ = raw_http.read_response(sock)
    assert response.status == 400
    try:
        assert sock.recv(1) == b""
    except ConnectionResetError:
        pass  # what was not read makes the kernel end it so
    assert host.wait_for_access().status == "400"


def test_application_may_refuse_and_let_in(host: Host) -> None:
    response = host.ask(raw_http.request("/private"))
    assert (response.status, response.body) == (401, b"who are you?\n")
    peer = host.open("/private?key")
    assert peer.read_message() == "bye"
    peer.finish_close()
    end(peer)


def test_ordinary_requests_are_served_on_the_same_port(host: Host) -> None:
    peer = host.open("/echo")
    assert host.ask(raw_http.plain_request()).status == 200
    assert host.ask(raw_http.plain_request("/echo")).status == 426
    peer.text("x")
    assert peer.read_message() == "x"
    close(peer)


@pytest.mark.not_under("werkzeug")  # which closes the connection behind each response
def test_upgrade_may_follow_other_requests_on_its_connection(host: Host) -> None:
    sock = host.connect()
    for _ in range(2):
        sock.sendall(raw_http.plain_request())
        assert raw_http.read_response(sock)[0].status == 200
    sock.sendall(raw_http.request("/echo") + wire.frame(wire.TEXT, b"early", key=b"abcd"))
    peer = host.switch(sock)
    assert peer.read_message() == "early"
    close(peer)
    host.wait_for_access(3)
    assert [access.status for access in host.accesses] == ["200", "200", "101"]


@pytest.mark.parametrize("query, status", [("", "101"), ("hidden", "200")])
def test_what_a_view_returns_does_not_reach_the_client(host: Host, query: str, status: str) -> None:
    peer = host.open(f"/view?{query}", wire.frame(wire.TEXT, b"early", key=b"abcd"))
    assert peer.read_message() == "early"
    close(peer)
    assert host.wait_for_access().status == status


@pytest.mark.not_under("gthread")  # where nothing runs in a thread behind the view
@pytest.mark.parametrize("query", ["", "hidden"])
def test_view_may_return_before_its_websocket_ends(host: Host, query: str) -> None:
    peer = host.open(f"/early?{query}", wire.frame(wire.TEXT, b"early", key=b"abcd"))
    host.wait_for_access()
    assert peer.read_message() == "early"
    peer.text("x")
    assert peer.read_message() == "x"
    close(peer)


@pytest.mark.parametrize("query", ["raise", "hidden&raise"])
@pytest.mark.parametrize("name", ["RuntimeError", "StopIteration"])
def test_what_a_view_raises_does_not_reach_the_client(host: Host, query: str, name: str) -> None:
    raise_in_view(host, query, name)


@pytest.mark.not_under("gthread", "werkzeug")  # where what is for greenlets is a fault of the program
@pytest.mark.parametrize("query", ["raise", "hidden&raise"])
@pytest.mark.parametrize("name", ["Timeout", "GreenletExit"])
def test_what_ends_a_views_greenlet_does_not_reach_the_client(host: Host, query: str, name: str) -> None:
    raise_in_view(host, query, name)


def raise_in_view(host: Host, query: str, name: str) -> None:
    peer = host.open(f"/view?{query}&{name}")
    peer.text("x")
    assert peer.read_message() == "x"
    close(peer)
    wait_until(lambda: "the view raises" in host.log, timeout=10)
    host.turn_page()


def test_no_descriptor_is_left_behind(host: Host) -> None:
    def count() -> int:
        return int(host.ask(raw_http.plain_request()).body)

    # Each of gthread's threads has a hub, with descriptors, from its first WebSocket on.
    for peer in [host.open("/echo") for _ in range(THREADS)]:
        close(peer)
    host.hang_up()
    before = count()
    host.hang_up()
    for path in ("/echo", "/view", "/view?hidden", "/echo"):
        close(host.open(path))
    host.hang_up()
    wait_until(lambda: count() <= before + 1)


@pytest.mark.parametrize("kind", GEVENT, ids=str)
def test_exit_of_the_process_writes_nothing_but_a_close_frame(
    kind: Kind, tmp_path: Path, client_context: Any, certificate: Any
) -> None:
    with Host(kind, tmp_path, client_context, certificate) as host:
        peer = host.open("/fail?SystemExit")
        assert peer.read_close() == (1001, "")
        end(peer)
        if kind.host == "pywsgi":
            assert host.wait() == 0
