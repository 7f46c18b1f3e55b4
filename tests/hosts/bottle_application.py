"""A Bottle application with a WebSocket view, a WebSocketApp and a page."""

from __future__ import annotations

from bottle import Bottle, HTTPResponse, request
from talking import OPTIONS, talk

from geventws import ConnectionClosed, HandshakeError, WebSocket, WebSocketApp, upgrade

application = Bottle()


@application.route("/pages/<room>")
def page(room: str) -> str:
    return f"the page of {room}"


@application.route("/chat/<room>")
def chat(room: str) -> HTTPResponse:
    try:
        with upgrade(request.environ, **OPTIONS) as ws:
            talk(ws, room)
    except HandshakeError as error:
        return HTTPResponse(error.response.body, error.response.status, error.response.headers.items())
    except ConnectionClosed:
        pass
    return HTTPResponse(status=101)


def fail(ws: WebSocket) -> None:
    raise RuntimeError("a bug")


application.mount("/fail", WebSocketApp(fail))
