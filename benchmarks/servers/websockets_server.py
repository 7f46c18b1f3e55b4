from __future__ import annotations

import uvloop
from common import KIND, listen, tls
from websockets.asyncio.server import ServerConnection, broadcast, serve


async def echo(websocket: ServerConnection) -> None:
    async for message in websocket:
        await websocket.send(message)


async def broadcast_all(websocket: ServerConnection) -> None:
    async for message in websocket:
        broadcast(websocket.server.connections, message)


async def main() -> None:
    handler = broadcast_all if KIND == "broadcast" else echo
    compression = "deflate" if KIND == "deflate" else None
    async with serve(handler, sock=listen(), ssl=tls(), compression=compression) as server:
        await server.serve_forever()


uvloop.run(main())
