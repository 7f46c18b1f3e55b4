"""One HTTPS server with a site and two WebSocket endpoints, and a client that talks to all of them.

Make a certificate for this machine, and run both in one process::

    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost \\
        -keyout key.pem -out cert.pem
    python examples/https_site.py cert.pem key.pem

The client trusts the certificate itself, or the authorities in a third file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from http.client import HTTPResponse
from typing import Any

import gevent
from gevent import socket, ssl  # whose contexts do not block the other greenlets
from gevent.pywsgi import WSGIServer

from geventws import WebSocket, WebSocketApp, connect
from geventws.wsgi import close_websockets


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def count(ws: WebSocket) -> None:
    for number in range(3):
        ws.send(str(number))
        gevent.sleep(0.01)


def site(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    found = environ["PATH_INFO"] == "/"
    body = b"two WebSockets live here" if found else b"nothing is here"
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("200 OK" if found else "404 Not Found", headers)
    return [body]


endpoints = {"/echo": WebSocketApp(echo), "/count": WebSocketApp(count, compression=True)}


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    view = endpoints.get(environ["PATH_INFO"], site)
    return view(environ, start_response)


def get(port: int, context: ssl.SSLContext) -> str:
    """The site's page."""
    with context.wrap_socket(socket.create_connection(("localhost", port)), server_hostname="localhost") as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with HTTPResponse(sock) as response:
            response.begin()
            return response.read().decode()


def main(certificate: str, key: str, trusted: str) -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificate, key)
    server = WSGIServer(("127.0.0.1", 0), application, ssl_context=server_context, log=None)
    server.start()
    port = server.address[1]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(trusted)
    with connect(f"wss://localhost:{port}/echo", ssl_context=context) as ws:
        ws.send("nobody else can read this")
        print("/echo:", ws.recv(timeout=5))
    with connect(f"wss://localhost:{port}/count", ssl_context=context) as ws:
        print("/count:", *ws)
    print("/:", get(port, context))
    close_websockets(timeout=5)
    server.stop()


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: python examples/https_site.py CERTIFICATE KEY [TRUSTED]")
    main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) == 4 else sys.argv[1])
