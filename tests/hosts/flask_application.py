"""A Flask application with WebSocket routes, a page, one at the same path as a WebSocket, and sessions."""

from __future__ import annotations

import logging

from flask import Flask, session
from talking import OPTIONS, talk

from geventws import WebSocket
from geventws.integrations.flask import Sock

logging.basicConfig(format="%(levelname)s: %(message)s")

application = Flask(__name__)
application.secret_key = "not secret"
sock = Sock(application, **OPTIONS)


@application.before_request
def count_visits() -> None:
    session["visits"] = session.get("visits", 0) + 1


@application.route("/visits")
@application.route("/pages/<room>")
def page(room: str = "visits") -> str:
    return f"the page of {room}"


@sock.route("/visits")
def visits(ws: WebSocket) -> None:
    talk(ws, f"visit {session['visits']}")


@sock.route("/chat/<room>")
def chat(ws: WebSocket, room: str) -> None:
    talk(ws, room)


@sock.route("/fail")
def fail(ws: WebSocket) -> None:
    raise RuntimeError("a bug")
