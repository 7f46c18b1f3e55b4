"""The IP address of a client, directly and behind a proxy; who is blocked, and how many connections each may have.

A proxy adds the address that it has seen at the end of X-Forwarded-For. A server that trusts it reads the header from
the right, so that a client who sends such a header itself gains nothing. Servers and clients run in one process, and
the proxy is played by the clients' headers::

    python examples/client_address.py
"""

from __future__ import annotations

from contextlib import ExitStack

from geventws import InvalidStatus, Request, Response, WebSocket, WebSocketServer, connect

BLOCKED = {"203.0.113.66"}
CLIENT = "203.0.113.7"
MADE_UP = "1.2.3.4"


def let_in(request: Request) -> Response | None:
    if request.client_address in BLOCKED:
        return Response(403, body=b"not from there\n")
    return None


def tell(ws: WebSocket) -> None:
    ws.send(ws.client_address or "at a unix socket")
    ws.wait_closed()


def ask(server: WebSocketServer, forwarded_for: str | None = None) -> str:
    """What a server takes for the address of a client whose request comes with this header."""
    try:
        with connect(url(server), headers=forwarded(forwarded_for)) as ws:
            return str(ws.recv(timeout=5))
    except InvalidStatus as error:
        return f"{error.response.status} {error.response.body.decode().strip()}"


def url(server: WebSocketServer) -> str:
    return f"ws://127.0.0.1:{server.address[1]}"


def forwarded(value: str | None) -> dict[str, str]:
    return {} if value is None else {"X-Forwarded-For": value}


def main() -> None:
    with ExitStack() as stack:
        options = {"process_request": let_in, "max_connections_per_address": 2}
        direct = stack.enter_context(WebSocketServer(("127.0.0.1", 0), tell, **options))
        behind_proxy = stack.enter_context(WebSocketServer(("127.0.0.1", 0), tell, trusted_proxies=1, **options))
        for server in (direct, behind_proxy):
            server.start()
        print("direct:", ask(direct))
        print("behind a trusted proxy:", ask(behind_proxy, CLIENT))
        print("with a header of its own, behind that proxy:", ask(behind_proxy, f"{MADE_UP}, {CLIENT}"))
        print("with a header of its own, without a proxy:", ask(direct, MADE_UP))
        print("blocked:", ask(behind_proxy, "203.0.113.66"))
        for _ in range(2):
            stack.enter_context(connect(url(behind_proxy), headers=forwarded(CLIENT)))
        print("one too many:", ask(behind_proxy, CLIENT))


if __name__ == "__main__":
    main()
