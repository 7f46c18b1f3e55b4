from __future__ import annotations

import asyncio

import uvloop
from common import BATCH, CONNECTIONS, LAST, MESSAGE, SIZE, TASK, URL, Meter
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect


class RoundTrips(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        self.left = BATCH
        transport.send(WSMsgType.BINARY, MESSAGE)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.left -= 1
        if not self.left:
            assert frame.get_payload_as_bytes() == MESSAGE
            self.left = BATCH
            if not meter.count(BATCH):
                done.set()
                return
        else:
            frame.get_payload_as_bytes()
        transport.send(WSMsgType.BINARY, MESSAGE)


class Receive(WSListener):
    left = BATCH

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        message = frame.get_payload_as_bytes()
        self.left -= 1
        if not self.left:
            assert len(message) == SIZE
            self.left = BATCH
            if not meter.count(BATCH):
                done.set()


class Send(WSListener):
    def __init__(self) -> None:
        self.writable = asyncio.Event()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        assert frame.get_payload_as_bytes() == LAST
        done.set()

    async def run(self, transport: WSTransport) -> None:
        while meter.count(BATCH):
            for _ in range(BATCH):
                transport.send(WSMsgType.BINARY, MESSAGE)
                if not self.writable.is_set():
                    await self.writable.wait()
        transport.send(WSMsgType.BINARY, LAST)


async def main() -> None:
    listener_class = {"roundtrip": RoundTrips, "receive": Receive, "send": Send}[TASK]
    for _ in range(CONNECTIONS):
        transport, listener = await ws_connect(listener_class, URL)
        if isinstance(listener, Send):
            senders.append(asyncio.create_task(listener.run(transport)))
    await done.wait()
    meter.report()


meter = Meter()
done = asyncio.Event()
senders: list[asyncio.Task[None]] = []
uvloop.run(main())
