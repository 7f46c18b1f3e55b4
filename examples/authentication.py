"""Only those whom the server knows get a WebSocket; the others get 401.

The check runs before the opening handshake is answered. This one reads the Authorization header (HTTP Basic, which
`connect` sends for ``ws://user:password@host``); a browser cannot set that header, so that a server for pages looks
at a cookie in the same place. Server and clients run in one process::

    python examples/authentication.py
"""

from __future__ import annotations

import hmac

from geventws import InvalidStatus, Request, Response, WebSocket, WebSocketServer, connect
from geventws.headers import parse_basic_credentials

PASSWORDS = {"ada": "analytical engine"}  # a real program keeps only hashes of them


def authenticate(request: Request) -> Response | None:
    try:
        user, password = parse_basic_credentials(request.headers.get("Authorization", ""))
    except ValueError:
        user = password = ""
    expected = PASSWORDS.get(user, "")
    if not expected or not hmac.compare_digest(password.encode(), expected.encode()):
        return Response(401, headers={"WWW-Authenticate": 'Basic realm="example"'}, body=b"Who are you?\n")
    request.user = user
    return None


def greet(ws: WebSocket) -> None:
    ws.send(f"hello {ws.request.user}")


def main() -> None:
    with WebSocketServer(("127.0.0.1", 0), greet, process_request=authenticate) as server:
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
