"""An application of flask-sock on the drop-in for simple-websocket."""

from __future__ import annotations

import logging

from geventws.integrations.simple_websocket import install

install()

from flask import Flask  # noqa: E402
from flask_sock import Sock  # noqa: E402

logging.basicConfig(format="%(levelname)s: %(message)s")

application = Flask(__name__)
sock = Sock(application)


@sock.route("/echo")
def echo(ws) -> None:
    while True:
        ws.send(ws.receive())
