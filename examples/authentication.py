"""Only those whom the server knows get a WebSocket; the others get 401.

The check runs before the opening handshake is answered. This one reads the Authorization header (HTTP Basic, which
`connect` sends for ``ws://user:password@host``); a browser cannot set that header, so that a server for pages looks
at a cookie in the same place. Server and clients run in one process::

    python examples/authentication.py
"""

from __future__ import annotations

from geventws import InvalidStatus, WebSocket, WebSocketServer, basic_auth, connect

PASSWORDS = {"ada": "analytical engine"}  # a real program keeps only hashes of them, and gives a function instead


def greet(ws: WebSocket) -> None:
    ws.send(f"hello {ws.request.user}")


def main() -> None:
    with WebSocketServer(("127.0.0.1", 0), greet, process_request=basic_auth(PASSWORDS)) as server:
        server.start()
        url = f"ws://127.0.0.1:{server.address[1]}"
        with connect(url, auth=("ada", "analytical engine")) as ws:
            print("with the right password:", ws.recv(timeout=5))
        try:
            connect(url, auth=("ada", "difference engine"))
        except InvalidStatus as error:
            print("with a wrong one:", error.response.status, error.response.body.decode().strip())


if __name__ == "__main__":
    main()
