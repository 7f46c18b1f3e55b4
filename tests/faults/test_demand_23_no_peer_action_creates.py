"""Nothing that a peer does creates greenlets, threads or timers without bound; an idle connection has one greenlet."""

from __future__ import annotations

import gc
import threading
from copy import copy

import gevent
import pytest
from gevent import get_hub
from serving import echo
from tools import raw_http
from tools.leaks import _watcher_types
from tools.links import reset
from tools.timing import let_hub_run, wait_until
from tools.wire import BINARY, CONTINUATION, PING, PONG, TEXT


class Count:
    """How many greenlets, threads, timers and other watchers there are."""

    def __init__(self):
        gc.collect()
        io, timer = _watcher_types(get_hub().loop)
        things = gc.get_objects()
        self.greenlets = sum(isinstance(thing, gevent.Greenlet) and not thing.dead for thing in things)
        self.threads = threading.active_count() + get_hub().threadpool.size
        self.timers = sum(isinstance(thing, timer) and thing.active for thing in things)
        self.watchers = sum(isinstance(thing, io) and thing.active for thing in things)

    def __le__(self, other):
        """Whether there is no more of anything; a thread of an earlier test may have ended meanwhile."""
        return all(count <= vars(other)[name] for name, count in vars(self).items())

    def __repr__(self):
        return str(vars(self))


FLOODS = {
    "pings": lambda peer: peer.frame(PING, b"x" * 100) * 500,
    "pongs": lambda peer: peer.frame(PONG, b"x" * 100) * 500,
    "empty messages": lambda peer: peer.frame(TEXT) * 500,
    "fragments": lambda peer: peer.frame(BINARY, fin=False) + peer.frame(CONTINUATION, b"x", fin=False) * 500,
    "a frame byte by byte": lambda peer: peer.frame(BINARY, bytes(300)),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_creates_nothing(serving, flood):
    server = serving.start()
    peer = serving.open(server)
    let_hub_run()
    before = Count()
    paused = copy(before)
    paused.timers += 1  # that of the handler, where it lets the hub run between two messages
    data = FLOODS[flood](peer)
    size = 1 if "byte" in flood else 5000
    seen = []
    for start in range(0, len(data), size):
        peer.send_bytes(data[start : start + size])
        let_hub_run(1)
        if start % 20 == 0:
            seen.append(Count())
    while peer._frames or peer.sock.gettimeout() != 0:
        peer._frames.clear()
        peer.sock.settimeout(0)
        try:
            while peer.read_some():
                pass
        except BlockingIOError:
            break
    assert all(count <= paused for count in seen), seen
    assert Count() <= before
    reset(peer.sock)


def test_an_idle_connection_has_one_greenlet_and_no_timer(serving):
    server = serving.start()
    first = serving.open(server)
    let_hub_run()
    before = Count()
    peers = [serving.open(server) for _ in range(50)]
    let_hub_run()
    after = Count()
    assert after.greenlets - before.greenlets == 50
    assert after.timers == before.timers  # one timer for the heartbeats of all
    assert after.threads == before.threads
    assert after.watchers - before.watchers == 50
    for peer in [first, *peers]:
        reset(peer.sock)


def test_a_connection_that_asks_for_nothing_has_no_greenlet_and_no_timer(serving):
    server = serving.start(echo)
    first = serving.dial(server)
    let_hub_run()
    before = Count()
    socks = [serving.dial(server) for _ in range(50)]
    for sock in socks:
        sock.sendall(raw_http.request()[:-2])
    let_hub_run()
    after = Count()
    assert (after.greenlets, after.timers, after.threads) == (before.greenlets, before.timers, before.threads)
    assert after.watchers - before.watchers == 50
    for sock in [first, *socks]:
        reset(sock)
    wait_until(lambda: not server._arrivals)


@pytest.mark.parametrize("refused", [raw_http.plain_request(), b"nonsense\r\n\r\n", b"\x16\x03\x01 of TLS"])
def test_a_refused_request_leaves_nothing(serving, refused):
    server = serving.start()
    serving.open(server).close()
    wait_until(lambda: not server._connections)
    let_hub_run()
    before = Count()
    for _ in range(20):
        sock = serving.dial(server)
        sock.sendall(refused)
        while sock.recv(1000):
            pass
        sock.close()
    wait_until(lambda: not server._connections)
    let_hub_run()
    assert Count() <= before


def test_jobs_of_many_connections_wait_for_a_bounded_number_of_threads(serving):
    """Each has a message that is inflated in a thread; gevent's pool has ten threads, and we use fewer."""
    import zlib

    server = serving.start(lambda ws: [ws.recv() for _ in range(2)], compression=True, max_size=None)
    request = raw_http.request(headers={"Sec-WebSocket-Extensions": "permessage-deflate"})
    deflater = zlib.compressobj(1, wbits=-15)
    payload = (deflater.compress(bytes(3_000_000)) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
    peers = [serving.open(server, request) for _ in range(20)]
    before = Count()
    for peer in peers:
        peer.send(BINARY, payload, rsv=4)
    most = 0
    pool = get_hub().threadpool
    while any(ws._protocol.decompressor is not None and ws._protocol.job for ws in server.clients):
        most = max(most, pool.size)
        let_hub_run(1)
    assert most <= pool.maxsize
    assert Count().greenlets == before.greenlets
    for peer in peers:
        reset(peer.sock)
