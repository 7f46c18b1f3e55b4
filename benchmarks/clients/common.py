"""What the client programs have in common: arguments, phases, and the line of JSON they print.

PROGRAM PORT TASK SIZE SECONDS CONNECTIONS

Tasks: `roundtrip` sends a message and waits for its echo; `receive` takes a flood of messages; `send` floods, and ends
with a short message whose echo says that all before it was read.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

PORT, TASK = int(sys.argv[1]), sys.argv[2]
SIZE, SECONDS, CONNECTIONS = int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
WARMUP = 0.5
BATCH = 50
"""How many messages there are between two looks at the clock."""

logging.disable()
PATH = {"roundtrip": "/", "receive": f"/flood/binary/{SIZE}", "send": "/sink"}[TASK]
URL = f"ws://127.0.0.1:{PORT}{PATH}"
MESSAGE = bytes(i * 7 & 255 for i in range(SIZE))
LAST = b"last"


class Meter:
    """Counts messages between the end of the warm-up and the end of the measurement."""

    def __init__(self) -> None:
        self.messages = 0
        self.starts = time.perf_counter() + WARMUP
        self.ends = self.starts + SECONDS
        self.began: float | None = None
        self.cpu = 0.0

    def count(self, messages: int) -> bool:
        """Add messages; whether the measurement goes on."""
        now = time.perf_counter()
        if self.began is not None:
            self.messages += messages
        elif now >= self.starts:
            self.began = now
            self.cpu = time.process_time()
        return now < self.ends

    def report(self) -> None:
        assert self.began is not None
        seconds = time.perf_counter() - self.began
        cpu = (time.process_time() - self.cpu) / seconds
        figures = {"rate": self.messages / seconds, "messages": self.messages, "seconds": seconds, "cpu": cpu}
        print(json.dumps(figures), flush=True)
        os._exit(0)  # without closing: the server may still flood


def run_blocking(connect: Callable[[str], Any], start: Callable[[Callable[[], None]], Any], send: str = "send") -> None:
    """Measure a client whose calls block. `start` runs a function beside others, and returns what has a join()."""
    connections = [connect(URL) for _ in range(CONNECTIONS)]
    meter = Meter()
    task = {"roundtrip": _round_trips, "receive": _receive, "send": _send}[TASK]

    def work(ws: Any) -> Callable[[], None]:
        return lambda: task(ws, getattr(ws, send), meter)

    for worker in [start(work(ws)) for ws in connections]:
        worker.join()
    meter.report()


def _round_trips(ws: Any, send: Callable[[bytes], Any], meter: Meter) -> None:
    receive = ws.recv
    while meter.count(BATCH):
        for _ in range(BATCH):
            send(MESSAGE)
            message = receive()
        assert message == MESSAGE


def _receive(ws: Any, send: Callable[[bytes], Any], meter: Meter) -> None:
    messages = iter(ws)
    while meter.count(BATCH):
        for message in islice(messages, BATCH):
            assert len(message) == SIZE


def _send(ws: Any, send: Callable[[bytes], Any], meter: Meter) -> None:
    while meter.count(BATCH):
        for _ in range(BATCH):
            send(MESSAGE)
    send(LAST)
    assert ws.recv() == LAST
