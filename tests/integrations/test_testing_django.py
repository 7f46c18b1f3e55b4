from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from gevent.subprocess import PIPE, STDOUT, Popen

pytest.importorskip("django")

import django_settings  # noqa: F401  (sets Django up)
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.signals import request_finished
from django.db import connections
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path

from geventws import InvalidStatus, WebSocket
from geventws.integrations.django import websocket
from geventws.testing.django import WebSocketTestClient


@login_required
@websocket
def chat(request: Any, ws: WebSocket, room: str) -> None:
    for message in ws:
        ws.send(f"{request.user.username} in {room}: {message}")


@websocket
def tell(request: Any, ws: WebSocket) -> None:
    headers = [request.headers.get("X-One"), request.headers.get("X-Two")]
    ws.send_json([request.GET["a"], *headers, request.META["REMOTE_ADDR"], request.build_absolute_uri()])


@websocket
def count(request: Any, ws: WebSocket) -> None:
    ws.send_json(User.objects.count())
    User.objects.create_user("Grace")


@websocket
def fail(request: Any, ws: WebSocket) -> None:
    raise ZeroDivisionError


def raise_early(request: Any) -> HttpResponse:
    raise ZeroDivisionError


def set_cookie(request: Any) -> HttpResponse:
    response = HttpResponse(status=403)
    response.set_cookie("seen", "1")
    return response


urlpatterns = [
    path("chat/<room>", chat),
    path("tell", tell),
    path("count", count),
    path("fail", fail),
    path("raise", raise_early),
    path("cookie", set_cookie),
]


@pytest.fixture(scope="module", autouse=True)
def database() -> Iterator[None]:
    call_command("migrate", verbosity=0)
    middleware = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=middleware):
        yield
    connections.close_all()


@pytest.fixture
def client() -> WebSocketTestClient:
    User.objects.all().delete()
    return WebSocketTestClient()


def test_login_of_the_client_is_the_views(client: WebSocketTestClient) -> None:
    client.force_login(User.objects.create_user("Ada"))
    with client.websocket("/chat/kitchen") as ws:
        ws.send("hello")
        assert ws.recv(timeout=5) == "Ada in kitchen: hello"


def test_refusal_is_an_error(client: WebSocketTestClient) -> None:
    for target, status in (("/chat/kitchen", 302), ("/nowhere", 404)):
        with pytest.raises(InvalidStatus) as refused:
            client.websocket(target)
        assert refused.value.response.status == status


def test_request_is_made_as_others_are() -> None:
    client = WebSocketTestClient(HTTP_X_ONE="1")
    with client.websocket("/tell?a=b+c", secure=True, headers={"X-Two": "2"}, REMOTE_ADDR="192.0.2.1") as ws:
        assert ws.recv_json(timeout=5) == ["b c", "1", "2", "192.0.2.1", "https://testserver/tell?a=b+c"]


def test_view_and_test_share_the_database(client: WebSocketTestClient) -> None:
    User.objects.create_user("Ada")
    with client.websocket("/count") as ws:
        assert ws.recv_json(timeout=5) == 1
    assert User.objects.count() == 2


def test_what_a_handler_raises_is_raised(client: WebSocketTestClient) -> None:
    with pytest.raises(ZeroDivisionError), client.websocket("/fail") as ws:
        ws.recv(timeout=5)


def test_what_is_raised_before_an_answer_is_raised(client: WebSocketTestClient) -> None:
    with pytest.raises(ZeroDivisionError):
        client.websocket("/raise")


def test_what_is_raised_before_an_answer_is_a_500_where_that_is_wanted() -> None:
    client = WebSocketTestClient(raise_request_exception=False)
    with pytest.raises(InvalidStatus) as refused:
        client.websocket("/raise")
    assert refused.value.response.status == 500


def test_error_of_an_ordinary_request_is_the_clients_own(client: WebSocketTestClient) -> None:
    with client.websocket("/tell?a=b") as ws:
        with pytest.raises(ZeroDivisionError):
            client.get("/raise")
        ws.recv(timeout=5)


def test_request_is_finished_once(client: WebSocketTestClient) -> None:
    def finish(**signal: Any) -> None:
        finished.append(True)

    finished: list[bool] = []
    request_finished.connect(finish)
    try:
        with client.websocket("/tell?a=b"):
            assert not finished
    finally:
        request_finished.disconnect(finish)
    assert finished == [True]


def test_patched_program_is_the_same() -> None:
    tests = [__file__, "-q", "-p", "no:cacheprovider", "-k", "login or share or raised"]
    program = f"from gevent import monkey; monkey.patch_all(); import pytest; raise SystemExit(pytest.main({tests!r}))"
    running = Popen([sys.executable, "-c", program], stdout=PIPE, stderr=STDOUT)
    output, _ = running.communicate()
    assert running.returncode == 0, output.decode()
    assert b"passed" in output


def test_cookie_of_the_answer_is_kept(client: WebSocketTestClient) -> None:
    with pytest.raises(InvalidStatus):
        client.websocket("/cookie")
    assert client.cookies["seen"].value == "1"
