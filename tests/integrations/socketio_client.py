"""Talks to socketio_server.py with the client of python-socketio. Usage: socketio_client.py URL TRANSPORT..."""

from __future__ import annotations

import sys

from socketio import SimpleClient

with SimpleClient() as client:
    client.connect(f"{sys.argv[1]}?user=ada", transports=sys.argv[2:], wait_timeout=10)
    print(client.receive(timeout=10))
    for data in ("text", b"\0\1", "x" * 500_000, {"of": ["both", b"kinds"]}):
        assert client.call("echo", data, timeout=10) == data
        assert client.receive(timeout=10) == ["all", data]
    print(client.transport)
