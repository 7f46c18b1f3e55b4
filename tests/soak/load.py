"""Many connections in one process: so many active ones, so many idle ones, heartbeats on; how long a ping takes.

    python tests/soak/load.py --active 10000 --idle 18000

The server runs in this process, the clients in processes of their own, each of which has all descriptors it may have
(`ulimit -n` is raised to its hard limit). An active connection sends a message of 100 bytes each second, on average,
and gets it back. The server pings some connections all the time and measures. It prints what it saw; its status is 1
where a connection was lost, or where 99 of 100 pings took longer than ``--p99`` seconds.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import resource
import sys
import time
from typing import Any

import gevent
import gevent.os
import gevent.pool
from gevent.subprocess import PIPE, Popen

from geventws import ConnectionClosed, WebSocketServer, connect

MESSAGE = b"x" * 100
PINGED_AT_ONCE = 20


def raise_limit() -> int:
    """Allow as many descriptors as the system does; how many that are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def rss() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


# The clients


class Clients:
    """So many active and idle connections of one process, until its standard input ends."""

    def __init__(self, url: str, active: int, idle: int) -> None:
        self.url = url
        self.active = active
        self.idle = idle
        self.opened = self.answered = self.lost = 0
        self.ending = False

    def run(self) -> None:
        spread = gevent.pool.Pool(50)
        greenlets: list[gevent.Greenlet[Any, Any]] = []
        for number in range(self.active + self.idle):
            spread.spawn(self.open, greenlets, number < self.active)
        spread.join()
        print(self.opened, flush=True)
        gevent.os.tp_read(0, 1)
        self.ending = True
        gevent.killall(greenlets)
        print(json.dumps({"answered": self.answered, "lost": self.lost}), flush=True)
        os._exit(0)  # all connections at once, which the server has to take as well

    def open(self, greenlets: list[Any], active: bool) -> None:
        ws = connect(self.url, compression=False, open_timeout=120)
        self.opened += 1
        greenlets.append(gevent.spawn(self.talk if active else self.listen, ws))

    def talk(self, ws: Any) -> None:
        try:
            while True:
                gevent.sleep(random.uniform(0.5, 1.5))
                ws.send(MESSAGE)
                assert ws.recv() == MESSAGE
                self.answered += 1
        except ConnectionClosed:
            self.lost += not self.ending

    def listen(self, ws: Any) -> None:
        try:
            ws.recv()
        except ConnectionClosed:
            self.lost += not self.ending


# The server


def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


def measure(server: WebSocketServer, seconds: float) -> list[float]:
    """The latencies of pings to connections drawn by lot."""
    latencies: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        everybody = list(server.clients)
        results = [ws.ping() for ws in random.sample(everybody, min(PINGED_AT_ONCE, len(everybody)))]
        latencies += [result.get(timeout=60) for result in results]
        gevent.sleep(0.05)
    return sorted(latencies)


def run(active: int, idle: int, processes: int, seconds: float, p99: float) -> int:
    total = active + idle
    limit = raise_limit()
    if total + 100 > limit:
        print(f"{total} connections need more descriptors than the {limit} that are allowed (ulimit -Hn)")
        return 2
    logging.getLogger("geventws").setLevel(logging.ERROR)
    server = WebSocketServer(("127.0.0.1", 0), echo, backlog=4096, open_timeout=120)
    server.start()
    url = f"ws://127.0.0.1:{server.address[1]}/"
    connect(url).close()
    before = rss()
    started = time.monotonic()
    shares = [(active // processes, idle // processes)] * processes
    clients = [
        Popen([sys.executable, __file__, "--clients", url, *map(str, share)], stdin=PIPE, stdout=PIPE)
        for share in shares
    ]
    opened = sum(int(process.stdout.readline()) for process in clients)
    took = time.monotonic() - started
    gevent.sleep(0.5)
    held = len(server.clients)
    each = (rss() - before) / max(1, held)
    latencies = measure(server, seconds)
    still = len(server.clients)
    reports = []
    for process in clients:
        output, _ = process.communicate(b"\n", timeout=120)
        reports.append(json.loads(output))
    server.stop()
    at_99 = latencies[len(latencies) * 99 // 100]
    lost = sum(report["lost"] for report in reports) + held - still
    print(f"{held} connections, {active} of them active, opened in {took:.1f} s ({opened / took:.0f} a second)")
    print(f"memory of each in the server: {each:.0f} bytes")
    print(f"messages sent and answered: {sum(report['answered'] for report in reports)} in {seconds:.0f} s")
    print(f"{len(latencies)} pings: half within {latencies[len(latencies) // 2] * 1000:.1f} ms, ", end="")
    print(f"99 of 100 within {at_99 * 1000:.1f} ms, all within {latencies[-1] * 1000:.1f} ms")
    print(f"lost: {lost}")
    return 1 if lost or held != sum(map(sum, shares)) or at_99 > p99 else 0


def main() -> int:
    if sys.argv[1:2] == ["--clients"]:
        raise_limit()
        url, active, idle = sys.argv[2:]
        Clients(url, int(active), int(idle)).run()
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--active", type=int, default=10_000)
    parser.add_argument("--idle", type=int, default=0)
    parser.add_argument("--processes", type=int, default=4, help="of clients")
    parser.add_argument("--seconds", type=float, default=60, help="of measuring")
    parser.add_argument("--p99", type=float, default=1.0, help="how long 99 of 100 pings may take, in seconds")
    given = parser.parse_args()
    return run(given.active, given.idle, given.processes, given.seconds, given.p99)


if __name__ == "__main__":
    sys.exit(main())
