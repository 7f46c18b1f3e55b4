"""What stands behind the reverse proxies: an echo, and a WebSocket that tells where its client is."""

from __future__ import annotations

from typing import Any

from application import descriptors, echo
from werkzeug.middleware.proxy_fix import ProxyFix

from geventws import WebSocket, WebSocketApp


def tell_address(ws: WebSocket) -> None:
    assert ws.environ is not None
    ws.send(ws.environ["REMOTE_ADDR"])


def tell_client(ws: WebSocket) -> None:
    ws.send(ws.client_address or "nobody")


_APPS: dict[str, Any] = {
    "/echo": WebSocketApp(echo, max_size=2**23),
    "/address": ProxyFix(WebSocketApp(tell_address), x_for=1),
    "/client": WebSocketApp(tell_client, trusted_proxies=1),
    "/listed": WebSocketApp(tell_client, trusted_proxies=["10.0.0.0/8", "127.0.0.1"]),
    "/behind-two": WebSocketApp(tell_client, trusted_proxies=2),
    "/few": WebSocketApp(echo, trusted_proxies=2, max_connections_per_address=1),
    "/trusting": ProxyFix(WebSocketApp(echo), x_for=1, x_host=1),
}


def application(environ: dict[str, Any], start_response: Any) -> Any:
    return _APPS.get(environ["PATH_INFO"], descriptors)(environ, start_response)
