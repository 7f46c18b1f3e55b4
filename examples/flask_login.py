"""A chat for users who have logged in, in Flask: the session says who it is, and a logout ends the connections.

::

    python examples/flask_login.py
    curl -c jar -d name=Ada http://127.0.0.1:8000/login
    curl -b jar http://127.0.0.1:8000/
    curl -b jar -X POST http://127.0.0.1:8000/logout

The WebSocket is at ``/chat``; whoever has no session gets 401 there. ``--port`` chooses another port. Nothing is
patched here; a program that waits for databases and the like would call ``gevent.monkey.patch_all()`` first.
"""

from __future__ import annotations

import argparse
import secrets
import signal

import gevent
from flask import Flask, request, session
from gevent.pywsgi import WSGIServer

from geventws import Request, Response, WebSocket, broadcast
from geventws.integrations.flask import Sock
from geventws.wsgi import close_on_stop

app = Flask(__name__)
app.secret_key = secrets.token_bytes(32)  # a real program keeps it, so that sessions outlive it


def identify(handshake: Request) -> Response | None:
    handshake.user = session.get("user")
    return None if handshake.user else Response(401, body=b"Who are you?\n")


sock = Sock(app, process_request=identify)


@app.get("/")
def page() -> str:
    return f"hello {session.get('user', 'stranger')}\n"


@app.post("/login")
def login() -> str:
    session["user"] = request.form["name"]  # a real program asks for a password here
    return "welcome\n"


@app.post("/logout")
def logout() -> str:
    user = session.pop("user", None)
    for ws in sock.clients(chat):
        if ws.request.user == user:
            ws.close(4001, "logged out")
    return "goodbye\n"


@sock.route("/chat")
def chat(ws: WebSocket) -> None:
    for message in ws:
        broadcast(sock.clients(chat), f"{ws.request.user}: {message}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A chat for users who have logged in.")
    parser.add_argument("--port", type=int, default=8000)
    server = WSGIServer(("127.0.0.1", parser.parse_args().port), app, log=None)
    close_on_stop(server, timeout=5)
    server.start()
    print(f"listening on http://127.0.0.1:{server.address[1]}", flush=True)
    gevent.signal_handler(signal.SIGINT, server.stop)
    server.serve_forever()
