"""A switch or a throw that nobody expected is harmless, whoever makes it and wherever the greenlet waits."""

from __future__ import annotations

import random

import gevent
import pytest
from broken import read_all
from gevent import get_hub
from gevent.exceptions import InvalidSwitchError
from serving import echo
from tools.faults import ERRORS, attempt
from tools.numbered import identify, numbered, numbers
from tools.scale import DONE, times
from tools.tasks import start, start_waiting
from tools.timing import let_hub_run, wait_until

from geventws.client import connect
from geventws.exceptions import ConnectionClosed
from geventws.websocket import State


@pytest.fixture
def transport():
    return "unix"


def blocked(ws):
    """Fill the queue, so that the next send waits."""
    while ws.buffered_amount <= 65536:
        ws.send(numbered(0, 30_000))


WAITS = {
    "recv": lambda ws: ws.recv(),
    "recv with a timeout": lambda ws: ws.recv(5),
    "iterator": lambda ws: next(iter(ws)),
    "fragments": lambda ws: next(iter(ws.recv_streaming())),
    "send": lambda ws: ws.send(numbered(1)),
    "send with a timeout": lambda ws: ws.send(numbered(1), timeout=5),
    "flush": lambda ws: ws.flush(5),
    "wait_closed": lambda ws: ws.wait_closed(5),
    "close": lambda ws: ws.close(),
    "pong": lambda ws: ws.ping(b"x").get(),
}
RESUMED = ("recv", "recv with a timeout", "iterator", "fragments", "send", "send with a timeout")
"""What waits in the library itself; elsewhere it is gevent's Event or AsyncResult that is switched to."""


def switch(target, *values):
    get_hub().loop.run_callback(target.switch, *values)
    let_hub_run(2)


def unblock(ws, peer):
    reading = start(read_all, peer)
    peer.send_bytes(peer.frame(2, numbered(7)) + peer.frame(10, b"x"))
    return reading


@pytest.mark.parametrize("wait", RESUMED)
@pytest.mark.parametrize("values", [(), (None,), ("something",), (1, 2)])
def test_a_switch_from_outside_does_not_end_the_wait(make_pair, wait, values):
    ws, peer = make_pair(buffers=4096)
    blocked(ws)
    waiting = start_waiting(WAITS[wait], ws)
    for _ in range(3):
        switch(waiting, *values)
        assert not waiting.ready()
    reading = unblock(ws, peer)
    if "send" in wait:
        assert waiting.result() is None
    else:
        assert numbers([waiting.result()]) == [7]
    ws.flush(timeout=5)
    ws.terminate()
    reading.result()
    assert numbers(peer.checker.messages)[-1] == (1 if "send" in wait else 0)


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("make", [InvalidSwitchError, *ERRORS])
def test_what_is_thrown_in_leaves_as_it_is_and_the_connection_goes_on(make_pair, wait, make):
    ws, peer = make_pair(buffers=4096, close_timeout=1)
    blocked(ws)
    waiting = start_waiting(WAITS[wait], ws)
    error = make()
    get_hub().loop.run_callback(waiting.throw, error)
    assert waiting.fault() is error
    reading = unblock(ws, peer)
    if wait != "close":
        ws.send(numbered(9))
        ws.flush(timeout=5)
        assert numbers([ws.recv(5)]) == [7]
    else:
        wait_until(lambda: peer.checker.closed)
    ws.terminate()
    reading.result()
    assert numbers(peer.checker.messages)[-1] == (9 if wait != "close" else 0)
    assert peer.checker.closed == ((1000, "") if wait == "close" else None)


@pytest.mark.parametrize("wait", WAITS)
def test_a_kill_before_the_start_does_nothing(make_pair, wait):
    ws, peer = make_pair()
    killed = gevent.spawn(WAITS[wait], ws)
    killed.kill()
    ws.send(numbered(1))
    assert numbers([peer.read_message()]) == [1]


@pytest.mark.parametrize("wait", WAITS)
def test_two_kills_are_as_good_as_one(make_pair, wait):
    ws, peer = make_pair(buffers=4096, close_timeout=1)
    blocked(ws)
    waiting = start_waiting(WAITS[wait], ws)
    waiting.kill(block=False)
    waiting.kill(block=False)
    waiting.kill()
    assert waiting.ready()
    reading = unblock(ws, peer)
    if wait != "close":
        ws.send(numbered(9))
        ws.flush(timeout=5)
    else:
        wait_until(lambda: peer.checker.closed)
    ws.terminate()
    reading.result()
    assert not peer.checker.in_frame


