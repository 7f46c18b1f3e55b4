"""What every server does before its library starts: listen on a free port, tell which, and silence the log."""

from __future__ import annotations

import logging
import socket
import ssl
import sys

KIND = sys.argv[1] if len(sys.argv) > 1 else "echo"
"""What is served: echo, deflate (echo with permessage-deflate), tls (echo under TLS), wsgi (echo in a WSGI application)
or broadcast."""


def listen() -> socket.socket:
    logging.disable()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    return listener


def tls() -> ssl.SSLContext | None:
    """The context for the kind tls, from the certificate that the second argument names."""
    if KIND != "tls":
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[2])
    return context
