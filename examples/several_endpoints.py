"""Several WebSockets and a site on one HTTP server, each with options of its own.

::

    python examples/several_endpoints.py
    geventws connect ws://127.0.0.1:8000/echo
    geventws connect ws://127.0.0.1:8000/rooms/7
    curl http://127.0.0.1:8000/

``--port`` chooses another port. The same over HTTPS is https_site.py. Nothing but the path decides here; whatever else
the request says may as well.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterable
from typing import Any

import gevent
from gevent.pywsgi import WSGIServer

from geventws import WebSocket, WebSocketApp, upgrade
from geventws.wsgi import close_on_stop


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


endpoints = {"/echo": WebSocketApp(echo, max_size=4096), "/squeeze": WebSocketApp(echo, compression=True)}


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path in endpoints:
        return endpoints[path](environ, start_response)
    if path.startswith("/rooms/"):  # a view may take the connection over itself
        with upgrade(environ, start_response) as ws:
            ws.send(f"this is room {path.removeprefix('/rooms/')}")
            echo(ws)
        return []
    found = path == "/"
    start_response("200 OK" if found else "404 Not Found", [("Content-Type", "text/plain")])
    return [b"WebSockets live here too\n" if found else b"nothing is here\n"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Several WebSockets and a site on one HTTP server.")
    parser.add_argument("--port", type=int, default=8000)
    server = WSGIServer(("127.0.0.1", parser.parse_args().port), application, log=None)
    close_on_stop(server, timeout=5)
    server.start()
    print(f"listening on http://127.0.0.1:{server.address[1]}", flush=True)
    gevent.signal_handler(signal.SIGINT, server.stop)
    server.serve_forever()