@pytest.mark.parametrize("nth", range(4))
def test_a_kill_during_close_does_not_keep_it_from_ending(make_pair, nth):
    ws, peer = make_pair(close_timeout=1)
    closing = start_waiting(ws.close)
    let_hub_run(nth)
    closing.kill()
    assert peer.finish_close() == (1000, "")
    peer.half_close()
    ws.wait_closed(5)
    assert ws.state is State.CLOSED
    assert ws.close_code == 1000


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("make", ERRORS)
def test_a_connect_that_is_broken_at_any_switch_point_leaves_nothing(
    serving, client_context, server_context, make, secure
):
    server = serving.start(echo, ssl_context=server_context if secure else None)
    url = f"{'wss' if secure else 'ws'}://localhost:{server.address[1]}/"
    options = {"ssl_context": client_context} if secure else {}
    for nth in range(1, 40):
        error = make()
        outcome = attempt(lambda: connect(url, **options), nth, error)
        if not outcome.thrown:
            break
        assert outcome.error is error
    assert nth > 2
    assert outcome.error is None
    wait_until(lambda: len(server._connections) == 1 and not server._arrivals)
    outcome.result.close()


class Model:
    """Two connections of the library, each other's peer; greenlets that use them; and somebody who interferes."""

    def __init__(self, client, server, chance):
        self.ends = {"client": client, "server": server}
        self.chance = chance
        self.sent = {"client": {}, "server": {}}
        self.received = {"client": [], "server": []}
        self.tasks = []
        self.interfered = self.interrupted = 0

    def send(self, end, sender):
        """Send on; a send that raised may have sent the message or not, any other has."""
        number = 0
        while True:
            message = numbered(number, self.chance.choice([16, 200, 5000, 70_000]), sender)
            self.sent[end][sender, number] = False
            try:
                self.ends[end].send(message)
                self.sent[end][sender, number] = True
            except ConnectionClosed:
                return
            except BaseException:  # noqa: BLE001 (what is thrown in is the point)
                self.interrupted += 1
            number += 1
            gevent.sleep(0)

    def receive(self, end):
        while True:
            try:
                self.received[end].append(self.ends[end].recv(timeout=self.chance.choice([None, 0.001])))
            except ConnectionClosed:
                return
            except BaseException:  # noqa: BLE001
                self.interrupted += 1

    def interfere(self, steps):
        for _ in range(steps):
            target = self.chance.choice(self.tasks)
            if not target.ready() and target.gr_frame is not None:
                get_hub().loop.run_callback(self._hit, target, self.chance.choice([None, *ERRORS]))
            let_hub_run(self.chance.randint(0, 2))

    def _hit(self, target, make):
        if not target.dead and self._waits_in_the_library(target):
            self.interfered += 1
            DONE["unexpected switches" if make is None else "errors thrown in by a random scheduler"] += 1
            if make is None:
                target.switch()
            else:
                target.throw(make())

    def _waits_in_the_library(self, target):
        """A greenlet that is about to run, or is in the test's own sleep, is not hit: the model would lose count."""
        names = set()
        frame = target.gr_frame
        while frame is not None:
            names.add(frame.f_code.co_name)
            frame = frame.f_back
        return names & {"send", "receive"} and "sleep" not in names


def run_model(client, server, seed, steps):
    model = Model(client, server, random.Random(seed))
    for end in model.ends:
        model.tasks += [start(model.send, end, sender) for sender in range(3)]
        model.tasks.append(start(model.receive, end))
    model.interfere(steps)
    start(client.close).result(20)
    for task in model.tasks:
        task.join(10)
        assert task.ready()
        assert not isinstance(task.error, AssertionError), task.error
    return model


@pytest.mark.parametrize("seed", range(times(6)))
def test_a_random_scheduler_breaks_no_promise(make_link, open_websocket, seed):
    """What was surely sent before the close arrives, once and in order; nothing else does; everybody wakes."""
    sides = zip(make_link(8192), ("client", "server"), strict=True)
    client, server = (open_websocket(sock, side, close_timeout=5) for sock, side in sides)
    model = run_model(client, server, seed, 2400)
    assert model.interfered > 10
    assert model.interrupted > 0
    for mine, other in (("client", "server"), ("server", "client")):
        seen = [identify(message) for message in model.received[other]]
        for sender in range(3):
            own = [number for who, number in seen if who == sender]
            assert own == sorted(set(own))
        assert set(seen) <= set(model.sent[mine])
        if mine == "client":  # the server's last messages may come behind what a closing client still reads
            assert {key for key, sure in model.sent[mine].items() if sure} <= set(seen)
    wait_until(lambda: client.state is server.state is State.CLOSED)
