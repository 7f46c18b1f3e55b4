"""A server behind TLS (wss://) and a client that checks its certificate.

Make a certificate for this machine, and run both in one process::

    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost \\
        -keyout key.pem -out cert.pem
    python examples/tls.py cert.pem key.pem

The client trusts the certificate itself, or the authorities in a third file.
"""

from __future__ import annotations

import ssl
import sys

from geventws import WebSocket, WebSocketServer, connect


def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def main(certificate: str, key: str, trusted: str) -> None:
    context = ssl.create_default_context(cafile=trusted)
    with WebSocketServer(("127.0.0.1", 0), echo, certfile=certificate, keyfile=key) as server:
        server.start()
        with connect(f"wss://localhost:{server.address[1]}", ssl_context=context) as ws:
            ws.send("nobody else can read this")
            print(ws.recv(timeout=5))
        try:
            connect(f"wss://localhost:{server.address[1]}")
        except ssl.SSLCertVerificationError as error:
            print("without that trust:", error.verify_message)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: python examples/tls.py CERTIFICATE KEY [TRUSTED]")
    main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) == 4 else sys.argv[1])
