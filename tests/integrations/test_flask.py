from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from tools import raw_http, wire
from tools.site import Site, close
from tools.timing import wait_until

pytest.importorskip("flask")

from flask import Blueprint, Flask, abort, g, make_response, request, session  # type: ignore[attr-defined]
from flask import Response as FlaskResponse

from geventws.http11 import Response
from geventws.integrations.flask import Sock
from geventws.websocket import WebSocket


def make_app() -> Flask:
    app = Flask(__name__)
    app.secret_key = "not secret"
    return app


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.end()


def test_route_has_a_websocket(site: Site) -> None:
    app = make_app()
    sock = Sock(app)
    assert sock.route("/echo")(echo) is echo
    _, peer = site.open(app, raw_http.request("/echo") + wire.frame(wire.TEXT, b"early", key=b"abcd"))
    assert peer.read_message() == "early"
    close(peer)
    wait_until(lambda: site.log)
    assert '"GET /echo HTTP/1.1" 101' in site.log[0]


def test_handler_gets_the_values_of_the_rule_and_the_request(site: Site) -> None:
    app = make_app()
    sock = Sock(app)

    @app.before_request
    def before() -> None:
        g.user = "ada"

    @sock.route("/rooms/<int:room>", defaults={"kind": "chat"})
    def rooms(ws: WebSocket, room: int, kind: str) -> None:
        ws.send_json([room, kind, g.user, request.args["q"], ws.environ is request.environ])

    _, peer = site.open(app, raw_http.request("/rooms/5?q=x"))
    assert peer.read_message() == '[5, "chat", "ada", "x", true]'


def test_session_says_who_it_is_and_its_cookie_is_set(site: Site) -> None:
    app = make_app()

    def authenticate(handshake: Any) -> Response | None:
        handshake.user = session.get("user")
        return None if handshake.user else Response(401)

    sock = Sock(app, process_request=authenticate)

    @app.route("/login")
    def login() -> str:
        session["user"] = "ada"
        return "welcome"

    @app.after_request
    def count(response: FlaskResponse) -> FlaskResponse:
        session["seen"] = session.get("seen", 0) + 1
        response.headers["X-Seen"] = str(session["seen"])
        return response

    @sock.route("/me")
    def me(ws: WebSocket) -> None:
        ws.send(ws.request.user)

    refused = site.ask(app, raw_http.request("/me"))
    assert (refused.status, refused.headers["X-Seen"]) == (401, "1")
    cookie = site.ask(app, raw_http.plain_request("/login")).headers["Set-Cookie"].partition(";")[0]
    response, peer = site.open(app, raw_http.request("/me", {"Cookie": cookie}))
    assert peer.read_message() == "ada"
    assert response.headers["X-Seen"] == "2"
    assert response.headers["Set-Cookie"].startswith("session=")
    assert "Content-Type" not in response.headers
    peer.finish_close()


def test_request_may_be_refused_as_in_any_view(site: Site) -> None:
    app = make_app()

    @app.before_request
    def before() -> None:
        if "key" not in request.args:
            abort(403)

    Sock(app).route("/echo")(echo)
    assert site.ask(app, raw_http.request("/echo")).status == 403
    _, peer = site.open(app, raw_http.request("/echo?key"))
    close(peer)


def test_rules_of_the_opening_handshake_hold(site: Site) -> None:
    app = make_app()
    Sock(app).route("/echo")(echo)
    response = site.ask(app, raw_http.request("/echo", {"Origin": "https://evil.example"}))
    assert response.status == 403
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert site.ask(app, raw_http.request("/echo", {"Sec-WebSocket-Key": "x"})).status == 400


def test_options_of_a_route_replace_those_of_the_extension(site: Site) -> None:
    app = make_app()
    sock = Sock(app, subprotocols=["one"], max_connections=5)
    sock.route("/one")(echo)
    sock.route("/two", subprotocols=["two"], endpoint="another")(echo)
    offer: dict[str, str | None] = {"Sec-WebSocket-Protocol": "one, two"}
    for name in ("one", "two"):
        response, peer = site.open(app, raw_http.request(f"/{name}", offer))
        assert response.headers["Sec-WebSocket-Protocol"] == name
        close(peer)


