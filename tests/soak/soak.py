"""A server and its clients for a long time: churn, stalled peers, kills; not one message may be lost, nothing may grow.

    python tests/soak/soak.py --minutes 10 --connections 1000

The server runs in this process, the clients in processes of their own. Each connection sends numbered messages and
gets each one back, once and in order. Now and then a client leaves (in order or with a reset) and comes back, a client
stops reading for a while, and a greenlet of either side is interrupted while it sends or receives and goes on with what
it did. A handler that is killed ends its connection at once: the client must have had what it sent, but for what was
still in the queue of a client that does not read. At the end, and every few seconds, it is looked at what the server's
process holds. It prints a summary, and its status is 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import gevent
from gevent import get_hub
from gevent.subprocess import PIPE, Popen
from holding import Holding, holding, raise_limit, resident, trim

from geventws import ConnectionClosed, WebSocketServer, connect

SIZES = [16, 16, 60, 200, 200, 1000, 5000, 40_000]
CUT_OFF = (1001, 1006)
"""How a connection ends whose handler is killed: with a close frame, unless the queue before it was not empty."""
STOPPED = 3
"""How long a client that has stalled does not read, in seconds."""


KEPT, KEPT_OF_EACH = 0.2, 8192
"""How much of the memory by which the server grew may be left when all connections are gone, and beside that how many
bytes of each connection: Python gives its arenas back only where nothing is left in them, and uses them again."""


class Settings(NamedTuple):
    """How a run goes; ``churn`` and ``kill`` are chances for each second, the others for each message."""

    seconds: float
    connections: int
    processes: int
    rate: float
    churn: float
    stall: float
    interrupt: float
    kill: float
    compression: bool


class Interruption(BaseException):
    """What is thrown into a greenlet; it is caught where that goes on."""


# The clients


class Clients:
    """The connections of one process of clients, which ends with a line of JSON."""

    def __init__(self, url: str, settings: Settings, seed: int) -> None:
        self.url = url
        self.settings = settings
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.seed = seed
        self.cut_off: dict[str, int] = {}  # how many messages had come on a connection that the server ended
        self.end = time.monotonic() + settings.seconds

    def run(self) -> None:
        share = self.settings.connections // self.settings.processes
        greenlets = []
        for number in range(share):
            greenlets.append(gevent.spawn(self.client, number))
            if number % 20 == 0:
                gevent.sleep(0.02)
        gevent.joinall(greenlets)
        for greenlet in greenlets:
            if not greenlet.successful():
                self.fault(f"a client failed: {greenlet.exception!r}")
        print(json.dumps({"counts": self.counts, "faults": self.faults[:20], "cut off": self.cut_off}), flush=True)

    def fault(self, text: str) -> None:
        self.counts["faults"] += 1
        self.faults.append(text)

    def client(self, number: int) -> None:
        while time.monotonic() < self.end:
            self.counts["connections"] += 1
            name = f"{self.seed}-{self.counts['connections']}"
            ws = connect(self.url + name, compression=self.settings.compression, close_timeout=30, open_timeout=60)
            self.life(ws, name)

    def life(self, ws: Any, name: str) -> None:
        """Send and receive until it is time to go; all that was sent must be back before the connection is left."""
        leave_at = time.monotonic() + self.chance.expovariate(self.settings.churn or 1e-9)
        sent = [0]
        sender = gevent.spawn(self.send_on, ws, sent, min(leave_at, self.end))
        expected = 0
        for message in self.received(ws, sender, sent):
            if message is None:
                break
            got = int(message[:10])
            if got != expected or message != content(got, len(message)):
                self.fault(f"message {got} came where {expected} was due")
            expected = got + 1
            self.counts["messages"] += 1
            if self.chance.random() < self.settings.stall:
                self.counts["stalls"] += 1
                ws.pause()
                gevent.sleep(STOPPED)
                ws.resume()
        sender.join()
        if ws.close_code in CUT_OFF:
            self.cut_off[name] = expected
            return
        if expected != sent[0]:
            self.fault(f"{sent[0] - expected} of {sent[0]} messages were lost ({ws.close_code} {ws.close_reason})")
        self.leave(ws)

    def received(self, ws: Any, sender: Any, sent: list[int]) -> Iterator[bytes | None]:
        """The messages, until all that was sent is back; interrupted now and then."""
        count = 0
        while not (sender.ready() and count == sent[0]):
            try:
                with interrupted(self.chance, self.settings.interrupt, self.counts):
                    message = ws.recv(timeout=1)
            except TimeoutError:
                if time.monotonic() > self.end + 60:
                    yield None
                continue
            except Interruption:
                continue
            except ConnectionClosed:
                yield None
                return
            count += 1
            yield message

    def send_on(self, ws: Any, sent: list[int], until: float) -> None:
        """A send that is interrupted has sent nothing: the same message is sent again."""
        while time.monotonic() < until:
            message = content(sent[0], self.chance.choice(SIZES))
            try:
                with interrupted(self.chance, self.settings.interrupt, self.counts):
                    ws.send(message)
                    sent[0] += 1
            except Interruption:
                continue
            except ConnectionClosed:
                return
            gevent.sleep(max(0.001, self.chance.expovariate(self.settings.rate)))  # libuv has no shorter timers

    def leave(self, ws: Any) -> None:
        if self.chance.random() < 0.2:
            self.counts["left without a word"] += 1
            ws.terminate()
        else:
            ws.close()
            if ws.close_code != 1000 and not self.faults:
                self.fault(f"closed with {ws.close_code} {ws.close_reason}")


def content(number: int, size: int) -> bytes:
    """A message that can be checked on its own."""
    head = b"%010d" % number
    return (head * (size // 10 + 1))[: max(size, 10)]


class interrupted:  # noqa: N801 (it reads as a statement)
    """With some chance, throw an Interruption into the greenlet soon, unless the body has ended."""

    def __init__(self, chance: random.Random, probability: float, counts: Counter[str]) -> None:
        self._timer: Any = None
        self._counts = counts
        if chance.random() < probability:
            self._timer = get_hub().loop.timer(chance.uniform(0.001, 0.02))

    def __enter__(self) -> None:
        if self._timer is not None:
            self._timer.start(self._throw, gevent.getcurrent())

    def __exit__(self, *exc_info: object) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()

    def _throw(self, target: Any) -> None:
        self._counts["interruptions"] += 1
        target.throw(Interruption())


# The server


class Server:
    """Echoes; its greenlets are interrupted as the clients' are, and some are killed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.chance = random.Random(0)
        self.counts: Counter[str] = Counter()
        self.handlers: set[Any] = set()
        self.killed: dict[str, int] = {}  # how many messages a handler had sent when it was killed
        self.server = WebSocketServer(
            ("127.0.0.1", 0),
            self.handle,
            backlog=1024,
            compression=settings.compression,
            close_timeout=30,
            open_timeout=60,
        )

    def handle(self, ws: Any) -> None:
        me = gevent.getcurrent()
        self.handlers.add(me)
        sent = [0]
        try:
            self.echo(ws, sent)
        except gevent.GreenletExit:
            self.killed[ws.request.path.removeprefix("/")] = sent[0]
            raise
        finally:
            self.handlers.remove(me)

    def echo(self, ws: Any, sent: list[int]) -> None:
        while True:
            try:
                with interrupted(self.chance, self.settings.interrupt, self.counts):
                    message = ws.recv()
            except Interruption:
                continue
            except ConnectionClosed:
                return
            while True:
                try:
                    with interrupted(self.chance, self.settings.interrupt, self.counts):
                        ws.send(message)
                        message = None
                        sent[0] += 1
                    break
                except Interruption:
                    if message is None:
                        break
                except ConnectionClosed:
                    return

    def kill_some(self) -> None:
        """Kill handlers drawn by lot, as long as there are any."""
        while True:
            gevent.sleep(0.1)
            for handler in [handler for handler in self.handlers if self.chance.random() < self.settings.kill / 10]:
                self.counts["kills"] += 1
                handler.kill(block=False)

    def compare(self, cut_off: dict[str, int]) -> Iterator[str]:
        """What is wrong with the connections that ended by themselves."""
        for name, count in cut_off.items():
            sent = self.killed.get(name)
            if sent is None:
                yield f"connection {name} ended by itself"
            elif count > sent:
                yield f"connection {name} had {count} messages, of {sent} that were sent"
            else:
                self.counts["lost with a kill"] += sent - count


