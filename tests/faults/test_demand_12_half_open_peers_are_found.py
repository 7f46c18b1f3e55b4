"""A peer that is gone without a word is found after ping_interval and ping_timeout, whatever the program does."""

from __future__ import annotations

import random

import pytest
from tools.tasks import start, start_waiting
from tools.timing import burn, let_hub_run, let_time_pass, stopwatch, wait_until
from tools.virtual_time import Hub
from tools.wire import PING, TEXT

from geventws.exceptions import ConnectionClosedError
from geventws.heartbeat import Heartbeats
from geventws.websocket import State

INTERVAL, TIMEOUT = 0.1, 0.15
DUE = INTERVAL + TIMEOUT
LATE = 1.0
"""How late a busy machine may be; how late the library is, the test in virtual time counts."""

BEATS = {"ping_interval": INTERVAL, "ping_timeout": TIMEOUT}


@pytest.fixture
def transport():
    return "unix"


class Silent:
    """A connection whose peer is silent from some moment on."""

    is_listening = True
    stuck_since = None

    def __init__(self, loop, silent_from):
        self.loop = loop
        self.silent_from = silent_from
        self.died = None

    @property
    def last_received(self):
        return min(self.loop.now, self.silent_from)

    def send_heartbeat(self):
        pass

    def peer_is_dead(self, why):
        self.died = self.loop.now


def test_ten_thousand_are_found_within_a_tenth_of_the_time():
    hub = Hub()
    heartbeats = Heartbeats(hub, lambda: hub.loop.now)
    chance = random.Random(1)
    peers = []
    for _ in range(10_000):
        hub.loop.now += 0.001
        peers.append(Silent(hub.loop, hub.loop.now + chance.random() * 100))
        heartbeats.add(peers[-1], 20, 20)
    hub.loop.advance(200)
    for peer in peers:
        assert 40 * 0.9 <= peer.died - peer.silent_from <= 40 * 1.1
    assert not hub.loop.timers


def in_recv(ws):
    return start_waiting(ws.recv)


def in_send(ws):
    return start(lambda: [ws.send(bytes(60_000)) for _ in range(1000)])


def in_iteration(ws):
    return start_waiting(lambda: list(ws))


@pytest.mark.parametrize("doing", [in_recv, in_send, in_iteration])
def test_by_a_program_that_waits(make_pair, doing):
    ws, _peer = make_pair(buffers=4096, **BEATS)
    with stopwatch() as watch:
        error = doing(ws).fault(10)
    assert isinstance(error, ConnectionClosedError)
    assert DUE * 0.9 <= watch.seconds <= DUE * 1.1 + LATE
    assert ws.state is State.CLOSED
    assert ws.close_code == 1006


def test_by_a_program_that_does_something_else(make_pair):
    ws, _peer = make_pair(**BEATS)
    with stopwatch() as watch:
        ws.wait_closed(10)
    assert DUE * 0.9 <= watch.seconds <= DUE * 1.1 + LATE


def test_by_a_program_that_has_paused(make_pair):
    """It cannot see a pong then, but whether anything is taken of what it has to say."""
    ws, _peer = make_pair(buffers=4096, **BEATS)
    ws.pause()
    sending = in_send(ws)
    with stopwatch() as watch:
        sending.fault(10)
    assert DUE * 0.9 <= watch.seconds <= 2 * DUE + LATE


@pytest.mark.parametrize("sign", ["a byte of a frame", "a pong", "a message"])
def test_any_byte_is_life(make_pair, sign):
    ws, peer = make_pair(**BEATS)
    receiving = start(lambda: list(ws))
    frame = peer.frame(TEXT, b"a long text" * 10)
    for index in range(12):
        if sign == "a byte of a frame":
            peer.send_bytes(frame[index : index + 1])
        elif sign == "a pong":
            peer.pong()
        else:
            peer.text("life")
        let_time_pass(INTERVAL / 2)
        assert ws.state is State.OPEN
    ws.terminate()
    receiving.fault()


def test_a_ping_is_asked_for_while_a_long_send_waits(make_pair):
    ws, peer = make_pair(buffers=4096, ping_interval=INTERVAL, ping_timeout=30)
    sending = start_waiting(lambda: [ws.send(bytes(60_000)) for _ in range(4)])
    let_time_pass(INTERVAL * 2)
    while not any(frame.opcode == PING for frame in peer.checker.frames):
        assert peer.read_some()
    reading = start(lambda: [peer.read_message() for _ in range(4)])
    sending.result()
    reading.result()


def test_a_send_that_is_stuck_has_a_timeout_of_its_own(make_pair):
    ws, _peer = make_pair(buffers=4096, ping_interval=None, send_timeout=0.05)
    sending = in_send(ws)
    assert isinstance(sending.fault(), TimeoutError)
    assert ws.state is State.OPEN


def test_a_program_that_computes_does_not_take_itself_for_a_dead_peer(make_pair):
    """The pong lies in the kernel while nobody runs the hub: it is read before the peer is judged."""
    ws, peer = make_pair(**BEATS)
    wait_until(lambda: peer.read_some() and any(frame.opcode == PING for frame in peer.checker.frames))
    peer.pong(peer.checker.frames[-1].payload)
    burn(2 * DUE)
    let_hub_run(3)
    assert ws.state is State.OPEN
