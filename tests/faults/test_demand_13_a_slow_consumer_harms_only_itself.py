"""A slow consumer harms only itself: the others get every broadcast as fast, and what it holds is bounded."""

from __future__ import annotations

import gc
import resource
import tracemalloc

import pytest
from tools.endpoint import make_websocket
from tools.links import unix_pair
from tools.timing import wait_until

from geventws import PreparedMessage, State, broadcast
from geventws.broadcast import MAX_QUEUED
from geventws.exceptions import ConnectionClosedError

_, MOST_DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)
COUNT = 5000 if MOST_DESCRIPTORS > 11_000 or MOST_DESCRIPTORS == resource.RLIM_INFINITY else 400
MESSAGE = bytes(1000)
BOUND = 100_000
"""How much may wait on a connection in these tests, in bytes."""


class Crowd:
    """Many servers' WebSockets, whose peers read all that comes, but for the first one, which has stalled."""

    def __init__(self, count, **options):
        links = [unix_pair() for _ in range(count)]
        self.peers = [client for client, _ in links]
        self.websockets = [make_websocket(server, "server", **options) for _, server in links]
        self.stalled, self.others = self.websockets[0], self.websockets[1:]
        self.received = 0
        for peer in self.peers:
            peer.settimeout(0)

    def read(self):
        """Have all but the stalled one read what was sent; how many bytes each of them has got so far."""
        wait_until(lambda: not any(ws.buffered_amount for ws in self.others))
        sizes = {len(peer.recv(1 << 20)) for peer in self.peers[1:]}
        (size,) = sizes
        self.received += size
        return self.received

    def stall(self):
        """Fill what the kernel takes for the stalled one."""
        while not self.stalled.buffered_amount:
            self.stalled.send(MESSAGE)

    def close(self):
        for ws in self.websockets:
            ws.terminate()
        for peer in self.peers:
            peer.close()


@pytest.fixture(autouse=True)
def descriptors():
    """Each connection takes two."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def crowd():
    made = []

    def make(count=COUNT, **options):
        made.append(Crowd(count, **options))
        return made[0]

    yield make
    made[0].close()


@pytest.mark.parametrize("on_slow", ["drop", "close"])
def test_all_others_have_each_message_without_waiting_for_it(crowd, on_slow):
    everybody = crowd()
    everybody.stall()
    frame = len(PreparedMessage(MESSAGE).frame)
    for number in range(1, 4):
        assert broadcast(everybody.websockets, MESSAGE, on_slow=on_slow, max_queued=0) == COUNT - 1
        assert everybody.read() == number * frame
    assert everybody.stalled.state is (State.OPEN if on_slow == "drop" else State.CLOSING)


def test_what_the_stalled_one_holds_is_bounded_and_then_it_is_closed(crowd):
    everybody = crowd(20, close_timeout=0.05)
    everybody.stall()
    largest = 0
    while everybody.stalled.state is State.OPEN:
        broadcast(everybody.websockets, MESSAGE, max_queued=BOUND)
        largest = max(largest, everybody.stalled.buffered_amount)
        everybody.read()
    assert BOUND - 1100 < largest <= BOUND + 1100
    assert everybody.stalled.wait_closed(timeout=5)
    assert everybody.stalled.buffered_amount == 0
    with pytest.raises(ConnectionClosedError) as caught:
        everybody.stalled.recv()
    assert caught.value.sent == (1013, "too slow")
    assert all(ws.state is State.OPEN for ws in everybody.others)


def test_by_default_the_bound_is_a_mebibyte(crowd):
    everybody = crowd(3)
    everybody.stall()
    while broadcast(everybody.websockets, bytes(50_000), on_slow="drop") == 3:
        everybody.read()
    assert MAX_QUEUED == 2**20
    assert MAX_QUEUED < everybody.stalled.buffered_amount < MAX_QUEUED + 50_100


def test_all_that_have_stalled_share_one_copy_of_what_waits(crowd):
    everybody = crowd(50)
    for ws in everybody.websockets:
        while not ws.buffered_amount:
            ws.send(MESSAGE)
    gc.collect()
    tracemalloc.start()
    try:
        broadcast(everybody.websockets, bytes(1_000_000), max_queued=BOUND)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(ws.buffered_amount > 1_000_000 for ws in everybody.websockets)
    assert held < 2_500_000


def test_dropping_for_ever_holds_no_more_either(crowd):
    everybody = crowd(5)
    everybody.stall()
    for _ in range(1000):
        broadcast(everybody.websockets, MESSAGE, on_slow="drop", max_queued=BOUND)
        everybody.read()
    assert everybody.stalled.state is State.OPEN
    assert everybody.stalled.buffered_amount <= BOUND + 1100
