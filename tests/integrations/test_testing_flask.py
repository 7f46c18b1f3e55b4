from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("flask")

from flask import Flask, abort, request, session

from geventws import InvalidStatus, WebSocket
from geventws.integrations.flask import Sock
from geventws.testing.flask import WebSocketTestClient


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__)
    app.secret_key = "secret"
    app.testing = True
    app.test_client_class = WebSocketTestClient
    sock = Sock(app)

    @app.post("/login")
    def login() -> str:
        session["user"] = request.form["name"]
        return "welcome"

    @app.get("/who")
    def who() -> str:
        return str(session.get("user")) + str(session.get("room"))

    @sock.route("/chat/<room>")
    def chat(ws: WebSocket, room: str) -> None:
        for message in ws:
            ws.send(f"{session.get('user')} in {room}: {message}")

    @sock.route("/enter")
    def enter(ws: WebSocket) -> None:
        ws.send("in")

    @app.before_request
    def put_room() -> None:
        if request.path == "/enter":
            session["room"] = "attic"

    @sock.route("/fail")
    def fail(ws: WebSocket) -> None:
        raise ZeroDivisionError

    @app.route("/raise", websocket=True)
    def raise_early() -> str:
        raise ZeroDivisionError

    @app.route("/forbidden", websocket=True)
    def forbidden() -> str:
        abort(403)

    @sock.route("/request")
    def tell(ws: WebSocket) -> None:
        ws.send_json([request.args["a"], request.headers.get("X-One"), request.remote_addr, request.url])

    return app


def test_session_of_other_requests_is_there(app: Flask) -> None:
    client: Any = app.test_client()
    client.post("/login", data={"name": "Ada"})
    with client.websocket("/chat/kitchen") as ws:
        ws.send("hello")
        assert ws.recv(timeout=5) == "Ada in kitchen: hello"


def test_session_that_the_answer_sets_is_kept(app: Flask) -> None:
    client: Any = app.test_client()
    with client.websocket("/enter") as ws:
        assert ws.recv(timeout=5) == "in"
    assert client.get("/who").text == "Noneattic"


def test_client_may_be_made_by_hand(app: Flask) -> None:
    with WebSocketTestClient(app).websocket("/enter") as ws:
        assert ws.recv(timeout=5) == "in"


def test_request_is_made_as_others_are(app: Flask) -> None:
    client: Any = app.test_client()
    client.environ_base["REMOTE_ADDR"] = "192.0.2.1"
    url = {"base_url": "https://example.com/", "query_string": {"a": "b c"}, "headers": {"X-One": "1"}}
    with client.websocket("/request", **url) as ws:
        assert ws.recv_json(timeout=5) == ["b c", "1", "192.0.2.1", "https://example.com/request?a=b+c"]


def test_what_a_handler_raises_is_raised(app: Flask) -> None:
    client: Any = app.test_client()
    with pytest.raises(ZeroDivisionError), client.websocket("/fail") as ws:
        ws.recv(timeout=5)


def test_what_is_raised_before_an_answer_is_raised(app: Flask) -> None:
    client: Any = app.test_client()
    with pytest.raises(ZeroDivisionError):
        client.websocket("/raise")
    app.testing = False
    with pytest.raises(InvalidStatus) as refused:
        client.websocket("/raise")
    assert refused.value.response.status == 500


def test_refusal_is_an_error(app: Flask) -> None:
    client: Any = app.test_client()
    for path, status in (("/forbidden", 403), ("/nowhere", 404)):
        with pytest.raises(InvalidStatus) as refused:
            client.websocket(path)
        assert refused.value.response.status == status


def test_within_a_with_block_of_the_client(app: Flask) -> None:
    with app.test_client() as client:
        client.post("/login", data={"name": "Ada"})
        with client.websocket("/chat/attic") as ws:  # type: ignore[attr-defined]
            ws.send("hello")
            assert ws.recv(timeout=5) == "Ada in attic: hello"
        assert session["user"] == "Ada"
