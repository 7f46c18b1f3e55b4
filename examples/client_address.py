"""The client's address: that of the other end of the socket, known before the opening handshake is answered.

Behind a reverse proxy that is the proxy's, which tells the client's in a header: see the README. Server and client run
in one process::

    python examples/client_address.py
"""

from __future__ import annotations

from ipaddress import ip_address

from geventws import InvalidStatus, Request, Response, WebSocket, WebSocketServer, connect


def let_in(request: Request) -> Response | None:
    host = request.remote_address[0]
    if ip_address(host).is_loopback and request.path != "/outside":
        return None
    return Response(403, body=f"not from {host}\n".encode())


def tell(ws: WebSocket) -> None:
    host, port, *_ = ws.remote_address
    ws.send(f"you are {host}, port {port}")


def main() -> None:
    with WebSocketServer(("127.0.0.1", 0), tell, process_request=let_in) as server:
        server.start()
        url = f"ws://127.0.0.1:{server.address[1]}"
        with connect(url) as ws:
            print(ws.recv(timeout=5).replace(str(ws.local_address[1]), "of mine"))
        try:
            connect(f"{url}/outside")
        except InvalidStatus as error:
            print(error.response.status, error.response.body.decode().strip())


if __name__ == "__main__":
    main()
