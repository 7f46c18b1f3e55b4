"""A Flask application with a WebSocket route, a page at the same path, and sessions."""

from __future__ import annotations

import logging

from flask import Flask, session

from geventws import WebSocket
from geventws.integrations.flask import Sock

logging.basicConfig(format="%(levelname)s: %(message)s")

application = Flask(__name__)
application.secret_key = "not secret"
sock = Sock(application, compression=True)


@application.before_request
def count_visits() -> None:
    session["visits"] = session.get("visits", 0) + 1


@application.route("/chat/<room>")
def page(room: str) -> str:
    return f"the page of {room}"


@sock.route("/chat/<room>")
def chat(ws: WebSocket, room: str) -> None:
    ws.send(f"{room}, visit {session['visits']}")
    for message in ws:
        ws.send(message)
