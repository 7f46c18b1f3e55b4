"""A Falcon application with WebSocket resources and a page."""

from __future__ import annotations

from typing import Any

import falcon
from talking import OPTIONS, talk

from geventws import ConnectionClosed, HandshakeError, upgrade


class Page:
    def on_get(self, request: Any, response: Any, room: str) -> None:
        response.text = f"the page of {room}"


class Chat:
    def on_get(self, request: Any, response: Any, room: str) -> None:
        response.status = 101
        try:
            with upgrade(request.env, **OPTIONS) as ws:
                talk(ws, room)
        except ConnectionClosed:
            pass


class Fail:
    def on_get(self, request: Any, response: Any) -> None:
        response.status = 101
        with upgrade(request.env):
            raise RuntimeError("a bug")


def refuse(request: Any, response: Any, error: HandshakeError, values: Any) -> None:
    response.status, response.data = error.response.status, error.response.body
    response.set_headers(error.response.headers)


application = falcon.App()
application.add_error_handler(HandshakeError, refuse)
application.add_route("/chat/{room}", Chat())
application.add_route("/pages/{room}", Page())
application.add_route("/fail", Fail())
