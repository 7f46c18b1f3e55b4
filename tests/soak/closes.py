"""Very many closes in the ten states in which that is hard: each must return within ``close_timeout`` + 0.2 s.

    python tests/soak/closes.py --minutes 5

Connections of both roles, and over TLS, are brought into each of the states, and all of them are closed at once. None
of the peers gives the closing handshake the end that it should have. It prints how long the calls of close took, state
by state; its status is 1 where one took longer, or where a greenlet that waited for such a connection goes on waiting.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import trustme
from gevent import socket, ssl
from gevent.event import Event
from gevent.queue import Queue

from geventws import ConnectionClosed, WebSocketServer
from geventws.testing import ScriptedPeer, scripted

CLOSE_TIMEOUT = 0.1
ALLOWED = CLOSE_TIMEOUT + 0.2
EACH = 20
"""How many connections in each state there are at a time."""
BINARY = 0x2
Waiting = list[Any]


def waiting(function: Callable[..., Any], *arguments: Any) -> Any:
    """A greenlet that makes a call which the end of the connection ends."""

    def call() -> None:
        try:
            function(*arguments)
        except ConnectionClosed:
            pass

    return gevent.spawn(call)


def fill(ws: Any) -> None:
    """Send until nothing more fits, neither into the kernel nor into the queue."""
    while ws.buffered_amount <= 65536:
        ws.send(bytes(300_000))


# The states. Each gives the greenlets that wait for the connection.


def idle(ws: Any, peer: Any) -> Waiting:
    return []


def dead(ws: Any, peer: Any) -> Waiting:
    peer.reset()
    return []


def full(ws: Any, peer: Any) -> Waiting:
    fill(ws)
    return []


def sending(ws: Any, peer: Any) -> Waiting:
    fill(ws)
    return [waiting(ws.send, b"behind it") for _ in range(3)]


def receiving(ws: Any, peer: Any) -> Waiting:
    return [waiting(ws.recv)]


def paused(ws: Any, peer: Any) -> Waiting:
    ws.pause()
    peer.binary(bytes(100))
    return []


def unread(ws: Any, peer: Any) -> Waiting:
    """More than it takes without a reader: the rest stays in the kernel, in front of the peer's close frame."""
    peer.sock.settimeout(0)
    frame = peer.frame(BINARY, bytes(1000))
    try:
        for _ in range(1000):
            peer.sock.send(frame)
    except BlockingIOError:
        pass
    return []


def untruthful(ws: Any, peer: Any) -> Waiting:
    """The peer answers, but ends neither TLS nor the connection."""

    def answer() -> None:
        peer.finish_close()

    return [gevent.spawn(answer)]


STATES: dict[str, Callable[[Any, Any], Waiting]] = {
    "the peer is idle": idle,
    "the peer is dead": dead,
    "the send buffer is full": full,
    "others wait in send": sending,
    "another waits in recv": receiving,
    "the reader is paused": paused,
    "messages are unread": unread,
    "TLS without close_notify": untruthful,
    "called twice": idle,
    "called by 20 greenlets": full,
}
CALLS = {"called twice": 2, "called by 20 greenlets": 20}


# The connections


@contextmanager
def tls_pairs() -> Iterator[Callable[[], tuple[Any, Any]]]:
    """A function that gives a WebSocket of a TLS server, and its peer."""
    authority = trustme.CA()
    context, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(trusting)
    arrived: Queue[Any] = Queue()

    def handler(ws: Any) -> None:
        arrived.put(ws)
        ws.wait_closed()

    server = WebSocketServer(("127.0.0.1", 0), handler, ssl_context=context, close_timeout=CLOSE_TIMEOUT)
    server.start()

    def pair() -> tuple[Any, Any]:
        sock = trusting.wrap_socket(socket.create_connection(server.address), server_hostname="localhost")
        peer = ScriptedPeer(sock, client=True)
        peer.open()
        return arrived.get(), peer

    yield pair
    server.stop()


def close_many(tls_pair: Callable[[], tuple[Any, Any]], times: dict[str, list[float]]) -> int:
    """Bring connections into all the states, and close them at once; how many greenlets go on waiting."""
    peers, callers, others = [], [], []
    begin = Event()

    def close(ws: Any, took: list[float]) -> None:
        begin.wait()
        began = time.monotonic()
        ws.close()
        took.append(time.monotonic() - began)

    for name, state in STATES.items():
        for number in range(EACH):
            side = ("client", "server")[number % 2]
            over_tls = state is untruthful
            ws, peer = tls_pair() if over_tls else scripted(side, close_timeout=CLOSE_TIMEOUT)
            peers.append(peer)
            others += state(ws, peer)
            callers += [gevent.spawn(close, ws, times[name]) for _ in range(CALLS.get(name, 1))]
    gevent.sleep(0.02)
    begin.set()
    gevent.joinall(callers, timeout=30)
    gevent.joinall(others, timeout=0.05)
    still = sum(not greenlet.ready() for greenlet in [*callers, *others])
    for peer in peers:
        peer.close()
    return still


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    given = parser.parse_args()
    logging.getLogger("geventws").setLevel(logging.CRITICAL)
    times: dict[str, list[float]] = defaultdict(list)
    closed = still = 0
    with tls_pairs() as tls_pair:
        end = time.monotonic() + given.minutes * 60
        while time.monotonic() < end:
            still += close_many(tls_pair, times)
            closed += EACH * len(STATES)
    for name, took in times.items():
        took.sort()
        print(f"{name:26} {len(took):8} calls, half within {took[len(took) // 2]:.3f} s, all within {took[-1]:.3f} s")
    calls = sum(map(len, times.values()))
    longest = max(took[-1] for took in times.values())
    print(f"{closed} connections, {calls} calls of close, all within {longest:.3f} s where {ALLOWED:.3f} s are allowed")
    print(f"greenlets that went on waiting: {still}")
    return 1 if still or longest > ALLOWED else 0


if __name__ == "__main__":
    sys.exit(main())
