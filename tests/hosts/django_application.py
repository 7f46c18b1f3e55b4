"""A Django site with a WebSocket view and a page."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpResponse
from django.urls import path
from talking import OPTIONS, talk

from geventws import WebSocket
from geventws.integrations.django import websocket

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    LOGGING_CONFIG=None,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "ATOMIC_REQUESTS": True}},
)
django.setup()


def page(request: Any, room: str) -> HttpResponse:
    return HttpResponse(f"the page of {room}")


@websocket(**OPTIONS)
def chat(request: Any, ws: WebSocket, room: str) -> None:
    assert not connection.in_atomic_block
    talk(ws, room)


@websocket
def fail(request: Any, ws: WebSocket) -> None:
    raise RuntimeError("a bug")


urlpatterns = [path("chat/<room>", chat), path("pages/<room>", page), path("fail", fail)]
application = get_wsgi_application()
