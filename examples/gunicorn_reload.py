"""gunicorn with workers that close their WebSockets before they end; its configuration and the application in one file.

::

    python examples/gunicorn_reload.py
    geventws connect ws://127.0.0.1:8000/
    kill -HUP PID

The first line tells the process's id. SIGHUP starts new workers, and the clients of the old ones get 1012 (come back);
SIGTERM ends the server, and they get 1001. A number behind the command is another port. It is the same as
``gunicorn -c examples/gunicorn_reload.py``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from geventws import WebSocket, WebSocketApp

wsgi_app = "gunicorn_reload:application"
chdir = str(Path(__file__).parent)
bind = "127.0.0.1:8000"
worker_class = "geventws.integrations.gunicorn.Worker"
workers = 1
graceful_timeout = 8  # seconds, in the first quarter of which the connections are closed
loglevel = "warning"


def when_ready(server: Any) -> None:
    print(f"process {server.pid} listens on {server.LISTENERS[0]}", flush=True)


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


application = WebSocketApp(echo)


if __name__ == "__main__":
    command = [sys.executable, "-m", "gunicorn", "-c", __file__]
    if len(sys.argv) > 1:
        command += ["--bind", f"127.0.0.1:{sys.argv[1]}"]
    os.execv(sys.executable, command)
