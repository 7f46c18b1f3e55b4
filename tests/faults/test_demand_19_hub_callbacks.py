"""Called in a hub callback, nothing blocks and nothing is written in part: it is queued, or refused before its first
byte. And no callback of the library lets an error reach the hub."""

from __future__ import annotations

import pytest
from gevent import get_hub
from gevent.event import Event
from tools.faults import ERRORS
from tools.numbered import numbered, numbers
from tools.tasks import start, start_waiting
from tools.timing import let_hub_run, wait_until

from geventws.deflate import Parameters
from geventws.exceptions import ConnectionClosed, InvalidState
from geventws.websocket import State


class InHub:
    """Calls a function in the hub and keeps what came of it."""

    def __init__(self, how):
        self.how = how
        self.error = None
        self.result = None
        self.done = False

    def __call__(self, function):
        def call(*_):
            try:
                self.result = function()
            except BaseException as error:  # noqa: BLE001 (it is looked at)
                self.error = error
            self.done = True

        if self.how == "callback":
            get_hub().loop.run_callback(call)
        elif self.how == "timer":
            self.timer = get_hub().loop.timer(0.001)
            self.timer.start(call)
        elif self.how == "event":
            event = Event()
            event.rawlink(call)
            event.set()
        else:
            start(lambda: None).rawlink(call)
        wait_until(lambda: self.done)
        if self.how == "timer":
            self.timer.close()
        return self


@pytest.fixture(params=["callback", "timer", "event", "greenlet"])
def in_hub(request):
    return lambda function: InHub(request.param)(function)


@pytest.fixture
def transport():
    return "tcp"


CALLS = {
    "send": lambda ws: ws.send(numbered(1, 50_000)),
    "small send": lambda ws: ws.send(numbered(1)),
    "ping": lambda ws: ws.ping(b"ping"),
    "pong": lambda ws: ws.pong(b"pong"),
    "close": lambda ws: ws.close(),
    "terminate": lambda ws: ws.terminate(),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_can_be_done_at_once_is_done(make_pair, in_hub, call):
    ws, peer = make_pair(close_timeout=1)
    assert in_hub(lambda: CALLS[call](ws)).error is None
    if call == "close":
        assert peer.finish_close() == (1000, "")
        peer.half_close()
    elif call == "terminate":
        peer.read_reset()
    elif "send" in call:
        assert numbers([peer.read_message()]) == [1]
    else:
        assert peer.read_frame().payload == call.encode()


@pytest.mark.parametrize("deflate", [None, Parameters()], ids=["plain", "compressed"])
def test_a_send_that_would_have_to_wait_is_refused_before_its_first_byte(make_pair, in_hub, deflate):
    ws, peer = make_pair(buffers=4096, deflate=deflate)
    ws.send(numbered(0, 200_000), compress=False)
    waiting = ws.buffered_amount
    assert isinstance(in_hub(lambda: ws.send(numbered(1, 1000))).error, InvalidState)
    assert ws.buffered_amount <= waiting
    assert numbers([peer.read_message()]) == [0]
    ws.flush()
    ws.send(numbered(2))
    assert numbers([peer.read_message()]) == [2]


def test_a_large_message_that_is_taken_is_written_whole(make_pair, in_hub):
    """What the kernel does not take is queued: 3.9 of 8 MB is all that gevent's sendall gets out there."""
    ws, peer = make_pair(buffers=4096)
    assert in_hub(lambda: ws.send(numbered(1, 500_000))).error is None
    assert numbers([peer.read_message()]) == [1]


def test_fragments_and_large_compressed_messages_are_refused_or_whole(make_pair, in_hub):
    ws, peer = make_pair(deflate=Parameters())
    called = in_hub(lambda: ws.send(numbered(1, 300_000)))
    reading = start(peer.read_message)
    if called.error is None:
        assert numbers([reading.result()]) == [1]
        reading = start(peer.read_message)
    ws.send(numbered(2))
    assert numbers([reading.result()]) == [2]


@pytest.mark.parametrize("call", [lambda ws: ws.recv(), lambda ws: ws.flush(), lambda ws: next(iter(ws))])
def test_what_can_only_wait_is_refused(make_pair, in_hub, call):
    ws, peer = make_pair(buffers=4096)
    ws.send(numbered(0, 200_000))
    assert isinstance(in_hub(lambda: call(ws)).error, InvalidState)
    assert numbers([peer.read_message()]) == [0]


def test_messages_that_are_there_can_be_received(make_pair, in_hub):
    ws, peer = make_pair()
    peer.text("one")
    wait_until(lambda: ws._protocol.messages)
    assert in_hub(ws.recv).result == "one"


@pytest.mark.parametrize("call", ["send", "ping", "pong"])
def test_on_a_connection_that_has_ended(make_pair, in_hub, call):
    ws, _peer = make_pair()
    ws.terminate()
    let_hub_run()
    assert isinstance(in_hub(lambda: CALLS[call](ws)).error, ConnectionClosed)


def test_closing_while_the_queue_is_full(make_pair, in_hub):
    ws, peer = make_pair(buffers=4096, close_timeout=2)
    ws.send(numbered(0, 200_000))
    assert in_hub(lambda: ws.close(1001, "going")).error is None
    assert ws.state is not State.OPEN
    assert peer.finish_close() == (1001, "going")
    peer.half_close()
    assert numbers(peer.checker.messages) == [0]


@pytest.mark.parametrize("make", ERRORS, ids=["Timeout", "GreenletExit", "KeyboardInterrupt", "MemoryError", "Runtime"])
@pytest.mark.parametrize("where", ["recv", "on_ping"])
def test_what_the_greenlet_raises_to_which_the_hub_switched_stays_there(make_pair, make, where, hub_errors):
    """The hub switches to the greenlet that waits in recv; what that raises must not end what the hub does."""
    ws, peer = make_pair()
    error = make()

    def program():
        ws.recv()
        raise error

    def fail(data):
        raise error

    if where == "on_ping":
        ws.on_ping = fail
    waiting = start_waiting(program)
    (peer.ping if where == "on_ping" else peer.binary)(b"x")
    assert waiting.fault() is error
    assert hub_errors == []
    ws.on_ping = None
    peer.text("next")
    assert ws.recv() == "next"
