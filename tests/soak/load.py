"""Many connections in one process: so many active ones, so many idle ones, heartbeats on; how long a ping takes.

    python tests/soak/load.py --active 10000 --idle 8000

Server and clients are processes of their own, each of which has all descriptors it may have (`ulimit -n` is raised to
its hard limit). An active connection sends a message of 100 bytes each second, on average, and gets it back. The server
pings some connections all the time and measures. With ``--stop`` it is sent a SIGTERM then: up to 5,000 clients must
get a close frame with 1001 within a second, and the process must be gone within three. It prints what it saw; its
status is 1 where a connection was lost, or where 99 of 100 pings took longer than ``--p99`` seconds.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import select
import signal
import sys
import time
import zlib
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any

import raw
from holding import raise_limit
from raw import Connection, share
from serving import Server

GOING_AWAY = 1001
OPENED_AT_ONCE = 50
ALL_TOLD, GONE, AT_ONCE = 1.0, 3.0, 5000
"""How long a server that stops may take until each client has its close frame, and until its process has ended, in
seconds; with more than so many connections it has longer, as many times as there are more."""

# The clients


class Clients(raw.Clients):
    """So many active and idle connections of one process, until it is told to end."""

    def __init__(self, address: tuple[str, int], active: int, idle: int, compression: bool) -> None:
        super().__init__(address, raw.DEFLATE if compression else "")
        self.active = active
        self.total = active + idle
        self.due: list[tuple[float, int]] = []  # when which active connection sends next
        self.talking: dict[int, Connection] = {}
        self.expected = os.urandom(100)
        self.message = raw.frame(raw.BINARY, self.expected)
        if compression:
            text = b"".join(b'{"id": %d, "name": "%d"}' % (number, number * number) for number in range(60))
            deflate = zlib.compressobj(1, zlib.DEFLATED, -9)  # a window that every server allows
            data = deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)
            self.message = raw.frame(raw.RSV1 | raw.TEXT, data[:-4])
            self.expected = b""
        self.answered = self.lost = 0
        self.told = 0
        self.last_told = 0.0

    def run(self) -> None:
        """Wait for a byte, open all, say how many there are, and go on until the next byte comes."""
        print("ready", flush=True)
        os.read(0, 1)
        open_before = 0
        while open_before < self.total:
            open_before = len(self.talking)
            while self.begun < self.total and self.begun - open_before < OPENED_AT_ONCE:
                self.begin()
            self.turn(self.send_due())
            if self.lost:
                break
        print(len(self.talking), flush=True)
        self.answered, began = 0, time.monotonic()
        self.epoll.register(0, select.EPOLLIN)
        while not self.turn(self.send_due()):
            pass
        rate = self.answered / ((self.last_told or time.monotonic()) - began)
        report = {"answered": self.answered, "rate": rate, "lost": self.lost}
        print(json.dumps({**report, "told": self.told, "last_told": self.last_told}), flush=True)

    def send_due(self) -> float:
        """Send what is due; how long there is nothing more to send, in seconds."""
        now = time.monotonic()
        while self.due and self.due[0][0] <= now:
            _, number = heapq.heappop(self.due)
            connection = self.talking.get(number)
            if connection is not None:
                self.send(connection, self.message)
        return max(0.001, self.due[0][0] - now) if self.due else 1.0

    def opened(self, connection: Connection) -> None:
        self.talking[connection.number] = connection
        if connection.number < self.active:
            heapq.heappush(self.due, (time.monotonic() + random.random(), connection.number))

    def came(self, connection: Connection, first: int, payload: bytes) -> None:
        assert payload == self.expected or not self.expected
        self.answered += 1
        heapq.heappush(self.due, (time.monotonic() + random.uniform(0.5, 1.5), connection.number))

    def closed(self, connection: Connection, code: int) -> None:
        self.talking.pop(connection.number)
        if code == GOING_AWAY:
            self.told += 1
            self.last_told = time.monotonic()
        else:
            self.lost += 1

    def refused(self, connection: Connection, head: bytes) -> None:
        self.lost += 1

    def ended(self, connection: Connection) -> None:
        self.lost += not connection.closing
        self.talking.pop(connection.number, None)


def start_clients(address: tuple[str, int], given: argparse.Namespace) -> list[Any]:
    shares = zip(share(given.active, given.processes), share(given.idle, given.processes), strict=True)
    return [
        Popen(
            [sys.executable, __file__, "--clients", json.dumps([address, active, idle, given.compression])],
            stdin=PIPE,
            stdout=PIPE,
        )
        for active, idle in shares
    ]


# What is measured


def stop(server: Server) -> tuple[float, float]:
    """Have the server end: when it was told, and how long it took."""
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(30)
    except TimeoutExpired:
        return started, float("inf")
    return started, time.monotonic() - started


def open_all(clients: list[Any]) -> tuple[int, float]:
    """Let the clients begin: how many connections are open then, and how long that took."""
    for process in clients:
        process.stdout.readline()  # it is ready
    started = time.monotonic()
    for process in clients:
        process.stdin.write(b"\n")
        process.stdin.flush()
    return sum(int(process.stdout.readline()) for process in clients), time.monotonic() - started


def run(server: Server, given: argparse.Namespace) -> int:
    before = server.ask("look")
    clients = start_clients(server.address, given)
    opened, took = open_all(clients)
    began = time.monotonic()
    held = server.ask("look")
    pings = server.ask(f"ping {given.seconds}")
    after = server.ask("look")
    seconds = time.monotonic() - began
    told_at, gone = stop(server) if given.stop else (0.0, 0.0)
    reports = [json.loads(process.communicate(b"\n", timeout=60)[0]) for process in clients]
    sums = {name: sum(report[name] for report in reports) for name in ("answered", "rate", "lost", "told")}
    lost = sums["lost"] + (0 if given.stop else sums["told"])
    lost = max(lost, given.active + given.idle - after["clients"])
    good = not lost and pings["at_99"] <= given.p99
    print(f"{opened} connections, {given.active} of them active, opened in {took:.1f} s ({opened / took:.0f} a second)")
    for when, seen in (("open", held), ("measured", after)):
        print(f"memory of each in the server, when all were {when}: {(seen['rss'] - before['rss']) / opened:.0f} bytes")
    print(f"messages sent and answered: {sums['answered']}, {sums['rate']:.0f} a second")
    print(f"{pings['count']} pings: half within {pings['half'] * 1000:.1f} ms,", end=" ")
    print(f"99 of 100 within {pings['at_99'] * 1000:.1f} ms, all within {pings['all'] * 1000:.1f} ms")
    print(f"the server had {(after['cpu'] - held['cpu']) / seconds:.0%} of a processor")
    print(f"lost: {lost}")
    if given.stop:
        last = max(report["last_told"] for report in reports) - told_at
        print(f"told to stop: {sums['told']} had 1001 within {last:.2f} s, the process was gone within {gone:.2f} s")
        times = max(1.0, opened / AT_ONCE)
        good = good and sums["told"] == opened and last <= ALL_TOLD * times and gone <= GONE * times
    return 0 if good else 1


def main() -> int:
    limit = raise_limit()
    if sys.argv[1:2] == ["--clients"]:
        address, *rest = json.loads(sys.argv[2])
        Clients(tuple(address), *rest).run()
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--active", type=int, default=10_000)
    parser.add_argument("--idle", type=int, default=0)
    parser.add_argument("--server", choices=["own", "wsgi"], default="own", help="WebSocketServer, or gevent.pywsgi")
    parser.add_argument("--compression", action="store_true", help="messages of 1.6 KiB, compressed both ways")
    parser.add_argument("--processes", type=int, default=2, help="of clients")
    parser.add_argument("--seconds", type=float, default=60, help="of measuring")
    parser.add_argument("--p99", type=float, default=1.0, help="how long 99 of 100 pings may take, in seconds")
    parser.add_argument("--stop", action="store_true", help="stop the server at the end, and see that all are told")
    given = parser.parse_args()
    if given.active + given.idle + 100 > limit:
        print(f"so many connections need more descriptors than the {limit} that are allowed (ulimit -Hn)")
        return 2
    with Server(given.server, *["--compression"] * given.compression) as server:
        return run(server, given)


if __name__ == "__main__":
    sys.exit(main())
