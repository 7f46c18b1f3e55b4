from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gevent
import pytest

from geventws import ConnectionClosedError, InvalidStatus, Response, State, WebSocket, WebSocketApp, upgrade
from geventws.testing import WebSocketTestClient


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def client_of(handler: Any, **options: Any) -> WebSocketTestClient:
    return WebSocketTestClient(WebSocketApp(handler, **options))


def test_handler_runs_and_is_closed() -> None:
    app = WebSocketApp(echo)
    with WebSocketTestClient(app).websocket("/chat") as ws:
        ws.send("hello")
        assert ws.recv(timeout=5) == "hello"
        assert len(app.clients) == 1
    assert ws.state is State.CLOSED
    assert not app.clients


def test_environment_is_that_of_pywsgi() -> None:
    def tell(ws: WebSocket) -> None:
        assert ws.environ is not None
        names = ("PATH_INFO", "QUERY_STRING", "REMOTE_ADDR", "HTTP_HOST", "SERVER_NAME", "wsgi.url_scheme", "X_KEY")
        ws.send_json([ws.environ[name] for name in names])
        assert ws.environ["SERVER_SOFTWARE"].startswith("gevent/")
        ws.send_json(ws.remote_address)

    client = WebSocketTestClient(WebSocketApp(tell), environ={"X_KEY": 1, "REMOTE_ADDR": "192.0.2.1"})
    with client.websocket("/gr%C3%BC%C3%9Fe?a=b", environ={"X_KEY": 2}) as ws:
        path = "/grüße".encode().decode("latin-1")
        assert ws.recv_json(timeout=5) == [path, "a=b", "192.0.2.1", "localhost", "localhost", "http", 2]
        assert ws.recv_json(timeout=5)[0] == "192.0.2.1"


def test_headers_and_cookies_are_sent_and_cookies_are_kept() -> None:
    def tell(ws: WebSocket) -> None:
        ws.send_json([ws.request.headers.get(name) for name in ("X-One", "X-Two", "Cookie", "Host")])

    def add_cookies(request: Any, response: Response) -> None:
        response.headers.add("Set-Cookie", "seen=1; Path=/")
        response.headers.add("Set-Cookie", "gone=; Max-Age=0")

    app = WebSocketApp(tell, process_response=add_cookies)
    client = WebSocketTestClient(app, headers={"X-One": "1", "X-Two": "1"})
    client.cookies["gone"] = "no"
    with client.websocket(headers={"X-Two": "2", "Host": "example.com"}, cookies={"user": "ada"}) as ws:
        assert ws.recv_json(timeout=5) == ["1", "2", "gone=no; user=ada", "example.com"]
    with client.websocket() as ws:
        assert ws.recv_json(timeout=5)[2] == "seen=1"


def test_options_are_those_of_connect() -> None:
    client = client_of(echo, subprotocols=["chat"], compression=True)
    with client.websocket(subprotocols=["chat"], compression=True, max_size=5) as ws:
        assert ws.subprotocol == "chat"
        assert ws.extensions == "permessage-deflate"


def test_refusal_is_an_error_with_the_response() -> None:
    client = client_of(echo, process_request=lambda request: Response(401, headers={"Set-Cookie": "a=b"}, body=b"no\n"))
    with pytest.raises(InvalidStatus) as refused:
        client.websocket()
    assert (refused.value.response.status, refused.value.response.body) == (401, b"no\n")
    assert client.cookies["a"].value == "b"


def test_ordinary_answer_is_a_refusal() -> None:
    def site(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("404 Not Found", [("Content-Length", "5")])
        yield b"never"

    with pytest.raises(InvalidStatus) as refused:
        WebSocketTestClient(site).websocket()
    assert (refused.value.response.status, refused.value.response.body) == (404, b"never")


def test_what_the_application_raises_instead_of_an_answer_is_raised() -> None:
    def site(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        WebSocketTestClient(site).websocket()


def fail(ws: WebSocket) -> None:
    assert ws.recv() == "good"


def fail_in_view(environ: Any, start_response: Any) -> Iterable[bytes]:
    with upgrade(environ, start_response) as ws:
        fail(ws)
    return []


@pytest.mark.parametrize("app", [WebSocketApp(fail), fail_in_view])
class TestHandlerThatRaises:
    def test_receiving_raises_it(self, app: Any) -> None:
        with pytest.raises(AssertionError, match="good"), WebSocketTestClient(app).websocket() as ws:
            ws.send("bad")
            ws.recv(timeout=5)

    def test_iterating_raises_it(self, app: Any) -> None:
        with pytest.raises(AssertionError, match="good"), WebSocketTestClient(app).websocket() as ws:
            ws.send("bad")
            list(ws)

    def test_the_end_of_the_block_raises_it(self, app: Any) -> None:
        with pytest.raises(AssertionError, match="good"), WebSocketTestClient(app).websocket() as ws:
            ws.send("bad")

    def test_closing_raises_it(self, app: Any) -> None:
        ws = WebSocketTestClient(app).websocket()
        ws.send("bad")
        with pytest.raises(AssertionError, match="good"):
            ws.close()

    def test_it_is_raised_once(self, app: Any) -> None:
        with WebSocketTestClient(app).websocket() as ws:
            ws.send("bad")
            with pytest.raises(AssertionError, match="good"):
                ws.recv(timeout=5)
            with pytest.raises(ConnectionClosedError):
                ws.recv(timeout=5)
        assert ws.close_code == 1011

    def test_error_of_the_test_itself_comes_first(self, app: Any) -> None:
        with pytest.raises(ZeroDivisionError), WebSocketTestClient(app).websocket() as ws:
            ws.send("bad")
            raise ZeroDivisionError


def test_application_that_does_not_end_is_ended() -> None:
    def linger(ws: WebSocket) -> None:
        try:
            gevent.sleep(60)
        finally:
            ended.append(True)

    ended: list[bool] = []
    with pytest.raises(TimeoutError, match="still runs"), client_of(linger).websocket(timeout=0.01):
        pass
    assert ended == [True]


def test_timeout_of_the_test_is_not_delayed() -> None:
    with pytest.raises(gevent.Timeout), client_of(lambda ws: gevent.sleep(60)).websocket(), gevent.Timeout(0.01):
        gevent.sleep(60)


def test_application_goes_on_behind_the_close_and_is_waited_for() -> None:
    def work(ws: WebSocket) -> None:
        list(ws)
        gevent.sleep(0)
        done.append(True)

    done: list[bool] = []
    with client_of(work).websocket():
        pass
    assert done == [True]


def test_argument_that_makes_no_sense_is_an_error() -> None:
    with pytest.raises(TypeError):
        client_of(echo).websocket(nonsense=1)


def test_body_is_closed() -> None:
    class Body:
        def __iter__(self) -> Any:
            return iter([b"x"])

        def close(self) -> None:
            closed.append(True)

    def site(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return Body()

    closed: list[bool] = []
    with pytest.raises(InvalidStatus):
        WebSocketTestClient(site).websocket()
    assert closed == [True]
