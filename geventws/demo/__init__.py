"""The demo: one process that serves a page and the WebSockets it talks to.

``/`` and the files it needs are answered as plain HTTP by `page`, ``/echo`` sends every message back, and ``/chat``
is a room. What passes through the room is JSON. A browser says ``{"name": ...}`` to come in or to change its name,
and then ``{"text": ...}``; it is told of each ``event``: ``history``, ``joined``, ``renamed``, ``said`` and ``left``.
"""

from __future__ import annotations

import json
import time
from collections import deque
from importlib.resources import files
from typing import Any

from .. import handlers
from ..broadcast import broadcast
from ..handshake import is_upgrade
from ..http11 import Request, Response, refusal
from ..server import WebSocketServer
from ..websocket import WebSocket

SCRIPTS = ("app", "burst", "chart", "probe", "socket")
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in SCRIPTS},
    "/favicon.svg": ("favicon.svg", "image/svg+xml"),
    "/favicon.ico": ("favicon.svg", "image/svg+xml"),
}
HEADERS = {
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'none'",
    # A page that is isolated from other origins may read the clock to 5 microseconds instead of 100.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
MAX_NAME = 32
MAX_TEXT = 2000
HISTORY = 50


def page(request: Request) -> Response | None:
    """Answer a plain request with a file of the page; leave an opening handshake to the server."""
    if is_upgrade(request):
        return None if request.path in ("/chat", "/echo") else refusal(404, "there is no WebSocket here")
    if request.method not in ("GET", "HEAD"):
        return refusal(405, "this page can only be read", {"Allow": "GET, HEAD"})
    if request.path not in FILES:
        return refusal(404, "there is no such page")
    name, content_type = FILES[request.path]
    body = files(__package__).joinpath(name).read_bytes()
    return Response(200, headers={"Content-Type": content_type, **HEADERS}, body=body)


class Chat:
    """The handler of ``/chat``: who is in the room, and what was said last, for those who come later."""

    def __init__(self) -> None:
        self.names: dict[WebSocket, str] = {}
        self.history: deque[dict[str, Any]] = deque(maxlen=HISTORY)

    def __call__(self, ws: WebSocket) -> None:
        try:
            self.listen(ws)
        except (ValueError, KeyError, TypeError, RecursionError):
            ws.close(1008, "not a message of this chat")

    def listen(self, ws: WebSocket) -> None:
        try:
            for message in ws:
                self.receive(ws, json.loads(message))
        finally:
            self.leave(ws)

    def receive(self, ws: WebSocket, message: dict[str, str]) -> None:
        if "name" in message:
            self.rename(ws, _words(message["name"], MAX_NAME))
        else:
            said = {"name": self.names[ws], "text": _words(message["text"], MAX_TEXT), "time": time.time()}
            self.history.append(said)
            self.tell("said", **said)

    def rename(self, ws: WebSocket, name: str) -> None:
        old = self.names.get(ws)
        if old is None:
            ws.send_json({"event": "history", "said": list(self.history)})
        self.names[ws] = name
        if old is None:
            self.tell("joined", name=name)
        elif old != name:
            self.tell("renamed", old=old, name=name)

    def leave(self, ws: WebSocket) -> None:
        name = self.names.pop(ws, None)
        if name is not None:
            self.tell("left", name=name)

    def tell(self, event: str, **details: Any) -> None:
        """Tell everybody in the room what happened, and how many they are."""
        broadcast(self.names, json.dumps({"event": event, "count": len(self.names), **details}))


def _words(value: object, limit: int) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected some words")
    return value.strip()[:limit]


def server(host: str, port: int) -> WebSocketServer:
    """The server of the demo, not yet started."""
    chat = Chat()

    def handle(ws: WebSocket) -> None:
        (chat if ws.request.path == "/chat" else handlers.echo)(ws)

    return WebSocketServer((host, port), handle, process_request=page)
