from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from gevent import pywsgi, socket
from tools import raw_http, wire
from tools.peer import Peer
from tools.timing import wait_until

pytest.importorskip("django")

import django_settings  # noqa: F401  (sets Django up)
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.http import HttpResponse, HttpResponseForbidden
from django.urls import path

from geventws.http11 import Request, Response
from geventws.integrations.django import websocket
from geventws.websocket import WebSocket


def echo(request: Any, ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


@websocket
def values(request: Any, ws: WebSocket, number: int, kind: str) -> None:
    ws.send_json([number, kind, request.GET["q"], ws.environ is request.environ])


@websocket()
def atomic(request: Any, ws: WebSocket) -> None:
    ws.send_json([connections[alias].in_atomic_block for alias in ("default", "other")])


@websocket
def fail(request: Any, ws: WebSocket) -> None:
    raise RuntimeError("a bug")


def authenticate(handshake: Request) -> Response | None:
    assert handshake.environ is not None
    handshake.user = handshake.environ["django.request"].GET.get("user")
    return None if handshake.user else Response(401, headers={"WWW-Authenticate": "Bearer"}, body=b"who are you?\n")


@websocket(process_request=authenticate)
def private(request: Any, ws: WebSocket) -> None:
    ws.send(ws.request.user)


def only_with_key(view: Any) -> Any:
    def checked(request: Any) -> HttpResponse:
        return view(request) if "key" in request.GET else HttpResponseForbidden(b"no")  # type: ignore[no-any-return]

    return checked


plain_echo = websocket(echo)
urlpatterns = [
    path("echo", plain_echo),
    path("chosen", websocket(subprotocols=["chat"])(echo)),
    path("values/<int:number>/<kind>", values),
    path("atomic", atomic),
    path("fail", fail),
    path("private", private),
    path("decorated", only_with_key(websocket(echo))),
]


class Site:
    """Serves the views above, and makes raw connections to them."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self._server = pywsgi.WSGIServer(("127.0.0.1", 0), get_wsgi_application(), log=self)
        self._server.start()
        self._sockets: list[Any] = []

    def write(self, text: str) -> None:
        self.log.append(text)

    def ask(self, data: bytes) -> tuple[Response, bytes, Any]:
        sock = socket.create_connection(self._server.address)
        self._sockets.append(sock)
        sock.sendall(data)
        return *raw_http.read_response(sock), sock

    def open(self, data: bytes) -> tuple[Response, Peer]:
        response, rest, sock = self.ask(data)
        assert response.status == 101, response
        peer = Peer(sock, client=True, head=rest)
        return response, peer

    def end(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._server.stop(timeout=1)
        connections.close_all()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.end()


def close(peer: Peer) -> None:
    peer.send_close(1000)
    assert peer.read_close() == (1000, "")
    peer.read_eof()
    peer.close()


def test_view_has_a_websocket(site: Site) -> None:
    _, peer = site.open(raw_http.request("/echo") + wire.frame(wire.TEXT, b"early", key=b"abcd"))
    assert peer.read_message() == "early"
    close(peer)
    wait_until(lambda: site.log)
    assert '"GET /echo HTTP/1.1" 101' in site.log[0]


def test_handler_gets_the_request_and_the_values_of_the_route(site: Site) -> None:
    _, peer = site.open(raw_http.request("/values/5/chat?q=x"))
    assert peer.read_message() == '[5, "chat", "x", true]'
    peer.finish_close()


def test_options_are_those_of_upgrader(site: Site) -> None:
    response, peer = site.open(raw_http.request("/chosen", {"Sec-WebSocket-Protocol": "other, chat"}))
    assert response.headers["Sec-WebSocket-Protocol"] == "chat"
    close(peer)


def test_view_is_not_part_of_a_transaction(site: Site) -> None:
    _, peer = site.open(raw_http.request("/atomic"))
    assert peer.read_message() == "[false, false]"
    peer.finish_close()


def test_hooks_see_the_request_of_django(site: Site) -> None:
    response, _, _ = site.ask(raw_http.request("/private"))
    assert (response.status, response.body) == (401, b"who are you?\n")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    _, peer = site.open(raw_http.request("/private?user=ada"))
    assert peer.read_message() == "ada"
    peer.finish_close()


def test_decorators_for_views_may_stand_above(site: Site) -> None:
    assert site.ask(raw_http.request("/decorated"))[0].status == 403
    close(site.open(raw_http.request("/decorated?key"))[1])


def test_rules_of_the_opening_handshake_hold_and_nothing_follows_a_refusal(site: Site) -> None:
    response, _, sock = site.ask(raw_http.request("/echo", {"Sec-WebSocket-Version": "7"}) + raw_http.plain_request())
    assert response.status == 426
    assert response.headers["Sec-WebSocket-Version"] == "13, 8"
    try:
        assert sock.recv(1) == b""
    except ConnectionResetError:
        pass  # what was not read makes the kernel end it so


def test_plain_request_gets_426(site: Site) -> None:
    assert site.ask(raw_http.plain_request("/echo"))[0].status == 426


def test_clients_are_the_open_connections_of_a_view(site: Site) -> None:
    _, peer = site.open(raw_http.request("/echo"))
    clients = plain_echo.clients  # type: ignore[attr-defined]
    wait_until(lambda: len(clients) == 1)
    close(peer)
    wait_until(lambda: not clients)


def test_handler_that_raises_closes_with_1011(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    _, peer = site.open(raw_http.request("/fail"))
    assert peer.finish_close(1011) == (1011, "")
    peer.read_eof()
    peer.close()
    wait_until(lambda: site.log)
    errors = [record.getMessage()[:18] for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == ["the handler failed"]


def test_view_keeps_the_name_of_its_function() -> None:
    assert values.__name__ == "values"


def test_arguments_are_checked() -> None:
    with pytest.raises(TypeError, match="function that takes a request and a WebSocket"):
        websocket(5)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="max_connections"):
        websocket(max_connections=0)(echo)
