"""gevent-websocket's `GeventWebSocketWorker`."""

from __future__ import annotations

from gunicorn.workers.ggevent import GeventPyWSGIWorker, PyWSGIHandler

from ...gunicorn import Worker
from ..handler import WebSocketHandler


class _Handler(WebSocketHandler, PyWSGIHandler):
    """The handler, with gunicorn's access log."""


class GeventWebSocketWorker(Worker, GeventPyWSGIWorker):
    """gunicorn's worker ``gevent_pywsgi`` with a `WebSocketHandler`; it closes its WebSockets before it ends."""

    wsgi_handler = _Handler
