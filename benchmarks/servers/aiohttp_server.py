from __future__ import annotations

import asyncio

import uvloop
from aiohttp import WSMsgType, web
from common import KIND, listen, tls


async def echo(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse(compress=KIND == "deflate")
    await ws.prepare(request)
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            await ws.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await ws.send_bytes(message.data)
    return ws


clients: set[web.WebSocketResponse] = set()


async def broadcast(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    clients.add(ws)
    async for message in ws:
        await asyncio.gather(*(client.send_bytes(message.data) for client in clients))
    clients.discard(ws)
    return ws


app = web.Application()
app.add_routes([web.get("/", broadcast if KIND == "broadcast" else echo)])
web.run_app(app, sock=listen(), ssl_context=tls(), print=None, loop=uvloop.new_event_loop())