def watch_over(server: WebSocketServer, seconds: float) -> list[Holding]:
    """Look at what is held every tenth of the time."""
    seen = []
    for number in range(10):
        gevent.sleep(seconds / 10)
        seen.append(holding())
        now = seen[-1]
        print(
            f"{(number + 1) * seconds / 10:8.0f} s  {len(server.clients):6} connections  RSS {now.rss >> 10:8} KiB  "
            f"{now.descriptors:6} descriptors  {now.greenlets:6} greenlets  {now.objects:8} objects  "
            f"{now.contexts:6} of zlib",
            flush=True,
        )
    return seen


def violations(before: Holding, seen: list[Holding], after: Holding, kept: int, settings: Settings) -> list[str]:
    """What has grown and should not have; ``kept`` bytes of memory are more than before, free ones not counted."""
    faults = []
    if after.descriptors > before.descriptors:
        faults.append(f"{after.descriptors - before.descriptors} descriptors are left")
    if after.greenlets > before.greenlets:
        faults.append(f"{after.greenlets - before.greenlets} greenlets are left")
    if after.objects > before.objects + 2000:
        faults.append(f"{after.objects - before.objects} objects are left")
    if after.contexts > before.contexts:
        faults.append(f"{after.contexts - before.contexts} contexts of zlib are left")
    middle, last = seen[len(seen) // 2], seen[-1]
    # Contexts that come and go, a third of a MiB each, take some time to fill the gaps that they leave in the heap.
    each = 16384 if settings.compression else 2048
    allowed = 2**20 * max(1.0, settings.seconds / 3600) + each * settings.connections
    if settings.seconds >= 60 and last.rss - middle.rss > allowed:
        faults.append(f"the resident memory has grown by {(last.rss - middle.rss) >> 10} KiB in the second half")
    if kept > KEPT * (highest(seen) - before.rss) + KEPT_OF_EACH * settings.connections + 2**20:
        faults.append(f"{kept >> 10} KiB are left")
    return faults


def highest(seen: list[Holding]) -> int:
    return max(now.rss for now in seen)


def run(settings: Settings) -> int:
    raise_limit()
    logging.getLogger("geventws").setLevel(logging.CRITICAL)
    made = Server(settings)
    made.server.start()
    url = f"ws://127.0.0.1:{made.server.address[1]}/"
    connect(url).close()
    gevent.sleep(0.1)
    before = holding()
    arguments = [sys.executable, __file__, "--clients", url, json.dumps(settings)]
    processes = [Popen([*arguments, str(seed)], stdout=PIPE) for seed in range(settings.processes)]
    killer = gevent.spawn(made.kill_some)
    seen = watch_over(made.server, settings.seconds)
    killer.kill()
    reports = [json.loads(process.communicate(timeout=180)[0] or b"{}") for process in processes]
    deadline = time.monotonic() + 35
    while made.server.clients and time.monotonic() < deadline:
        gevent.sleep(0.1)
    for process in processes:
        process.stdout.close()
    counts: Counter[str] = Counter()
    faults: list[str] = []
    for process, report in zip(processes, reports, strict=True):
        counts.update(report.get("counts", {}))
        faults += made.compare(report.get("cut off", {}))
        faults += report.get("faults", [f"a process of clients ended with {process.returncode}"])
    del processes, process, report, reports
    gevent.sleep(0.2)
    after = holding()
    trim()
    kept = resident() - before.rss
    faults += violations(before, seen, after, kept, settings)
    made.server.stop()
    compression = "with compression" if settings.compression else "without compression"
    print(f"\n{settings.seconds:.0f} s, {settings.connections} connections at once, {compression}")
    for name in ("connections", "messages", "stalls", "interruptions", "left without a word"):
        print(f"{name:20} {counts[name]:12}")
    print(f"{'server interruptions':20} {made.counts['interruptions']:12}")
    for name in ("kills", "lost with a kill"):
        print(f"{name:20} {made.counts[name]:12}")
    print(f"before {before}\nafter  {after}")
    print(f"memory: {before.rss >> 10} KiB before, {highest(seen) >> 10} at most, {after.rss >> 10} after, ", end="")
    print(f"{(before.rss + kept) >> 10} when the allocator gives back what is free")
    for fault in faults:
        print(f"VIOLATION: {fault}")
    print("failed" if faults or not counts["messages"] else "nothing lost, nothing left")
    return 1 if faults or not counts["messages"] else 0


def main() -> int:
    if sys.argv[1:2] == ["--clients"]:
        url, settings, seed = sys.argv[2:]
        raise_limit()
        Clients(url, Settings(*json.loads(settings)), int(seed)).run()
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2, help="of clients")
    parser.add_argument("--rate", type=float, default=2.0, help="messages a second of each connection")
    parser.add_argument("--churn", type=float, default=0.05, help="how often each connection leaves, a second")
    parser.add_argument("--stall", type=float, default=0.002, help="the chance of a stall at each message")
    parser.add_argument("--interrupt", type=float, default=0.05, help="the chance of an interruption at each call")
    parser.add_argument("--kill", type=float, default=0.001, help="how often each handler is killed, a second")
    parser.add_argument("--compression", action="store_true")
    given = parser.parse_args()
    return run(
        Settings(
            given.minutes * 60,
            given.connections,
            given.processes,
            given.rate,
            given.churn,
            given.stall,
            given.interrupt,
            given.kill,
            given.compression,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
