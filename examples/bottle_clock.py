"""A page in Bottle that shows the server's time, which a WebSocket brings every second.

::

    python examples/bottle_clock.py

and open http://127.0.0.1:8000/ in a browser. ``--port`` chooses another port.
"""

from __future__ import annotations

import argparse
import signal
import time

import gevent
from bottle import Bottle
from gevent.pywsgi import WSGIServer

from geventws import WebSocket, WebSocketApp
from geventws.wsgi import close_on_stop

PAGE = """<!doctype html>
<title>Clock</title>
<p id="time">
<script>
const ws = new WebSocket(location.href.replace(/^http/, "ws") + "clock");
ws.onmessage = (event) => { document.getElementById("time").textContent = event.data; };
</script>
"""

app = Bottle()


@app.get("/")
def page() -> str:
    return PAGE


def clock(ws: WebSocket) -> None:
    while True:
        ws.send(time.strftime("%H:%M:%S"))  # raises when the client has gone, which ends the handler
        ws.wait_closed(timeout=1)


app.mount("/clock", WebSocketApp(clock))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A clock.")
    parser.add_argument("--port", type=int, default=8000)
    server = WSGIServer(("127.0.0.1", parser.parse_args().port), app, log=None)
    close_on_stop(server, timeout=5)
    server.start()
    print(f"listening on http://127.0.0.1:{server.address[1]}", flush=True)
    gevent.signal_handler(signal.SIGINT, server.stop)
    server.serve_forever()
