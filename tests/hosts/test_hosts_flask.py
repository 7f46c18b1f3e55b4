"""The real hosts, with a Flask application."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from host_process import GEVENT, OTHERS, Host, close
from tools import raw_http, wire

pytest.importorskip("gunicorn")
pytest.importorskip("flask")


@pytest.fixture(scope="module", params=GEVENT + OTHERS, ids=str)
def process(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, client_context: Any, certificate: Any
) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    with Host(request.param, folder, client_context, certificate, "flask_application") as host:
        yield host


def test_route_has_a_websocket_and_the_session(host: Host) -> None:
    sock = host.connect()
    sock.sendall(raw_http.request("/visits") + wire.frame(wire.TEXT, b"early", key=b"abcd"))
    response, _ = raw_http.read_response(sock)
    assert response.status == 101
    cookie = response.headers["Set-Cookie"].partition(";")[0]
    sock.close()
    host.wait_for_access()
    peer = host.open("/visits", wire.frame(wire.TEXT, b"early", key=b"abcd"), {"Cookie": cookie})
    assert peer.read_message() == "visit 2"
    assert peer.read_message() == "early"
    for size in (0, 126, 500_000):
        peer.binary(b"x" * size)
        assert peer.read_message() == b"x" * size
    close(peer)
    assert host.wait_for_access(2).status == "101"


def test_page_is_served_at_the_same_path(host: Host) -> None:
    assert host.ask(raw_http.plain_request("/visits")).body == b"the page of visits"


def test_refused_upgrade_is_an_ordinary_response(host: Host) -> None:
    response = host.ask(raw_http.request("/visits", {"Origin": "https://evil.example"}))
    assert response.status == 403
    assert response.headers["Set-Cookie"].startswith("session=")
    assert host.wait_for_access().status == "403"
    assert host.ask(raw_http.request("/other")).status == 404
