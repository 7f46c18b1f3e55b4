"""An application of Flask-SocketIO on gevent.pywsgi. Usage: socketio_server.py DROP_IN."""

from __future__ import annotations

import sys
from importlib import import_module

DROP_IN = sys.argv[1]
import_module(f"geventws.integrations.{DROP_IN}").install()

from flask import Flask, request  # noqa: E402
from flask_socketio import SocketIO, emit  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402

app = Flask(__name__)
socketio = SocketIO(app, async_mode="gevent")


@socketio.on("connect")
def connect() -> None:
    emit("welcome", {"user": request.args.get("user")})


@socketio.on("echo")
def echo(data: object) -> object:
    emit("all", data, broadcast=True)
    return data


if __name__ == "__main__":
    options = {}
    if DROP_IN == "gevent_websocket":
        from geventwebsocket.handler import WebSocketHandler

        options = {"handler_class": WebSocketHandler}
    server = WSGIServer(("127.0.0.1", 0), app, **options)
    server.start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
