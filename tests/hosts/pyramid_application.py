"""A Pyramid application with WebSocket views and a page."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.response import Response
from pyramid.wsgi import wsgiapp
from talking import OPTIONS, talk

from geventws import WebSocket, WebSocketApp


def page(request: Any) -> Response:
    return Response(f"the page of {request.matchdict['room']}")


def chat(request: Any) -> Any:
    def handle(ws: WebSocket) -> None:
        talk(ws, request.matchdict["room"])

    return request.get_response(WebSocketApp(handle, **OPTIONS))


def fail(ws: WebSocket) -> None:
    raise RuntimeError("a bug")


with Configurator() as config:
    config.add_route("page", "/pages/{room}")
    config.add_view(page, route_name="page")
    config.add_route("chat", "/chat/{room}")
    config.add_view(chat, route_name="chat")
    config.add_route("fail", "/fail")
    config.add_view(wsgiapp(WebSocketApp(fail)), route_name="fail")
application = config.make_wsgi_app()
