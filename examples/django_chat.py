"""A Django site in one file, with a chat room at each path below ``/rooms/``.

::

    python examples/django_chat.py
    curl http://127.0.0.1:8000/
    geventws connect ws://127.0.0.1:8000/rooms/kitchen

``--port`` chooses another port. ``gunicorn -k gevent --chdir examples django_chat`` serves it too.
"""

from __future__ import annotations

import argparse
import signal
from typing import Any

import django
import gevent
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from gevent.pywsgi import WSGIServer

from geventws import WebSocket, broadcast
from geventws.integrations.django import websocket
from geventws.wsgi import WebSocketMiddleware, close_on_stop

settings.configure(ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF=__name__, SECRET_KEY="not secret")
django.setup()

rooms: dict[str, set[WebSocket]] = {}


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("".join(f"{room}: {len(members)}\n" for room, members in rooms.items()))


@websocket
def chat(request: HttpRequest, ws: WebSocket, room: str) -> None:
    members = rooms.setdefault(room, set())
    members.add(ws)
    try:
        for message in ws:
            broadcast(members, message)
    finally:
        members.discard(ws)


urlpatterns: list[Any] = [path("", page), path("rooms/<room>", chat)]
application = WebSocketMiddleware(get_wsgi_application())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A Django site with a chat.")
    parser.add_argument("--port", type=int, default=8000)
    server = WSGIServer(("127.0.0.1", parser.parse_args().port), application, log=None)
    close_on_stop(server, timeout=5)
    server.start()
    print(f"listening on http://127.0.0.1:{server.address[1]}", flush=True)
    gevent.signal_handler(signal.SIGINT, server.stop)
    server.serve_forever()
