"""Through a proxy: HTTP CONNECT or SOCKS, by its URL.

::

    python examples/proxy.py socks5h://127.0.0.1:1080 wss://example.com/chat
    python examples/proxy.py http://user:password@proxy.example.com:3128 wss://example.com/chat

Without ``proxy=``, `connect` takes the one that the environment names (``wss_proxy``, ``https_proxy``, ``all_proxy``);
with ``proxy=None`` it takes none.
"""

from __future__ import annotations

import sys

from geventws import HandshakeError, ProxyError, connect


def main(proxy: str, url: str) -> str | None:
    try:
        with connect(url, proxy=proxy) as ws:
            ws.send("through a proxy")
            print(ws.recv(timeout=10))
    except ProxyError as error:
        return f"the proxy: {error}"
    except (OSError, HandshakeError) as error:
        return f"the server: {error}"
    return None


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/proxy.py PROXY URL")
    sys.exit(main(sys.argv[1], sys.argv[2]))
