"""Connections that come and go, as many as there is time for: the server's memory must not grow.

    python tests/soak/churn.py --minutes 10

Each connection has one message echoed and is left with a closing handshake; one of ten is reset instead, and one of ten
asks for no WebSocket and is refused. The server and the clients are processes of their own. Its status is 1 where a
connection failed, or where the server's resident memory grew by more than ``--slope`` KiB for each 1,000 connections,
or objects, greenlets or descriptors are left.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from statistics import linear_regression
from subprocess import PIPE, Popen
from typing import Any

import raw
from holding import raise_limit
from raw import Connection, share
from serving import Server

LOOKS = 20
SETTLED = 0.25
"""After this part of the time the memory should not grow any more."""


class Clients(raw.Clients):
    """Opens a connection for each that has ended, for some time."""

    def __init__(self, address: tuple[str, int], at_once: int, seconds: float) -> None:
        super().__init__(address)
        self.at_once = at_once
        self.seconds = seconds
        self.counts = dict.fromkeys(("left in order", "left with a reset", "refused", "failed"), 0)
        self.content = b"x" * 100
        self.message = raw.frame(raw.BINARY, self.content)
        self.farewell = raw.frame(raw.CLOSE, (1000).to_bytes(2, "big"))
        self.plain_request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

    def run(self) -> None:
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            while len(self.connections) < self.at_once:
                self.begin()
            self.turn(1.0)
        end += 10
        while self.connections and time.monotonic() < end:
            self.turn(1.0)
        self.counts["failed"] += len(self.connections)
        print(json.dumps(self.counts), flush=True)

    def began(self, connection: Connection) -> bytes:
        return self.plain_request if connection.number % 10 == 9 else self.request

    def opened(self, connection: Connection) -> None:
        self.send(connection, self.message)

    def came(self, connection: Connection, first: int, payload: bytes) -> None:
        assert payload == self.content
        if connection.number % 10 == 8:
            self.counts["left with a reset"] += 1
            self.leave(connection, reset=True)
        else:
            self.send(connection, self.farewell)
            connection.left = True

    def handle(self, connection: Connection, first: int, payload: bytes) -> None:
        if first == raw.CLOSE and connection.left and payload == b"\x03\xe8":
            self.counts["left in order"] += 1
            connection.closing = True
        else:
            super().handle(connection, first, payload)

    def refused(self, connection: Connection, head: bytes) -> None:
        if connection.number % 10 == 9 and head.startswith(b"HTTP/1.1 426"):
            self.counts["refused"] += 1
            connection.closing = True

    def ended(self, connection: Connection) -> None:
        self.counts["failed"] += not connection.closing


def watch(server: Server, seconds: float) -> list[dict[str, Any]]:
    """Look at the server now and then."""
    seen = []
    for number in range(LOOKS):
        time.sleep(seconds / LOOKS)
        seen.append(now := server.ask("look"))
        print(
            f"{(number + 1) * seconds / LOOKS:6.0f} s  {now['opened']:9} opened  RSS {now['rss'] >> 10:8} KiB  "
            f"{now['descriptors']:6} descriptors  {now['greenlets']:6} greenlets  {now['objects']:8} objects",
            flush=True,
        )
    return seen


def growth(seen: list[dict[str, Any]]) -> float:
    """By how many KiB the resident memory grows with each 1,000 connections, once it has settled."""
    settled = [now for now in seen if now["opened"] >= SETTLED * seen[-1]["opened"]]
    return linear_regression([now["opened"] for now in settled], [now["rss"] for now in settled]).slope * 1000 / 1024


def run(server: Server, given: argparse.Namespace) -> int:
    seconds = given.minutes * 60
    before = server.ask("look")
    clients = [
        Popen([sys.executable, __file__, "--clients", json.dumps([server.address, at_once, seconds])], stdout=PIPE)
        for at_once in share(given.at_once, given.processes)
    ]
    seen = watch(server, seconds)
    reports = [json.loads(process.communicate(timeout=60)[0]) for process in clients]
    time.sleep(1)
    after = server.ask("look")
    counts = {name: sum(report[name] for report in reports) for name in reports[0]}
    slope = growth(seen[:-1])  # at the last look the clients are about to end
    total = sum(counts.values())
    print(f"\n{total} connections in {seconds:.0f} s, {total / seconds:.0f} a second, {given.at_once} at once")
    for name, count in counts.items():
        print(f"{name:20} {count:10}")
    grown = (after["rss"] - before["rss"]) >> 10
    print(f"resident memory: {slope:+.3f} KiB for each 1,000 of them, {grown} KiB since the begin")
    left = {name: after[name] - before[name] for name in ("descriptors", "greenlets", "objects", "clients")}
    print("left: " + ", ".join(f"{count} {name}" for name, count in left.items()))
    kept = left["objects"] > 1000 or left["greenlets"] or left["descriptors"] or left["clients"]
    return 1 if slope > given.slope or kept or counts["failed"] or not total else 0


def main() -> int:
    raise_limit()
    if sys.argv[1:2] == ["--clients"]:
        address, *rest = json.loads(sys.argv[2])
        Clients(tuple(address), *rest).run()
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--at-once", type=int, default=50, help="connections that are under way at a time")
    parser.add_argument("--processes", type=int, default=2, help="of clients")
    parser.add_argument("--server", choices=["own", "wsgi"], default="own", help="WebSocketServer, or gevent.pywsgi")
    parser.add_argument("--slope", type=float, default=1.0, help="KiB that 1,000 connections may leave")
    given = parser.parse_args()
    with Server(given.server) as server:
        return run(server, given)


if __name__ == "__main__":
    sys.exit(main())
