"""Standard input and output over a WebSocket: what is read is sent, and what arrives is written.

Start a server, and then send it something::

    python examples/echo.py serve
    echo hello | python examples/standard_streams.py ws://127.0.0.1:8000

The end of the input closes the connection; what the server had sent by then is still written. The bytes travel in
binary messages, and text that arrives is written as UTF-8.
"""

from __future__ import annotations

import os
import sys

from gevent.socket import wait_read

from geventws import connect
from geventws.stream import relay


class StandardInput:
    """Reads without holding the other greenlets. The descriptor stays as it is: it is shared with the shell."""

    def read(self, size: int) -> bytes:
        wait_read(0)
        return os.read(0, size)


def main(url: str) -> None:
    with connect(url) as ws:
        copied = relay((StandardInput(), sys.stdout.buffer), ws)
    print(f"{copied.forth} bytes sent, {copied.back} received", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/standard_streams.py URL")
    main(sys.argv[1])
