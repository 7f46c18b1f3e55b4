"""The library `websockets`: `peer_websockets.py server|client|listener URL deflate|plain` (a server: `-`)."""

from __future__ import annotations

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory


async def echo(ws):
    async for message in ws:
        await ws.send(message)


async def server(compression):
    async with serve(echo, "127.0.0.1", 0, compression=compression, max_size=None) as listening:
        print(listening.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def client(url, compression):
    """Send what the test sends on standard input, one JSON list of messages; print what comes back."""
    async with connect(url, compression=compression, max_size=None) as ws:
        received = []
        for kind, content in json.load(sys.stdin):
            if kind == "fragments":
                await ws.send(content)
            else:
                await ws.send(content if kind == "text" else bytes.fromhex(content))
            answer = await ws.recv()
            received.append(["text", answer] if isinstance(answer, str) else ["binary", answer.hex()])
        await (await ws.ping())
        await ws.close(1000, "done")
    print(json.dumps({"received": received, "code": ws.close_code, "compressed": bool(ws.protocol.extensions)}))


async def listen(url):
    """Open a connection for each window and kind of context; print what each one receives until it is closed."""

    async def receive(bits, fresh):
        extension = ClientPerMessageDeflateFactory(server_max_window_bits=bits, server_no_context_takeover=fresh)
        async with connect(url, compression=None, extensions=[extension], max_size=None) as ws:
            return [message async for message in ws]

    print(json.dumps(await asyncio.gather(*(receive(bits, fresh) for bits in range(8, 16) for fresh in (False, True)))))


role, target, compression = sys.argv[1:]
compression = "deflate" if compression == "deflate" else None
if role == "server":
    asyncio.run(server(compression))
else:
    asyncio.run(client(target, compression) if role == "client" else listen(target))
