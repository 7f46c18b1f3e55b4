"""A browser as the client: a page that shows how busy the server's machine is, and how long an answer takes.

::

    python examples/server_stats.py

and open http://127.0.0.1:8000/ in a browser. ``--port`` chooses another port. One server answers with the page and with
the WebSocket; it lets its own page in and no other's.
"""

from __future__ import annotations

import argparse
import os
import signal

import gevent

from geventws import Request, Response, WebSocket, WebSocketServer

PAGE = b"""<!doctype html>
<meta charset="utf-8">
<title>Server</title>
<p>Load: <output id="load"></output>
<p>Round trip: <output id="time"></output>
<script>
const ws = new WebSocket(location.href.replace(/^http/, "ws") + "stats");
const show = (id, text) => { document.getElementById(id).textContent = text; };
let sent;
ws.onmessage = (event) => {
  const message = JSON.parse(event.data);
  if ("load" in message) {
    show("load", message.load);
    sent = performance.now();
    ws.send("ask");
  } else {
    show("time", (performance.now() - sent).toFixed(1) + " ms");
  }
};
ws.onclose = (event) => { show("load", "closed with " + event.code); };
</script>
"""


def answer_http(request: Request) -> Response | None:
    if request.path == "/stats":
        return None
    if request.path == "/":
        return Response(200, headers={"Content-Type": "text/html"}, body=PAGE)
    return Response(404, body=b"nothing is here\n")


def answer(ws: WebSocket) -> None:
    for message in ws:
        ws.send_json({"answer": message})


def stats(ws: WebSocket) -> None:
    answering = gevent.spawn(answer, ws)
    try:
        while not ws.wait_closed(timeout=0):
            ws.send_json({"load": f"{os.getloadavg()[0]:.2f}"})
            ws.wait_closed(timeout=1)
    finally:
        answering.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A page with a server's load.")
    parser.add_argument("--port", type=int, default=8000)
    server = WebSocketServer(("127.0.0.1", parser.parse_args().port), stats, process_request=answer_http)
    server.start()
    print(f"listening on http://127.0.0.1:{server.address[1]}", flush=True)
    gevent.signal_handler(signal.SIGINT, server.stop)
    server.serve_forever()
