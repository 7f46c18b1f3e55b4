"""An application for gevent-websocket, that is for a worker of gunicorn which opens the WebSocket before the call."""

from __future__ import annotations

import logging
from typing import Any

logging.basicConfig(format="%(levelname)s: %(message)s")


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    ws = environ.get("wsgi.websocket")
    if ws is None:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
        return [b"a page"]
    while (message := ws.receive()) is not None:
        ws.send(message)
    return []