def test_process_response_sees_what_flask_adds(site: Site) -> None:
    app = make_app()

    def edit(handshake: Any, response: Response) -> None:
        response.headers["X-Flask"] += ", edited"

    @app.after_request
    def after(response: FlaskResponse) -> FlaskResponse:
        response.headers["X-Flask"] = "added"
        return response

    Sock(app, process_response=edit).route("/")(echo)
    response, peer = site.open(app, raw_http.request("/"))
    assert response.headers["X-Flask"] == "added, edited"
    close(peer)


def test_page_and_websocket_may_share_a_rule(site: Site) -> None:
    app = make_app()
    app.add_url_rule("/chat", endpoint="page", view_func=lambda: "a page")
    Sock(app).route("/chat")(echo)
    assert site.ask(app, raw_http.plain_request("/chat")).body == b"a page"
    _, peer = site.open(app, raw_http.request("/chat"))
    close(peer)


def test_plain_request_without_a_page_is_a_bad_request(site: Site) -> None:
    app = make_app()
    Sock(app).route("/chat")(echo)
    assert site.ask(app, raw_http.plain_request("/chat")).status == 400


def test_blueprints_have_routes(site: Site) -> None:
    app = make_app()
    blueprint = Blueprint("live", __name__, url_prefix="/live")
    sock = Sock()
    sock.route("/echo", bp=blueprint)(echo)
    app.register_blueprint(blueprint)
    sock.init_app(app)
    _, peer = site.open(app, raw_http.request("/live/echo"))
    close(peer)


def test_routes_may_be_made_before_and_after_the_application(site: Site) -> None:
    app = make_app()
    sock = Sock()
    sock.route("/before")(echo)
    sock.init_app(app)

    @sock.route("/after")
    def after(ws: WebSocket) -> None:
        echo(ws)

    for path in ("/before", "/after"):
        _, peer = site.open(app, raw_http.request(path))
        close(peer)


def test_clients_are_those_of_a_handler(site: Site) -> None:
    app = make_app()
    sock = Sock(app)
    sock.route("/one")(echo)
    sock.route("/two", endpoint="two")(echo)
    peers = [site.open(app, raw_http.request(path))[1] for path in ("/one", "/two")]
    wait_until(lambda: len(sock.clients(echo)) == 2)
    close(peers[0])
    wait_until(lambda: len(sock.clients(echo)) == 1)


def test_handler_that_raises_closes_with_1011(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app()
    ended: list[Any] = []
    app.teardown_request(ended.append)

    @Sock(app).route("/")
    def fail(ws: WebSocket) -> None:
        raise RuntimeError("a bug")

    _, peer = site.open(app, raw_http.request("/"))
    assert peer.finish_close(1011) == (1011, "")
    peer.read_eof()
    peer.close()
    wait_until(lambda: site.log)
    assert [record.getMessage()[:18] for record in caplog.records if record.levelno == logging.ERROR] == [
        "the handler failed"
    ]
    assert ended == [None]


def test_response_class_of_the_application_is_kept(site: Site) -> None:
    class Mine(FlaskResponse):
        pass

    app = make_app()
    app.response_class = Mine
    seen: list[Any] = []

    @app.after_request
    def after(response: FlaskResponse) -> FlaskResponse:
        seen.append(make_response(response))
        return response

    Sock(app).route("/")(echo)
    _, peer = site.open(app, raw_http.request("/"))
    close(peer)
    assert isinstance(seen[0], Mine)


def test_arguments_are_checked() -> None:
    with pytest.raises(TypeError, match="path"):
        Sock(path="/chat")
    with pytest.raises(TypeError):
        Sock(no_such_option=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="max_connections"):
        Sock(make_app()).route("/", max_connections=0)
    with pytest.raises(TypeError, match="no_such_option"):
        Sock(make_app()).route("/", no_such_option=1)(echo)
