"""The real hosts, with applications of Flask, Django, Bottle, Falcon and Pyramid, alone and within the middleware."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from host_process import GEVENT, Host, close, end
from tools import raw_http, wire
from tools.checker import Deflate

for package in ("gunicorn", "flask", "django", "bottle", "falcon", "pyramid"):
    pytest.importorskip(package)

FRAMEWORKS = ["flask", "django", "bottle", "falcon", "pyramid"]


@pytest.fixture(scope="module", params=GEVENT, ids=str)
def process(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, client_context: Any, certificate: Any
) -> Iterator[Host]:
    with Host(request.param, tmp_path_factory.mktemp("host"), client_context, certificate, "frameworks") as host:
        yield host


@pytest.fixture(params=["", "/within"], ids=["alone", "within"])
def middleware(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=FRAMEWORKS)
def prefix(request: pytest.FixtureRequest, middleware: str) -> str:
    return f"{middleware}/{request.param}"


def test_view_has_a_websocket(host: Host, prefix: str) -> None:
    peer = host.open(f"{prefix}/chat/one", wire.frame(wire.TEXT, b"early", key=b"abcd"))
    assert peer.read_message() == "one"
    assert peer.read_message() == "early"
    for size in (0, 126, 2**22):
        sending = gevent.spawn(peer.binary, b"x" * size)
        assert peer.read_message() == b"x" * size
        sending.get()
    close(peer)
    assert host.wait_for_access().status == "101"


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_messages_are_compressed(host: Host, name: str) -> None:
    sock = host.connect()
    sock.sendall(raw_http.request(f"/{name}/chat/one", {"Sec-WebSocket-Extensions": "permessage-deflate"}))
    peer = host.switch(sock, Deflate())
    assert peer.read_message() == "one"
    text = "compress me " * 5_000
    peer.text(text)
    assert peer.read_message() == text
    frame = peer.checker.frames[-1]
    assert frame.rsv == wire.RSV1
    assert len(frame.payload) < len(text) // 20
    close(peer)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_server_closes(host: Host, name: str) -> None:
    peer = host.open(f"/{name}/chat/one")
    assert peer.read_message() == "one"
    peer.text("bye")
    assert peer.finish_close() == (1000, "")
    end(peer)
    assert host.wait_for_access().status == "101"


def test_client_that_goes_without_a_close_frame_is_no_error(host: Host, prefix: str) -> None:
    peer = host.open(f"{prefix}/chat/one")
    assert peer.read_message() == "one"
    peer.reset()
    assert host.wait_for_access().status == "101"


def test_handler_that_raises_closes_with_1011(host: Host, prefix: str) -> None:
    peer = host.open(f"{prefix}/fail")
    assert peer.finish_close(1011) == (1011, "")
    end(peer)
    host.wait_for_access()
    host.turn_page()


def test_refused_upgrade_is_an_ordinary_response(host: Host, prefix: str) -> None:
    response = host.ask(raw_http.request(f"{prefix}/chat/one", {"Origin": "https://evil.example"}))
    assert response.status == 403
    assert response.body.count(b"\n") == 1
    assert host.wait_for_access().status == "403"


def test_ordinary_requests_are_served_before_the_upgrade(host: Host, prefix: str) -> None:
    sock = host.connect()
    for room in ("one", "two"):
        sock.sendall(raw_http.plain_request(f"{prefix}/pages/{room}"))
        assert raw_http.read_response(sock)[0].body == f"the page of {room}".encode()
    sock.sendall(raw_http.request(f"{prefix}/chat/three"))
    peer = host.switch(sock)
    assert peer.read_message() == "three"
    close(peer)
    host.wait_for_access(3)
    assert [access.status for access in host.accesses] == ["200", "200", "101"]


@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize("path", ["chat/one", "pages/one", "none"])
def test_nothing_behind_an_answered_upgrade_is_read_as_a_request_within_the_middleware(
    host: Host, name: str, path: str
) -> None:
    sock = host.connect()
    sock.sendall(raw_http.request(f"/within/{name}/{path}", {"Sec-WebSocket-Version": "7"}) + raw_http.plain_request())
    response, _ = raw_http.read_response(sock)
    page = 400 if name == "flask" else 200  # Flask has routes for one or the other
    assert response.status == {"chat/one": 426, "pages/one": page, "none": 404}[path]
    try:
        assert sock.recv(1) == b""
    except ConnectionResetError:
        pass  # what was not read makes the kernel end it so
    assert host.wait_for_access().status == str(response.status)
