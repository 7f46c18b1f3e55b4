from __future__ import annotations

import asyncio

import uvloop
from common import KIND, listen, tls
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

clients: set[WSTransport] = set()


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())


class Broadcast(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        clients.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        clients.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        message = frame.get_payload_as_bytes()
        for client in clients:
            client.send(frame.msg_type, message)


async def main() -> None:
    listener = Broadcast if KIND == "broadcast" else Echo
    server: asyncio.Server = await ws_create_server(lambda request: listener(), sock=listen(), ssl=tls())
    await server.serve_forever()


uvloop.run(main())
